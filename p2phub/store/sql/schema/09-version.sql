-- The version of this schema: the number of the last migration.

PRAGMA user_version = 11;
