-- A search is put together from these: one beginning, some filters, one order. That a facet is not
-- empty is said so that SQLite sees that its index will do.

-- name: aliases
SELECT alias, publisher FROM aliases;

-- name: by_text
SELECT repos.id FROM repo_text CROSS JOIN repos ON repos.id = repo_text.rowid
WHERE repo_text MATCH :match AND repos.listed = 1

-- name: every
SELECT repos.id FROM repos WHERE repos.listed = 1

-- name: task
AND repos.task = :task AND repos.task <> ''

-- name: license
AND repos.license = :license AND repos.license <> ''

-- name: library
AND repos.library = :library AND repos.library <> ''

-- name: language
AND EXISTS (SELECT 1 FROM repo_languages
            WHERE repo_languages.language = :language AND repo_languages.repo = repos.id)

-- name: publisher
AND repos.publisher = :publisher

-- name: kind
AND repos.kind = :kind

-- name: max_size
AND repos.bytes <= :max_size

-- name: order_relevance
ORDER BY repo_text.rank LIMIT :limit;

-- name: order_created
ORDER BY repos.created DESC, repos.id DESC LIMIT :limit;

-- name: order_size
ORDER BY repos.bytes DESC, repos.id DESC LIMIT :limit;

-- name: order_name
ORDER BY repos.name, repos.id LIMIT :limit;

-- name: hit
SELECT repos.publisher, repos.name, repos.kind, repos.task, repos.license, repos.library,
    repos.languages, repos.tags, repos.bytes, repos.created, refs.ref, refs.release
FROM repos JOIN refs ON refs.repo = repos.id
WHERE repos.id = ?
ORDER BY refs.ref <> 'main', refs.tag, refs.seq DESC, refs.ref
LIMIT 1;
