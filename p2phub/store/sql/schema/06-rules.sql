-- What a person laid down for single publishers, and what domains said of them.

CREATE TABLE rules (
    publisher TEXT PRIMARY KEY,
    policy TEXT NOT NULL CHECK (policy IN ('off', 'warn', 'enforce')),
    stale TEXT NOT NULL CHECK (stale IN ('warn', 'refuse'))
) STRICT, WITHOUT ROWID;

-- What came of the last look at the domain that a publisher claims. proved: when it last said that
-- it is his; unix seconds.
CREATE TABLE domains (
    publisher TEXT PRIMARY KEY,
    domain TEXT NOT NULL,
    result TEXT NOT NULL CHECK (result IN ('https', 'dns', 'contradicted', 'unreachable')),
    checked INTEGER NOT NULL,
    proved INTEGER
) STRICT, WITHOUT ROWID;

-- Publishers whose Python files may run when a model of theirs is loaded.
CREATE TABLE code_allowed (
    publisher TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;
