-- Files of people: what they held, and which of them are blobs.

-- name: find
SELECT digest, size, sha256, git_sha1 FROM sources
WHERE path = ? AND device = ? AND inode = ? AND mtime_ns = ? AND ctime_ns = ?;

-- name: put
INSERT INTO sources (path, digest, size, sha256, git_sha1, device, inode, mtime_ns, ctime_ns)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (path) DO UPDATE SET
    digest = excluded.digest, size = excluded.size, sha256 = excluded.sha256,
    git_sha1 = excluded.git_sha1, device = excluded.device, inode = excluded.inode,
    mtime_ns = excluded.mtime_ns, ctime_ns = excluded.ctime_ns;

-- name: drop
DELETE FROM sources WHERE digest = ? AND size = ?;

-- name: put_in_place
INSERT INTO in_place (blob, path, size) VALUES (?, ?, ?);

-- name: in_place_at
SELECT blobs.size, blobs.digest FROM in_place JOIN blobs ON blobs.id = in_place.blob
WHERE in_place.path = ?;
