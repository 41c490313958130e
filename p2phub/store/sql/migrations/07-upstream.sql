-- What an upstream hub said, and which of its files were checked.

-- One answer to a question that anybody may ask. key: SHA-256 of endpoint, method, target and body.
CREATE TABLE upstream_answers (
    key BLOB PRIMARY KEY CHECK (length(key) = 32),
    status INTEGER NOT NULL,
    headers TEXT NOT NULL,
    body BLOB NOT NULL,
    asked INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX upstream_answers_by_age ON upstream_answers (asked, length(body));

-- Files that have the digests which the upstream names at this commit. size and digest are the
-- content id; git_sha1 is there where the upstream names the file by it.
CREATE TABLE upstream_files (
    endpoint TEXT NOT NULL,
    kind TEXT NOT NULL,
    repo TEXT NOT NULL,
    commit_id TEXT NOT NULL,
    path TEXT NOT NULL,
    size INTEGER NOT NULL,
    digest BLOB NOT NULL CHECK (length(digest) = 32),
    sha256 BLOB NOT NULL CHECK (length(sha256) = 32),
    git_sha1 BLOB CHECK (length(git_sha1) = 20),
    PRIMARY KEY (endpoint, kind, repo, commit_id, path)
) STRICT, WITHOUT ROWID;

CREATE INDEX upstream_files_by_sha1 ON upstream_files (git_sha1, size)
WHERE git_sha1 IS NOT NULL;

PRAGMA user_version = 7;
