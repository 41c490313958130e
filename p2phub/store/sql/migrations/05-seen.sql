-- What must outlive a restart of what was seen of publishers, so that nobody can make us forget it.

-- How far a publisher had come: no older head is taken, also when the newest one has rotted.
CREATE TABLE highest_seen (
    publisher TEXT PRIMARY KEY,
    root_v INTEGER NOT NULL,
    delegation INTEGER NOT NULL,
    seq INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Which index a writer gave a number to: a second one with that number is a fork.
CREATE TABLE written (
    id INTEGER PRIMARY KEY,
    publisher TEXT NOT NULL,
    delegation BLOB NOT NULL CHECK (length(delegation) = 32),
    writer BLOB NOT NULL CHECK (length(writer) = 32),
    number INTEGER NOT NULL,
    index_digest BLOB NOT NULL CHECK (length(index_digest) = 32),
    UNIQUE (publisher, delegation, writer, number)
) STRICT;

-- Revocations, withdrawals and fork proofs. under: the delegation in force when it was accepted.
CREATE TABLE notices (
    digest BLOB PRIMARY KEY REFERENCES documents (digest),
    publisher TEXT NOT NULL,
    under BLOB NOT NULL CHECK (length(under) = 32),
    accepted INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX notices_by_publisher ON notices (publisher, digest);

PRAGMA user_version = 5;
