-- Signed documents, heads, aliases, and what we have signed ourselves.

-- name: put
INSERT INTO documents (digest, type, data) VALUES (?, ?, ?)
ON CONFLICT (digest) DO UPDATE SET data = excluded.data
WHERE documents.data <> excluded.data;

-- name: get
SELECT data FROM documents WHERE digest = ?;

-- name: of_type
SELECT digest FROM documents WHERE type = ? ORDER BY digest;

-- name: drop
DELETE FROM documents WHERE digest = ?;

-- name: set_head
INSERT INTO heads (publisher, head, index_digest, seen) VALUES (?, ?, ?, ?)
ON CONFLICT (publisher) DO UPDATE
SET head = excluded.head, index_digest = excluded.index_digest, seen = excluded.seen;

-- name: head
SELECT head, index_digest, seen FROM heads WHERE publisher = ?;

-- name: publishers
SELECT publisher FROM heads ORDER BY publisher;

-- name: save_alias
INSERT INTO aliases (alias, publisher, pinned) VALUES (?, ?, ?)
ON CONFLICT (alias) DO UPDATE SET pinned = excluded.pinned
WHERE aliases.publisher = excluded.publisher;

-- name: alias
SELECT publisher FROM aliases WHERE alias = ?;

-- name: drop_alias
DELETE FROM aliases WHERE alias = ?;

-- name: aliases
SELECT alias, publisher FROM aliases ORDER BY alias;

-- name: next_writer_seq
INSERT INTO writers (key, seq) VALUES (?, ?)
ON CONFLICT (key) DO UPDATE SET seq = max(seq + ?, excluded.seq)
RETURNING seq;

-- name: saw_writer_seq
INSERT INTO writers (key, seq) VALUES (?, ?)
ON CONFLICT (key) DO UPDATE SET seq = max(seq, excluded.seq);

-- name: set_own
INSERT INTO own_publisher (one, publisher, delegation) VALUES (1, ?, ?)
ON CONFLICT (one) DO UPDATE
SET publisher = excluded.publisher, delegation = excluded.delegation;

-- name: own
SELECT publisher, delegation FROM own_publisher;

-- name: drop_own_roots
DELETE FROM own_roots;

-- name: add_own_root
INSERT INTO own_roots (position, root) VALUES (?, ?);

-- name: own_roots
SELECT root FROM own_roots ORDER BY position;

-- name: newest_indexes
SELECT heads.publisher, documents.data FROM heads
JOIN documents ON documents.digest = heads.index_digest
WHERE heads.publisher > ? ORDER BY heads.publisher LIMIT ?;
