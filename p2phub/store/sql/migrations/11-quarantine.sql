-- Releases that came in a bundle and wait for an approval, or were kept out.

-- case_id: under which number it waits; approvals are for one. origin: the bundle. state: coming while
-- not all of its files are here. checks: what they found, packed; empty before.
CREATE TABLE quarantined (
    release BLOB PRIMARY KEY REFERENCES releases (digest),
    case_id BLOB NOT NULL CHECK (length(case_id) = 16),
    ref TEXT NOT NULL,
    origin TEXT NOT NULL,
    since INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('coming', 'waiting', 'rejected')),
    reason TEXT NOT NULL,
    checks BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- What approvers signed, in envelopes.
CREATE TABLE approvals (
    release BLOB NOT NULL REFERENCES quarantined (release) ON DELETE CASCADE,
    approver TEXT NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (release, approver)
) STRICT, WITHOUT ROWID;

-- What must not be seen: contents that only releases in quarantine need, or that were rejected.
CREATE VIEW hidden_contents AS
SELECT own.digest, own.size FROM release_contents AS own
JOIN quarantined ON quarantined.release = own.release
WHERE NOT EXISTS (
    SELECT 1 FROM release_contents AS other JOIN held ON held.release = other.release
    WHERE other.digest = own.digest AND other.size = own.size
) AND NOT EXISTS (
    SELECT 1 FROM proposal_contents AS other
    WHERE other.digest = own.digest AND other.size = own.size
);

PRAGMA user_version = 11;
