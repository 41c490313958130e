-- Several writers of our own publisher, and releases that several must sign.

-- Indexes that no newer one here includes; the next index follows them all.
CREATE TABLE own_tips (
    position INTEGER PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE CHECK (length(digest) = 32)
) STRICT;

-- Releases that lost main to another writer's, until a release follows them.
CREATE TABLE side_releases (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    release BLOB NOT NULL CHECK (length(release) = 32),
    UNIQUE (name, release)
) STRICT;

-- Releases that too few keys have signed yet. ours: their files were published on this machine.
CREATE TABLE proposals (
    digest BLOB PRIMARY KEY CHECK (length(digest) = 32),
    since INTEGER NOT NULL,
    tag TEXT NOT NULL,
    ours INTEGER NOT NULL CHECK (ours IN (0, 1)),
    data BLOB NOT NULL
) STRICT;

-- What those releases consist of: it is kept for as long as they are.
CREATE TABLE proposal_contents (
    proposal BLOB NOT NULL REFERENCES proposals (digest) ON DELETE CASCADE,
    digest BLOB NOT NULL,
    size INTEGER NOT NULL,
    PRIMARY KEY (proposal, digest, size)
) STRICT, WITHOUT ROWID;

CREATE INDEX proposals_by_content ON proposal_contents (digest, size);

-- The newest index that an older version knew of is where we go on from.
INSERT INTO own_tips (position, digest)
SELECT 0, heads.index_digest FROM heads JOIN own_publisher USING (publisher);

PRAGMA user_version = 4;
