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
    writer BLOB NOT NULL CHECK (length(writer) = 32),
    number INTEGER NOT NULL,
    index_digest BLOB NOT NULL CHECK (length(index_digest) = 32),
    UNIQUE (publisher, writer, number)
) STRICT;

-- Revocations, withdrawals and fork proofs.
CREATE TABLE notices (
    digest BLOB PRIMARY KEY REFERENCES documents (digest),
    publisher TEXT NOT NULL,
    accepted INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX notices_by_publisher ON notices (publisher, digest);

PRAGMA user_version = 5;
