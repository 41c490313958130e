-- Where the audit log beside the store ends.

-- line: the newest, as it stands in the file, without its newline. written: whether it is known to
-- be there; a start finishes what a power cut left half written.
CREATE TABLE audit_head (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    seq INTEGER NOT NULL CHECK (seq > 0),
    line BLOB NOT NULL,
    written INTEGER NOT NULL CHECK (written IN (0, 1))
) STRICT;

PRAGMA user_version = 10;
