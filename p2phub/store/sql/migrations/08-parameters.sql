-- How many parameters a model has, as its publisher says; 0 if it does not.

ALTER TABLE repos ADD COLUMN parameters INTEGER NOT NULL DEFAULT 0;

PRAGMA user_version = 8;
