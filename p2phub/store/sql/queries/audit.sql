-- Where the audit log ends.

-- name: head
SELECT seq, line, written FROM audit_head;

-- name: put
INSERT INTO audit_head (one, seq, line, written) VALUES (1, ?, ?, 0)
ON CONFLICT (one) DO UPDATE SET seq = excluded.seq, line = excluded.line, written = 0;

-- name: written
UPDATE audit_head SET written = 1 WHERE seq = ?;

-- name: adopt
INSERT INTO audit_head (one, seq, line, written) VALUES (1, ?, ?, 1);
