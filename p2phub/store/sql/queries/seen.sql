-- How far publishers had come, which numbers their writers used, and what they took back.

-- name: saw
INSERT INTO highest_seen (publisher, root_v, delegation, seq) VALUES (?, ?, ?, ?)
ON CONFLICT (publisher) DO UPDATE
SET root_v = excluded.root_v, delegation = excluded.delegation, seq = excluded.seq;

-- name: highest
SELECT root_v, delegation, seq FROM highest_seen WHERE publisher = ?;

-- name: wrote
INSERT INTO written (publisher, writer, number, index_digest) VALUES (?, ?, ?, ?)
ON CONFLICT DO NOTHING;

-- name: drop_older_written
DELETE FROM written WHERE publisher = ?1 AND id <= (
    SELECT id FROM written WHERE publisher = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2
);

-- name: written
SELECT writer, number, index_digest FROM written WHERE publisher = ? ORDER BY id;

-- name: add_notice
INSERT INTO notices (digest, publisher, accepted) VALUES (?, ?, ?)
ON CONFLICT (digest) DO NOTHING;

-- name: notices
SELECT notices.digest, documents.data FROM notices
JOIN documents ON documents.digest = notices.digest
WHERE notices.publisher = ? ORDER BY notices.digest;

-- name: any_notice
SELECT 1 FROM notices WHERE publisher = ? LIMIT 1;
