-- What publishers said, as signed, and who they are to us.

CREATE TABLE documents (
    digest BLOB PRIMARY KEY CHECK (length(digest) = 32),
    type TEXT NOT NULL,
    data BLOB NOT NULL
) STRICT;

CREATE TABLE heads (
    publisher TEXT PRIMARY KEY,
    head BLOB NOT NULL REFERENCES documents (digest),
    index_digest BLOB NOT NULL,
    seen INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE aliases (
    alias TEXT PRIMARY KEY,
    publisher TEXT NOT NULL,
    pinned INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The last sequence number that each release key of ours has signed, or may have.
CREATE TABLE writers (
    key BLOB PRIMARY KEY CHECK (length(key) = 32),
    seq INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Our own publisher: its roots in order, and its delegation.
CREATE TABLE own_publisher (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    publisher TEXT NOT NULL,
    delegation BLOB NOT NULL REFERENCES documents (digest)
) STRICT;

CREATE TABLE own_roots (
    position INTEGER PRIMARY KEY,
    root BLOB NOT NULL REFERENCES documents (digest)
) STRICT;
