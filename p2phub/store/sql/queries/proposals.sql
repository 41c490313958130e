-- Releases of our own publisher that wait for signatures.

-- name: put
INSERT INTO proposals (digest, since, tag, ours, data) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (digest) DO UPDATE SET
    tag = CASE tag WHEN '' THEN excluded.tag ELSE tag END,
    ours = max(ours, excluded.ours),
    data = excluded.data;

-- name: get
SELECT digest, since, tag, ours, data FROM proposals WHERE digest = ?;

-- name: all
SELECT digest, since, tag, ours, data FROM proposals WHERE since >= ? ORDER BY since, digest;

-- name: expired
SELECT digest, since, tag, ours, data FROM proposals WHERE since < ? ORDER BY since, digest;

-- name: count_others
SELECT count(*) FROM proposals WHERE digest <> ? AND since >= ?;

-- name: drop
DELETE FROM proposals WHERE digest = ?;

-- name: add_content
INSERT INTO proposal_contents (proposal, digest, size) VALUES (?, ?, ?) ON CONFLICT DO NOTHING;

-- name: contents
SELECT size, digest FROM proposal_contents WHERE proposal = ? ORDER BY size, digest;
