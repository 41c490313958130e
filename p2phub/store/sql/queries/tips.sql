-- Where the history of our own publisher ends.

-- name: all
SELECT digest FROM own_tips ORDER BY position;

-- name: drop_all
DELETE FROM own_tips;

-- name: add
INSERT INTO own_tips (position, digest) VALUES (?, ?);

-- name: sides
SELECT release FROM side_releases WHERE name = ? ORDER BY id;

-- name: add_side
INSERT INTO side_releases (name, release) VALUES (?, ?) ON CONFLICT DO NOTHING;

-- name: trim_sides
DELETE FROM side_releases WHERE name = ? AND id NOT IN (
    SELECT id FROM side_releases WHERE name = ? ORDER BY id DESC LIMIT ?
);

-- name: drop_side
DELETE FROM side_releases WHERE name = ? AND release = ?;
