-- What people of this node wrote about its own repos. It goes to no other node.

-- title and status: empty while what the releases of a pull request say holds.
CREATE TABLE discussions (
    publisher TEXT NOT NULL,
    repo TEXT NOT NULL,
    number INTEGER NOT NULL CHECK (number > 0),
    title TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('', 'open', 'closed')),
    pull_request INTEGER NOT NULL CHECK (pull_request IN (0, 1)),
    author TEXT NOT NULL,
    created INTEGER NOT NULL,
    PRIMARY KEY (publisher, repo, number)
) STRICT, WITHOUT ROWID;

-- text: a comment, a title or a status. was: the title before. edited: unix time, 0 for never.
CREATE TABLE discussion_notes (
    id INTEGER PRIMARY KEY,
    note TEXT NOT NULL UNIQUE,
    publisher TEXT NOT NULL,
    repo TEXT NOT NULL,
    number INTEGER NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('comment', 'title', 'status')),
    author TEXT NOT NULL,
    created INTEGER NOT NULL,
    text TEXT NOT NULL,
    was TEXT NOT NULL,
    edited INTEGER NOT NULL,
    hidden INTEGER NOT NULL CHECK (hidden IN (0, 1)),
    FOREIGN KEY (publisher, repo, number) REFERENCES discussions
) STRICT;

CREATE INDEX discussion_notes_by_number ON discussion_notes (publisher, repo, number, id);

PRAGMA user_version = 9;
