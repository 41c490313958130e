-- Repos as their publishers' indexes list them, what of them is on this disk, and search.

-- languages and tags are JSON lists. publisher is text, so that search finds it. parameters: 0 where
-- its publisher does not say how many there are.
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
    parameters INTEGER NOT NULL DEFAULT 0,
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
