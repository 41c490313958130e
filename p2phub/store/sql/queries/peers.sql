-- Peers met before.

-- name: remember
INSERT INTO peers (peer_id, addresses, seen) VALUES (?, ?, ?)
ON CONFLICT (peer_id) DO UPDATE SET addresses = excluded.addresses, seen = excluded.seen;

-- name: forget_all_but
DELETE FROM peers WHERE peer_id NOT IN (SELECT peer_id FROM peers ORDER BY seen DESC LIMIT ?);

-- name: recent
SELECT peer_id, addresses FROM peers ORDER BY seen DESC, peer_id LIMIT ?;
