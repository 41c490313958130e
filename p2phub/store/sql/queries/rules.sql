-- Rules for single publishers.

-- name: get
SELECT policy, stale FROM rules WHERE publisher = ?;

-- name: all
SELECT publisher, policy, stale FROM rules ORDER BY publisher;

-- name: set
INSERT INTO rules (publisher, policy, stale) VALUES (?, ?, ?)
ON CONFLICT (publisher) DO UPDATE SET policy = excluded.policy, stale = excluded.stale;

-- name: drop
DELETE FROM rules WHERE publisher = ?;

-- name: code_allowed
SELECT 1 FROM code_allowed WHERE publisher = ?;

-- name: all_code_allowed
SELECT publisher FROM code_allowed ORDER BY publisher;

-- name: allow_code
INSERT INTO code_allowed (publisher) VALUES (?) ON CONFLICT DO NOTHING;

-- name: refuse_code
DELETE FROM code_allowed WHERE publisher = ?;
