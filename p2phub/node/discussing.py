"""Discussions about the repos of this node, which are notes on its own disk (`store.discussions`).

Whoever speaks is the publisher of this node: nobody else can write here. Nothing goes out.
"""

from collections.abc import Sequence
from functools import partial

from p2phub.formats.ids import RepoId
from p2phub.node.services import Services
from p2phub.store.discussions import Discussion, Note, NoteKind


class Discussing:
    """What `store.discussions` does, off the main thread and with the time of now."""

    def __init__(self, services: Services) -> None:
        self._services, self._kept = services, services.store.discussions

    async def every(self, repo: RepoId) -> Sequence[Discussion]:
        """Those of a repo without their notes, the newest first."""
        return await self._services.on_disk(self._kept.every, repo)

    async def get(self, repo: RepoId, number: int) -> Discussion | None:
        """One with its notes; None if nothing is kept of it."""
        return await self._services.on_disk(self._kept.get, repo, number)

    async def begin(
        self, repo: RepoId, least: int, title: str, author: str, *, pull_request: bool
    ) -> int:
        """A new one: its number, `least` or more. Raises `UsageError`."""
        now = self._services.now()
        begin = partial(self._kept.begin, pull_request=pull_request)
        return await self._services.on_disk(begin, repo, least, title, author, now)

    async def add(
        self, repo: RepoId, number: int, kind: NoteKind, author: str, text: str, was: str = ""
    ) -> Note:
        """A note on one. Raises `UsageError`."""
        now = self._services.now()
        return await self._services.on_disk(
            self._kept.add, repo, number, kind, author, text, was, now
        )

    async def edit(self, repo: RepoId, number: int, id: str, text: str | None) -> Note:
        """Another text for a comment; None hides it. Raises `NotFoundError`, `UsageError`."""
        now = self._services.now()
        return await self._services.on_disk(self._kept.edit, repo, number, id, text, now)
