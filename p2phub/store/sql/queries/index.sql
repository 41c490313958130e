-- How a connection is set up, and what a transaction is made of.

-- name: pragmas
PRAGMA foreign_keys = ON;
PRAGMA synchronous = FULL;
PRAGMA temp_store = MEMORY;

-- name: journal
PRAGMA journal_mode = WAL;

-- name: read_only
PRAGMA query_only = ON;

-- name: version
PRAGMA user_version;

-- name: begin_read
BEGIN DEFERRED;

-- name: begin
BEGIN IMMEDIATE;

-- name: commit
COMMIT;

-- name: rollback
ROLLBACK;
