-- Repos, refs, releases, and what of them is held.

-- name: find
SELECT id, kind, task, license, library, languages, tags, parameters, bytes, created, listed
FROM repos WHERE publisher = ? AND name = ?;

-- name: id
SELECT id FROM repos WHERE publisher = ? AND name = ?;

-- name: put
INSERT INTO repos (publisher, name, kind, task, license, library, languages, tags, parameters,
                   bytes, created, listed)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (publisher, name) DO UPDATE
SET kind = excluded.kind, task = excluded.task, license = excluded.license,
    library = excluded.library, languages = excluded.languages, tags = excluded.tags,
    parameters = excluded.parameters, bytes = excluded.bytes, created = excluded.created, listed = excluded.listed
RETURNING id;

-- name: set_summary
UPDATE repos SET summary = ? WHERE publisher = ? AND name = ? AND summary <> ?;

-- name: names
SELECT name FROM repos WHERE publisher = ? AND listed = 1;

-- name: unlist
UPDATE repos SET listed = 0 WHERE publisher = ? AND name = ?;

-- name: drop_languages
DELETE FROM repo_languages WHERE repo = ?;

-- name: add_language
INSERT INTO repo_languages (language, repo) VALUES (?, ?) ON CONFLICT DO NOTHING;

-- name: refs
SELECT ref, release, seq, tag FROM refs WHERE repo = ? ORDER BY ref;

-- name: drop_refs
DELETE FROM refs WHERE repo = ?;

-- name: add_ref
INSERT INTO refs (repo, ref, release, seq, tag) VALUES (?, ?, ?, ?, ?);

-- name: release
SELECT repo FROM releases WHERE digest = ?;

-- name: of_release
SELECT repos.publisher, repos.name FROM releases JOIN repos ON repos.id = releases.repo
WHERE releases.digest = ?;

-- name: listing
SELECT repos.publisher, repos.name FROM refs JOIN repos ON repos.id = refs.repo
WHERE refs.release = ? ORDER BY repos.listed DESC, repos.id LIMIT 1;

-- name: add_release
INSERT INTO releases (digest, repo, created, message, files, bytes) VALUES (?, ?, ?, ?, ?, ?);

-- name: add_content
INSERT INTO release_contents (release, digest, size, files) VALUES (?, ?, ?, ?);

-- name: releases
SELECT releases.digest, releases.created, releases.message, releases.files, releases.bytes
FROM releases JOIN repos ON repos.id = releases.repo
WHERE repos.publisher = ? AND repos.name = ?
ORDER BY releases.created DESC, releases.digest;

-- name: commits
SELECT releases.digest FROM releases JOIN repos ON repos.id = releases.repo
WHERE repos.publisher = ?1 AND repos.name = ?2 AND releases.digest BETWEEN ?3 AND ?4
UNION
SELECT refs.release FROM refs JOIN repos ON repos.id = refs.repo
WHERE repos.publisher = ?1 AND repos.name = ?2 AND refs.release BETWEEN ?3 AND ?4
ORDER BY 1;

-- name: hold
INSERT INTO held (release, ref, done, since) VALUES (?, ?, ?, ?)
ON CONFLICT (release) DO UPDATE
SET ref = excluded.ref, done = max(done, excluded.done), since = excluded.since;

-- A pull that began, did not end, and was not followed by one of another release by the same ref; or
-- a release that waits in quarantine.
-- name: awaited
SELECT 1 FROM release_contents
JOIN held ON held.release = release_contents.release AND held.done = 0
JOIN releases ON releases.digest = held.release
WHERE release_contents.digest = ?1 AND release_contents.size = ?2 AND NOT EXISTS (
    SELECT 1 FROM releases AS others JOIN held AS later ON later.release = others.digest
    WHERE others.repo = releases.repo AND others.digest <> releases.digest
        AND later.ref = held.ref AND later.since >= held.since
)
UNION ALL
SELECT 1 FROM release_contents
JOIN quarantined ON quarantined.release = release_contents.release
WHERE release_contents.digest = ?1 AND release_contents.size = ?2
    AND quarantined.state <> 'rejected'
LIMIT 1;

-- name: let_go
DELETE FROM held WHERE release = ?;

-- name: free_of
SELECT size, digest FROM release_contents AS own
WHERE release = ? AND NOT EXISTS (
    SELECT 1 FROM release_contents AS other JOIN held ON held.release = other.release
    WHERE other.digest = own.digest AND other.size = own.size
) AND NOT EXISTS (
    SELECT 1 FROM proposal_contents AS other
    WHERE other.digest = own.digest AND other.size = own.size
) AND NOT EXISTS (
    SELECT 1 FROM release_contents AS other
    JOIN quarantined ON quarantined.release = other.release AND quarantined.state <> 'rejected'
    WHERE other.digest = own.digest AND other.size = own.size
)
ORDER BY size, digest;

-- name: local
-- A release is called what it was asked for by, unless that names another one by now.
WITH named AS (
    SELECT held.release, releases.repo, held.done, held.since, releases.files, releases.bytes,
        CASE
            WHEN length(held.ref) >= 8
                AND substr(lower(hex(held.release)), 1, length(held.ref)) = held.ref
                THEN held.ref
            WHEN EXISTS (SELECT 1 FROM refs WHERE repo = releases.repo AND ref = held.ref
                         AND release = held.release)
                THEN held.ref
            WHEN NOT EXISTS (SELECT 1 FROM refs WHERE repo = releases.repo) THEN held.ref
            ELSE coalesce(
                (SELECT ref FROM refs WHERE repo = releases.repo AND release = held.release
                 ORDER BY ref <> 'main', ref LIMIT 1),
                substr(lower(hex(held.release)), 1, 16)
            )
        END AS ref
    FROM held JOIN releases ON releases.digest = held.release
)
SELECT repos.publisher, repos.name, repos.kind, named.release, named.ref, named.done, named.since,
    named.files, named.bytes,
    coalesce(sum(release_contents.files) FILTER (WHERE blobs.id IS NOT NULL), 0),
    coalesce(sum(release_contents.files * release_contents.size)
        FILTER (WHERE blobs.id IS NOT NULL), 0)
FROM named
JOIN repos ON repos.id = named.repo
JOIN release_contents ON release_contents.release = named.release
LEFT JOIN blobs
    ON blobs.digest = release_contents.digest AND blobs.size = release_contents.size
GROUP BY named.release
ORDER BY repos.publisher, repos.name, named.since DESC, named.release;

-- name: count_held
SELECT count(DISTINCT releases.repo) FROM held JOIN releases ON releases.digest = held.release;

-- name: held_publishers
SELECT DISTINCT repos.publisher FROM held
JOIN releases ON releases.digest = held.release JOIN repos ON repos.id = releases.repo
ORDER BY 1;

-- name: held_releases
SELECT release FROM held
WHERE done = 1 AND NOT EXISTS (
    SELECT 1 FROM release_contents
    WHERE release_contents.release = held.release AND NOT EXISTS (
        SELECT 1 FROM blobs
        WHERE blobs.digest = release_contents.digest AND blobs.size = release_contents.size
    )
)
ORDER BY release;

-- Files of ours that came before a moment (nanoseconds) and that nothing needs.
--
-- name: unneeded
SELECT size, digest FROM blobs
WHERE ctime_ns < ?
AND NOT EXISTS (SELECT 1 FROM in_place WHERE in_place.blob = blobs.id)
AND NOT EXISTS (
    SELECT 1 FROM release_contents JOIN held ON held.release = release_contents.release
    WHERE release_contents.digest = blobs.digest AND release_contents.size = blobs.size
) AND NOT EXISTS (
    SELECT 1 FROM proposal_contents
    WHERE proposal_contents.digest = blobs.digest AND proposal_contents.size = blobs.size
) AND NOT EXISTS (
    SELECT 1 FROM release_contents AS other
    JOIN quarantined ON quarantined.release = other.release AND quarantined.state <> 'rejected'
    WHERE other.digest = blobs.digest AND other.size = blobs.size
)
ORDER BY id LIMIT ?;
