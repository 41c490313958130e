-- What the domains of publishers said of them.

-- name: get
SELECT domain, result, checked, proved FROM domains WHERE publisher = ?;

-- name: set
INSERT INTO domains (publisher, domain, result, checked, proved) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (publisher) DO UPDATE
SET domain = excluded.domain, result = excluded.result, checked = excluded.checked,
    proved = excluded.proved;
