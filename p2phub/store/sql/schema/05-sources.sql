-- Files of people: what they held when they were last read, and which of them are blobs.

-- What a file was found to be, so that a second publish need not read it again. The path leads
-- through no link; device … ctime_ns are what fstat said when it was read.
CREATE TABLE sources (
    path BLOB PRIMARY KEY,
    digest BLOB NOT NULL CHECK (length(digest) = 32),
    size INTEGER NOT NULL,
    sha256 BLOB NOT NULL CHECK (length(sha256) = 32),
    git_sha1 BLOB CHECK (length(git_sha1) = 20),
    device INTEGER NOT NULL,
    inode INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    ctime_ns INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX sources_by_content ON sources (digest, size);

-- Blobs that are a file of a person, adopted where it lies. They take no space of this store.
CREATE TABLE in_place (
    blob INTEGER PRIMARY KEY REFERENCES blobs (id) ON DELETE CASCADE,
    path BLOB NOT NULL,
    size INTEGER NOT NULL
) STRICT;

CREATE INDEX in_place_by_path ON in_place (path);

CREATE TRIGGER in_place_discounted AFTER INSERT ON in_place BEGIN
    UPDATE totals SET bytes = bytes - new.size;
END;

CREATE TRIGGER in_place_counted AFTER DELETE ON in_place BEGIN
    UPDATE totals SET bytes = bytes + old.size;
END;
