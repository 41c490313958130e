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
