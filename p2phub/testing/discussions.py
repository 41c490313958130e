"""Discussions in memory, without limits: what the routes about them are tested on.

>>> FakeDiscussions().kept
{}
"""

from collections.abc import Sequence
from dataclasses import replace

from p2phub.errors import NotFoundError
from p2phub.formats.ids import RepoId
from p2phub.store.discussions import Discussion, Note, NoteKind

NOW = 1_700_000_000
"""Unix time of everything in them."""


class FakeDiscussions:
    """Keeps the discussions of any repo."""

    def __init__(self) -> None:
        self.kept: dict[tuple[RepoId, int], Discussion] = {}

    async def every(self, repo: RepoId) -> Sequence[Discussion]:
        found = [each for (of, _), each in self.kept.items() if of == repo]
        return sorted(found, key=lambda each: -each.number)

    async def get(self, repo: RepoId, number: int) -> Discussion | None:
        return self.kept.get((repo, number))

    async def begin(
        self, repo: RepoId, least: int, title: str, author: str, *, pull_request: bool
    ) -> int:
        status = "" if pull_request else "open"
        self.kept[repo, least] = Discussion(least, title, status, pull_request, author, NOW)
        return least

    async def add(
        self, repo: RepoId, number: int, kind: NoteKind, author: str, text: str, was: str = ""
    ) -> Note:
        new = Discussion(number, "", "", True, author, NOW)
        found = self.kept.get((repo, number), new)
        note = Note(f"{len(found.notes):024x}", kind, author, NOW, text, was)
        found = replace(found, notes=(*found.notes, note))
        if kind == "title":
            found = replace(found, title=text)
        if kind == "status" and text != "merged":
            found = replace(found, status=text)
        self.kept[repo, number] = found
        return note

    async def edit(self, repo: RepoId, number: int, id: str, text: str | None) -> Note:
        found = self.kept[repo, number]
        for note in found.notes:
            if note.id == id and note.kind == "comment" and not note.hidden:
                new = replace(note, text=text or "", edited=NOW, hidden=text is None)
                notes = tuple(new if each is note else each for each in found.notes)
                self.kept[repo, number] = replace(found, notes=notes)
                return new
        raise NotFoundError(f"there is no comment {id}")
