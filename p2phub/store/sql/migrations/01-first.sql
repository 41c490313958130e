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
-- Repos as their publishers' indexes list them, what of them is on this disk, and search.

-- languages and tags are JSON lists. publisher is text, so that search finds it.
CREATE TABLE repos (
    id INTEGER PRIMARY KEY,
    publisher TEXT NOT NULL,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    task TEXT NOT NULL DEFAULT '' COLLATE NOCASE,
    license TEXT NOT NULL DEFAULT '' COLLATE NOCASE,
    library TEXT NOT NULL DEFAULT '' COLLATE NOCASE,
    languages TEXT NOT NULL DEFAULT '[]',
    tags TEXT NOT NULL DEFAULT '[]',
    summary TEXT NOT NULL DEFAULT '',
    bytes INTEGER NOT NULL,
    created INTEGER NOT NULL,
    listed INTEGER NOT NULL CHECK (listed IN (0, 1)),
    UNIQUE (publisher, name)
) STRICT;

CREATE INDEX repos_by_name ON repos (name COLLATE NOCASE);
CREATE INDEX repos_by_created ON repos (created);
CREATE INDEX repos_by_size ON repos (bytes);

CREATE TABLE repo_languages (
    language TEXT NOT NULL COLLATE NOCASE,
    repo INTEGER NOT NULL REFERENCES repos (id) ON DELETE CASCADE,
    PRIMARY KEY (language, repo)
) STRICT, WITHOUT ROWID;

CREATE INDEX languages_by_repo ON repo_languages (repo);

CREATE TABLE refs (
    repo INTEGER NOT NULL REFERENCES repos (id) ON DELETE CASCADE,
    ref TEXT NOT NULL,
    release BLOB NOT NULL CHECK (length(release) = 32),
    seq INTEGER NOT NULL,
    tag INTEGER NOT NULL CHECK (tag IN (0, 1)),
    PRIMARY KEY (repo, ref)
) STRICT, WITHOUT ROWID;

-- Releases whose manifest is here, and which contents their files have.
CREATE TABLE releases (
    digest BLOB PRIMARY KEY CHECK (length(digest) = 32),
    repo INTEGER NOT NULL REFERENCES repos (id) ON DELETE CASCADE,
    created INTEGER NOT NULL,
    message TEXT NOT NULL,
    files INTEGER NOT NULL,
    bytes INTEGER NOT NULL
) STRICT;

CREATE INDEX releases_by_repo ON releases (repo, created);

-- files: how many files of the release have this content.
CREATE TABLE release_contents (
    release BLOB NOT NULL REFERENCES releases (digest) ON DELETE CASCADE,
    digest BLOB NOT NULL,
    size INTEGER NOT NULL,
    files INTEGER NOT NULL,
    PRIMARY KEY (release, digest, size)
) STRICT, WITHOUT ROWID;

CREATE INDEX releases_by_content ON release_contents (digest, size);

-- Releases whose files are kept on this disk: nothing that they need is dropped. done: the pull or
-- publish has finished; before, it is on its way.
CREATE TABLE held (
    release BLOB PRIMARY KEY REFERENCES releases (digest),
    ref TEXT NOT NULL,
    done INTEGER NOT NULL CHECK (done IN (0, 1)),
    since INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE VIRTUAL TABLE repo_text USING fts5 (
    name, publisher, task, library, license, languages, tags, summary,
    content = 'repos', content_rowid = 'id', prefix = '1 2 3 4 5 6'
);

CREATE TRIGGER repos_text_added AFTER INSERT ON repos BEGIN
    INSERT INTO repo_text (rowid, name, publisher, task, library, license, languages, tags, summary)
    VALUES (new.id, new.name, new.publisher, new.task, new.library, new.license, new.languages,
            new.tags, new.summary);
END;

CREATE TRIGGER repos_text_dropped AFTER DELETE ON repos BEGIN
    INSERT INTO repo_text (repo_text, rowid, name, publisher, task, library, license, languages,
                           tags, summary)
    VALUES ('delete', old.id, old.name, old.publisher, old.task, old.library, old.license,
            old.languages, old.tags, old.summary);
END;

CREATE TRIGGER repos_text_changed
AFTER UPDATE OF name, task, library, license, languages, tags, summary ON repos BEGIN
    INSERT INTO repo_text (repo_text, rowid, name, publisher, task, library, license, languages,
                           tags, summary)
    VALUES ('delete', old.id, old.name, old.publisher, old.task, old.library, old.license,
            old.languages, old.tags, old.summary);
    INSERT INTO repo_text (rowid, name, publisher, task, library, license, languages, tags, summary)
    VALUES (new.id, new.name, new.publisher, new.task, new.library, new.license, new.languages,
            new.tags, new.summary);
END;
-- Where peers were met, for the next start.

CREATE TABLE peers (
    peer_id TEXT PRIMARY KEY,
    addresses TEXT NOT NULL,
    seen INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX peers_by_seen ON peers (seen);
-- The version of this schema: the number of the last migration.

PRAGMA user_version = 1;
