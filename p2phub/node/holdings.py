"""What peers have of the files of one pull: each peer is asked once, about all of them.

Most have all of a file, and nothing can follow on that: so many files cost one question. Only who
has less of one is followed, on a stream of its own, and tells what it gets.

Rules it keeps:
 * that a peer has all of a file is remembered for as long as the pull lasts, and nothing else is;
 * whoever does not answer the one question is followed all the same, and nobody waits long for it.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Protocol

import trio

from p2phub.errors import P2PHubError
from p2phub.formats.ids import ContentId
from p2phub.protocol.ports import Holding

MOST = 256
"""Files that a peer is asked about with the one question; the largest."""
PATIENCE = 1.0
"""Seconds that the answer may take before a file is followed instead."""


class Asks(Protocol):
    """The two questions, as `ControlClient` asks them."""

    async def have(self, peer: str, contents: Iterable[ContentId]) -> dict[ContentId, Holding]: ...

    async def follow(
        self, peer: str, content: ContentId, heard: Callable[[Holding], None]
    ) -> None: ...


class Holdings:
    """`contents`: the files of the pull. `control` asks connected peers."""

    def __init__(self, contents: Iterable[ContentId], control: Asks) -> None:
        largest = sorted(contents, key=lambda content: content.size, reverse=True)[:MOST]
        self._contents, self._control = frozenset(largest), control
        self._whole: dict[str, frozenset[ContentId]] = {}
        self._asking: dict[str, trio.Lock] = {}

    async def follow(self, peer: str, content: ContentId, heard: Callable[[Holding], None]) -> None:
        """Call `heard` with what a peer has of a file, and again when that is more, until the peer
        has all of it or says no more. Raises what `ControlClient.follow` raises.
        """
        if await self.has_all(peer, content):
            heard(Holding(complete=True))
            return
        await self._control.follow(peer, content, heard)

    async def has_all(self, peer: str, content: ContentId) -> bool:
        """Whether a peer says, within `PATIENCE` seconds, that it has all of a file."""
        if content not in self._contents:
            return False
        with trio.move_on_after(PATIENCE):
            async with self._asking.setdefault(peer, trio.Lock()):  # once for all who ask now
                if peer not in self._whole:
                    self._whole[peer] = await self._ask(peer)
        return content in self._whole.get(peer, ())

    async def _ask(self, peer: str) -> frozenset[ContentId]:
        with suppress(P2PHubError):
            held = await self._control.have(peer, self._contents)
            return frozenset(content for content, each in held.items() if each.complete)
        return frozenset()
