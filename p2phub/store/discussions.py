"""Discussions about the repos of this node: titles, comments, and whether they are closed.

They are notes on this disk: no other node hears of them, and nothing is signed. A pull request is a
ref of the repo, which is told of elsewhere (`gateway.hub_discussions`); what is kept of it here is
what people wrote about it. `title` and `status` of one are empty until somebody sets them.

What is too long is refused (`MAX_TEXT`, `MAX_NOTES`, `MAX_DISCUSSIONS`). A comment that is hidden
is gone: its text is not kept.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from p2phub.errors import NotFoundError, UsageError
from p2phub.formats.ids import RepoId
from p2phub.store.index import Index, Row, Statements

NoteKind = Literal["comment", "title", "status"]
MAX_TEXT: Final = 65_536
"""Characters of a comment."""
MAX_TITLE: Final = 200
"""Characters of a title."""
MAX_NOTES: Final = 10_000
"""Of one discussion."""
MAX_DISCUSSIONS: Final = 10_000
"""Of one repo."""


@dataclass(frozen=True, slots=True)
class Note:
    """Something that somebody wrote or changed."""

    id: str
    kind: NoteKind
    author: str
    created: int
    """Unix time."""
    text: str
    """The comment, the new title or the new status; empty for a comment that was hidden."""
    was: str = ""
    """The title before."""
    edited: int = 0
    """Unix time; 0: never."""
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class Discussion:
    """A discussion, or what is kept here of a pull request."""

    number: int
    title: str
    status: str
    pull_request: bool
    author: str
    created: int
    notes: tuple[Note, ...] = ()
    """The oldest first; not told in a list."""


class Discussions:
    """The discussions of one store. Thread-safe."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def every(self, repo: RepoId) -> Sequence[Discussion]:
        """Those of a repo without their notes, the newest first."""
        with self._index.read() as statements:
            rows = statements.all("discussions.every", *_key(repo))
            with statements.decoding():
                return [_discussion(row) for row in rows]

    def get(self, repo: RepoId, number: int) -> Discussion | None:
        """One with its notes; None if nothing is kept of it."""
        with self._index.read() as statements:
            row = statements.one("discussions.get", *_key(repo), number)
            notes = statements.all("discussions.notes", *_key(repo), number)
            with statements.decoding():
                return _discussion(row, notes) if row else None

    def begin(
        self, repo: RepoId, least: int, title: str, author: str, now: int, *, pull_request: bool
    ) -> int:
        """A new discussion: its number, which is `least` or the next that is free. One about a
        pull request has just that number. Raises `UsageError`.
        """
        _check_title(title)
        with self._index.write() as statements:
            last, count = statements.one("discussions.last", *_key(repo)) or (0, 0)
            number = least if pull_request else max(least, int(last) + 1)
            if count >= MAX_DISCUSSIONS:
                raise UsageError(f"a repo has at most {MAX_DISCUSSIONS} discussions")
            row = (title, "" if pull_request else "open", int(pull_request), author, now)
            statements.run("discussions.begin", *_key(repo), number, *row)
        return number

    def add(
        self, repo: RepoId, number: int, kind: NoteKind, author: str, text: str, was: str, now: int
    ) -> Note:
        """A note on a discussion, or on a pull request of which nothing was kept yet.

        Raises `UsageError` for what is too long or empty.
        """
        if kind == "title":
            _check_title(text)
        elif not text.strip() or len(text) > MAX_TEXT:
            raise UsageError(f"a comment has between 1 and {MAX_TEXT} characters")
        note = Note(secrets.token_hex(12), kind, author, now, text, was)
        with self._index.write() as statements:
            row = ("", "", 1, author, now)
            statements.run("discussions.begin", *_key(repo), number, *row)
            self._add(statements, repo, number, note)
            if kind == "title":
                statements.run("discussions.set_title", text, *_key(repo), number)
            elif kind == "status" and text != "merged":
                statements.run("discussions.set_status", text, *_key(repo), number)
        return note

    def _add(self, statements: Statements, repo: RepoId, number: int, note: Note) -> None:
        (count,) = statements.one("discussions.count_notes", *_key(repo), number) or (0,)
        if count >= MAX_NOTES:
            raise UsageError(f"a discussion has at most {MAX_NOTES} notes")
        row = (note.kind, note.author, note.created, note.text, note.was)
        statements.run("discussions.add_note", note.id, *_key(repo), number, *row)

    def edit(self, repo: RepoId, number: int, id: str, text: str | None, now: int) -> Note:
        """Put another text in the place of a comment; None hides it for ever.

        Raises `NotFoundError` for what is no comment of it or hidden, `UsageError`.
        """
        if text is not None and (not text.strip() or len(text) > MAX_TEXT):
            raise UsageError(f"a comment has between 1 and {MAX_TEXT} characters")
        with self._index.write() as statements:
            row = (text or "", now, int(text is None))
            if not statements.run("discussions.edit", *row, *_key(repo), number, id):
                raise NotFoundError(f"there is no comment {id[:40]} to change")
            notes = statements.all("discussions.notes", *_key(repo), number)
            return next(note for note in map(_note, notes) if note.id == id)


def _key(repo: RepoId) -> tuple[str, str]:
    return str(repo.publisher), repo.name


def _check_title(title: str) -> None:
    if not title.strip() or len(title) > MAX_TITLE or "\n" in title:
        raise UsageError(f"a title is one line of at most {MAX_TITLE} characters")


def _discussion(row: Row, notes: Sequence[Row] = ()) -> Discussion:
    number, title, status, pull_request, author, created = row
    return Discussion(
        number, title, status, pull_request == 1, author, created, tuple(map(_note, notes))
    )


def _note(row: Row) -> Note:
    note, kind, author, created, text, was, edited, hidden = row
    return Note(note, kind, author, created, text, was, edited, hidden == 1)
