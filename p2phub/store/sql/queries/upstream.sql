-- What an upstream hub said, and which of its files were checked.

-- name: answer
SELECT status, headers, body, asked FROM upstream_answers WHERE key = ?;

-- name: put_answer
INSERT INTO upstream_answers (key, status, headers, body, asked) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (key) DO UPDATE
SET status = excluded.status, headers = excluded.headers, body = excluded.body,
    asked = excluded.asked;

-- name: total
SELECT count(*), coalesce(sum(length(body)), 0) FROM upstream_answers;

-- name: drop_oldest
DELETE FROM upstream_answers WHERE key IN (
    SELECT key FROM upstream_answers ORDER BY asked LIMIT ?
);

-- name: put_file
INSERT INTO upstream_files
    (endpoint, kind, repo, commit_id, path, size, digest, sha256, git_sha1)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO NOTHING;

-- name: files
SELECT path, size, digest, sha256, git_sha1 FROM upstream_files
WHERE endpoint = ? AND kind = ? AND repo = ? AND commit_id = ? ORDER BY path;

-- name: by_git_sha1
SELECT digest, sha256 FROM upstream_files WHERE git_sha1 = ? AND size = ?;
