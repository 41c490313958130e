-- A search is put together from these: one beginning, some filters, one order. Which index is walked
-- is said, because SQLite cannot know how many repos have a facet.

-- name: aliases
SELECT alias, publisher FROM aliases;

-- name: named
SELECT repos.id FROM repos INDEXED BY repos_by_name
WHERE repos.name = :text COLLATE NOCASE AND repos.listed = 1

-- The rows of the text index come in the order of their ids, without being sorted, and no more of
-- them are looked at than is said: so that no question takes long, however much it matches.
-- name: matching
SELECT repos.id FROM (
    SELECT repos.id, repos.name, repos.bytes, repos.created
    FROM (
        SELECT rowid FROM repo_text WHERE repo_text MATCH :match ORDER BY rowid DESC LIMIT :most
    ) AS found
    CROSS JOIN repos ON repos.id = found.rowid
    WHERE repos.listed = 1

-- name: enough
    LIMIT :enough
) AS repos

-- name: every_created
SELECT repos.id FROM repos INDEXED BY repos_by_created WHERE repos.listed = 1

-- name: every_size
SELECT repos.id FROM repos INDEXED BY repos_by_size WHERE repos.listed = 1

-- name: every_name
SELECT repos.id FROM repos INDEXED BY repos_by_name WHERE repos.listed = 1

-- name: count_matching
SELECT count(*) FROM (SELECT 1 FROM repo_text WHERE repo_text MATCH :match LIMIT :most)

-- name: count_small
SELECT count(*) FROM (SELECT 1 FROM repos WHERE repos.bytes <= :max_size LIMIT :most)

-- name: task
AND repos.task = :task

-- name: license
AND repos.license = :license

-- name: library
AND repos.library = :library

-- name: language
AND EXISTS (SELECT 1 FROM repo_languages
            WHERE repo_languages.language = :language AND repo_languages.repo = repos.id)

-- name: publisher
AND repos.publisher = :publisher

-- name: kind
AND repos.kind = :kind

-- name: max_size
AND repos.bytes <= :max_size

-- name: min_parameters
AND repos.parameters >= :min_parameters

-- Of what nobody knows it is not said that it is small.
-- name: max_parameters
AND repos.parameters BETWEEN 1 AND :max_parameters

-- name: tags
AND NOT EXISTS (
    SELECT 1 FROM json_each(:tags) AS wanted
    WHERE wanted.value NOT IN (lower(repos.task), lower(repos.library))
        AND NOT EXISTS (
            SELECT 1 FROM json_each(repos.tags) AS had WHERE lower(had.value) = wanted.value)
        AND NOT EXISTS (
            SELECT 1 FROM json_each(repos.languages) AS had WHERE lower(had.value) = wanted.value))

-- name: order_relevance
ORDER BY length(repos.name), repos.created DESC, repos.id DESC LIMIT :limit;

-- name: order_created
ORDER BY repos.created DESC, repos.id DESC LIMIT :limit;

-- name: order_size
ORDER BY repos.bytes DESC, repos.id DESC LIMIT :limit;

-- name: order_name
ORDER BY repos.name COLLATE NOCASE, repos.id LIMIT :limit;

-- name: hit
SELECT repos.publisher, repos.name, repos.kind, repos.task, repos.license, repos.library,
    repos.languages, repos.tags, repos.bytes, repos.created, repos.parameters, refs.ref,
    refs.release
FROM repos JOIN refs ON refs.repo = repos.id
WHERE repos.id = ?
ORDER BY refs.ref <> 'main', refs.tag, refs.seq DESC, refs.ref
LIMIT 1;
