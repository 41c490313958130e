-- What people of this node wrote about its own repos.

-- name: every
SELECT number, title, status, pull_request, author, created FROM discussions
WHERE publisher = ? AND repo = ? ORDER BY number DESC;

-- name: get
SELECT number, title, status, pull_request, author, created FROM discussions
WHERE publisher = ? AND repo = ? AND number = ?;

-- name: last
SELECT coalesce(max(number), 0), count(*) FROM discussions WHERE publisher = ? AND repo = ?;

-- name: begin
INSERT INTO discussions
    (publisher, repo, number, title, status, pull_request, author, created)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO NOTHING;

-- name: set_title
UPDATE discussions SET title = ? WHERE publisher = ? AND repo = ? AND number = ?;

-- name: set_status
UPDATE discussions SET status = ? WHERE publisher = ? AND repo = ? AND number = ?;

-- name: notes
SELECT note, kind, author, created, text, was, edited, hidden FROM discussion_notes
WHERE publisher = ? AND repo = ? AND number = ? ORDER BY id;

-- name: count_notes
SELECT count(*) FROM discussion_notes WHERE publisher = ? AND repo = ? AND number = ?;

-- name: add_note
INSERT INTO discussion_notes
    (note, publisher, repo, number, kind, author, created, text, was, edited, hidden)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0);

-- name: edit
UPDATE discussion_notes SET text = ?, edited = ?, hidden = ?
WHERE publisher = ? AND repo = ? AND number = ? AND note = ? AND kind = 'comment' AND hidden = 0;
