-- Blobs, their tables and pieces.

-- name: find
SELECT blobs.id, device, inode, mtime_ns, ctime_ns, sha256, in_place.path
FROM blobs LEFT JOIN in_place ON in_place.blob = blobs.id
WHERE blobs.digest = ? AND blobs.size = ?;

-- The rows of many digests, 32 bytes each.
-- name: find_many
WITH RECURSIVE wanted (n, digest) AS (
    SELECT 0, substr(?1, 1, 32)
    UNION ALL
    SELECT n + 1, substr(?1, 32 * n + 33, 32) FROM wanted WHERE 32 * (n + 1) < length(?1)
)
SELECT blobs.size, blobs.digest,
    blobs.id, device, inode, mtime_ns, ctime_ns, sha256, in_place.path
FROM wanted CROSS JOIN blobs ON blobs.digest = wanted.digest
LEFT JOIN in_place ON in_place.blob = blobs.id;

-- name: add
INSERT INTO blobs (digest, size, sha256, device, inode, mtime_ns, ctime_ns)
VALUES (?, ?, ?, ?, ?, ?, ?)
RETURNING id;

-- A small file: its digest is its SHA-256.
-- name: add_small
INSERT INTO blobs (digest, size, sha256, device, inode, mtime_ns, ctime_ns)
VALUES (?1, ?2, ?1, ?3, ?4, ?5, ?6);

-- name: set_stamp
UPDATE blobs SET device = ?, inode = ?, mtime_ns = ?, ctime_ns = ? WHERE digest = ? AND size = ?;

-- name: set_sha256
UPDATE blobs SET sha256 = ? WHERE digest = ? AND size = ? AND sha256 IS NULL;

-- name: drop
DELETE FROM blobs WHERE id = ?;

-- name: not_hashed
SELECT size, digest FROM blobs WHERE sha256 IS NULL ORDER BY id;

-- name: by_sha256
SELECT size, digest FROM blobs WHERE sha256 = ? AND NOT EXISTS (
    SELECT 1 FROM hidden_contents AS hidden
    WHERE hidden.digest = blobs.digest AND hidden.size = blobs.size
) ORDER BY id;

-- name: every
SELECT size, digest FROM blobs ORDER BY id;

-- name: totals
SELECT blobs, bytes FROM totals;

-- name: put_table
INSERT INTO tables (digest, size, data) VALUES (?, ?, ?)
ON CONFLICT (digest, size) DO UPDATE SET data = excluded.data WHERE tables.data <> excluded.data;

-- name: table
SELECT data FROM tables WHERE digest = ? AND size = ?;

-- name: packed_table
SELECT data FROM tables WHERE digest = ? LIMIT 1;

-- name: big_files
SELECT DISTINCT sha256 FROM blobs INDEXED BY blobs_by_size
WHERE size > ? AND sha256 IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM hidden_contents AS hidden
    WHERE hidden.digest = blobs.digest AND hidden.size = blobs.size
);

-- name: drop_table
DELETE FROM tables WHERE digest = ? AND size = ?;

-- name: add_piece
INSERT INTO pieces (digest, blob, offset, length) VALUES (?, ?, ?, ?)
ON CONFLICT (digest, blob) DO NOTHING;

-- name: drop_piece
DELETE FROM pieces WHERE digest = ? AND blob = ?;

-- Of many digests in one blob, 32 bytes each: where each lies, in the newest blobs first and in few,
-- because one piece may be in thousands.
-- name: find_pieces
WITH RECURSIVE wanted (n, digest) AS (
    SELECT 0, substr(?1, 1, 32)
    UNION ALL
    SELECT n + 1, substr(?1, 32 * n + 33, 32) FROM wanted WHERE 32 * (n + 1) < length(?1)
)
SELECT wanted.digest, blobs.size, blobs.digest, pieces.offset, pieces.length
FROM wanted CROSS JOIN pieces ON pieces.digest = wanted.digest AND pieces.blob IN (
    SELECT newest.blob FROM pieces AS newest WHERE newest.digest = wanted.digest
    ORDER BY newest.blob DESC LIMIT 4
)
JOIN blobs ON blobs.id = pieces.blob
ORDER BY wanted.n, pieces.blob DESC;

-- name: referenced
SELECT 1 FROM release_contents JOIN held ON held.release = release_contents.release
WHERE release_contents.digest = ?1 AND release_contents.size = ?2
UNION ALL
SELECT 1 FROM proposal_contents WHERE digest = ?1 AND size = ?2
UNION ALL
SELECT 1 FROM release_contents JOIN quarantined ON quarantined.release = release_contents.release
WHERE release_contents.digest = ?1 AND release_contents.size = ?2
    AND quarantined.state <> 'rejected'
LIMIT 1;
