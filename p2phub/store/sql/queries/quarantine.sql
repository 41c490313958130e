-- Releases that wait for an approval.

-- name: find
SELECT release, case_id, ref, origin, since, state, reason, checks
FROM quarantined WHERE release = ?;

-- name: all
SELECT release, case_id, ref, origin, since, state, reason, checks
FROM quarantined ORDER BY since, release;

-- name: any
SELECT 1 FROM quarantined LIMIT 1;

-- name: add
INSERT INTO quarantined (release, case_id, ref, origin, since, state, reason, checks)
VALUES (?, ?, ?, ?, ?, 'coming', '', x'');

-- name: forget_pull
DELETE FROM held WHERE release = ? AND done = 0;

-- name: set_state
UPDATE quarantined SET state = ?, reason = ? WHERE release = ?;

-- name: set_checks
UPDATE quarantined SET state = 'waiting', checks = ? WHERE release = ? AND state <> 'rejected';

-- name: drop
DELETE FROM quarantined WHERE release = ?;

-- name: approvals
SELECT data FROM approvals WHERE release = ? ORDER BY approver;

-- name: put_approval
INSERT INTO approvals (release, approver, data) VALUES (?, ?, ?)
ON CONFLICT (release, approver) DO UPDATE SET data = excluded.data;

-- name: drop_approvals
DELETE FROM approvals WHERE release = ?;

-- name: hides
SELECT 1 FROM hidden_contents WHERE digest = ? AND size = ? LIMIT 1;

-- A release, or a piece table: the digest of a file that has one is that of the table.
-- name: hides_document
SELECT 1 FROM quarantined WHERE release = ?1
UNION ALL
SELECT 1 FROM hidden_contents WHERE digest = ?1
LIMIT 1;

-- name: is_held
SELECT 1 FROM held WHERE release = ? AND done = 1;
