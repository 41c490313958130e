-- Whole files, where their pieces lie, and how much there is.

-- sha256 is filled in only when this node has hashed the whole file itself. device … ctime_ns are
-- what fstat said when the file was last known to be right.
CREATE TABLE blobs (
    id INTEGER PRIMARY KEY,
    size INTEGER NOT NULL CHECK (size >= 0),
    digest BLOB NOT NULL CHECK (length(digest) = 32),
    sha256 BLOB CHECK (length(sha256) = 32),
    device INTEGER NOT NULL,
    inode INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    ctime_ns INTEGER NOT NULL,
    UNIQUE (digest, size)
) STRICT;

CREATE INDEX blobs_by_sha256 ON blobs (sha256) WHERE sha256 IS NOT NULL;
CREATE INDEX blobs_by_size ON blobs (size, sha256) WHERE sha256 IS NOT NULL;
CREATE INDEX blobs_not_hashed ON blobs (id) WHERE sha256 IS NULL;

CREATE TABLE tables (
    digest BLOB NOT NULL,
    size INTEGER NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (digest, size)
) STRICT;

-- One place per blob for each piece of it. Not a foreign key: deleting a blob would look through all.
CREATE TABLE pieces (
    digest BLOB NOT NULL,
    blob INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    length INTEGER NOT NULL,
    PRIMARY KEY (digest, blob)
) STRICT, WITHOUT ROWID;

-- Kept by the triggers, so that neither a start nor a quota has to count.
CREATE TABLE totals (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    blobs INTEGER NOT NULL,
    bytes INTEGER NOT NULL
) STRICT;

INSERT INTO totals (one, blobs, bytes) VALUES (1, 0, 0);

CREATE TRIGGER blobs_counted AFTER INSERT ON blobs BEGIN
    UPDATE totals SET blobs = blobs + 1, bytes = bytes + new.size;
END;

CREATE TRIGGER blobs_discounted AFTER DELETE ON blobs BEGIN
    UPDATE totals SET blobs = blobs - 1, bytes = bytes - old.size;
END;
