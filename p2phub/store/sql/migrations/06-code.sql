-- Publishers whose Python files may run when a model of theirs is loaded.

CREATE TABLE code_allowed (
    publisher TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;

PRAGMA user_version = 6;
