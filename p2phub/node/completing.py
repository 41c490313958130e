"""Fetch the index and its pages when a new head of a publisher was heard of.

A head names an index by its digest. Whoever keeps the head alone can tell nobody which repos there
are, once the publisher is gone. So what a head leads to is fetched when the head is new, first from
whoever told it.

Rules it keeps:
 * every document passes the gate; what is on this disk is not fetched again;
 * at most `MOST_DOCUMENTS` and `MOST_BYTES` for one publisher: larger catalogs are fetched where a
   name is looked up;
 * one publisher after the other, the one that waits longest first; whoever told the head may not
   have the rest yet, so it is tried again a few times, later each time.

Releases and files are fetched by those who want them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import trio

from p2phub.errors import P2PHubError, UntrustedError
from p2phub.formats.ids import PublisherId
from p2phub.formats.limits import MIB
from p2phub.formats.publisher import Index, Page
from p2phub.network.control_client import ControlClient
from p2phub.node.hearsay import OnDisk
from p2phub.node.knowledge import Kind, Knowledge
from p2phub.protocol.ports import ControlNetwork
from p2phub.trust.catalog import Accepted

MOST_DOCUMENTS: Final = 512
"""Pages of one publisher that are fetched."""
MOST_BYTES: Final = 8 * MIB
"""Bytes of them."""
MOST_WAITING: Final = 1024
"""Publishers that wait; of more, the one that waits longest is not fetched."""
ASKED: Final = 4
"""Peers that are asked for one document."""
AGAIN: Final = (0.2, 1.0, 5.0, 30.0)
"""Seconds until another try, after each that failed."""
PATIENCE: Final = 30.0
"""Seconds for one publisher."""
_AT_ONCE: Final = 32
"""Documents asked for with one question."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    """Since whom we heard of it, how often it was tried, and when it is tried next."""

    teller: str
    tries: int
    due: float


class Completing:
    """A task that fetches what new heads lead to."""

    def __init__(
        self, knowledge: Knowledge, on_disk: OnDisk, network: ControlNetwork, control: ControlClient
    ) -> None:
        self._knowledge, self._on_disk = knowledge, on_disk
        self._network, self._control = network, control
        self._waiting: dict[PublisherId, _Waiting] = {}
        self._wake = trio.Event()

    def want(self, publisher: PublisherId, teller: str) -> None:
        """`teller` told a new head of `publisher`."""
        self._waiting[publisher] = _Waiting(teller, 0, trio.current_time())
        while len(self._waiting) > MOST_WAITING:
            del self._waiting[next(iter(self._waiting))]
        self._wake.set()

    async def run(self) -> None:
        """Fetch what is wanted, for ever."""
        while True:
            due = min((each.due for each in self._waiting.values()), default=float("inf"))
            if due > trio.current_time():
                with trio.move_on_at(due):
                    await self._wake.wait()
                self._wake = trio.Event()
                continue
            publisher = min(self._waiting, key=lambda each: self._waiting[each].due)
            await self._try(publisher, self._waiting.pop(publisher))

    async def _try(self, publisher: PublisherId, waiting: _Waiting) -> None:
        is_whole = False
        with trio.move_on_after(PATIENCE):
            is_whole = await self._fetch(publisher, waiting.teller)
        if is_whole or publisher in self._waiting or waiting.tries == len(AGAIN):
            return
        due = trio.current_time() + AGAIN[waiting.tries]
        self._waiting[publisher] = replace(waiting, tries=waiting.tries + 1, due=due)

    async def _fetch(self, publisher: PublisherId, teller: str) -> bool:
        """Whether there is nothing left to fetch, or nothing that will be."""
        try:
            state = await self._on_disk(self._knowledge.state, publisher)
        except UntrustedError:
            return True  # its head rotted meanwhile
        if state is None or state.forked:
            return True
        found = await self._documents([state.index], Index, teller)
        pages = [each.document.pages for each in found if isinstance(each.document, Index)]
        is_whole, documents, size = bool(found), 0, 0
        while pages and documents < MOST_DOCUMENTS and size < MOST_BYTES:
            asked, pages = pages[:_AT_ONCE], pages[_AT_ONCE:]
            found = await self._documents(asked, Page, teller)
            is_whole = is_whole and len(found) == len(set(asked))
            documents += len(asked)
            size += sum(len(each.data) for each in found)
            pages += (child for each in found for child in _below(each))
        return is_whole

    async def _documents(self, digests: Sequence[bytes], kind: Kind, teller: str) -> list[Accepted]:
        """Those of these documents that are here or that somebody has."""
        found: dict[bytes, Accepted] = {}
        for digest in digests:
            here = await self._on_disk(self._here, digest, kind)
            if here is not None:
                found[digest] = here
        for peer in self._peers(teller):
            missing = [digest for digest in digests if digest not in found]
            if not missing:
                break
            found |= await self._from(peer, missing, kind)
        return list(found.values())

    def _here(self, digest: bytes, kind: Kind) -> Accepted | None:
        try:
            return self._knowledge.document(digest, kind)
        except UntrustedError:  # it rotted; another one mends that
            return None

    async def _from(self, peer: str, digests: Iterable[bytes], kind: Kind) -> dict[bytes, Accepted]:
        found = {}
        try:
            reply = await self._control.documents(peer, digests)
            for digest, data in reply.documents.items():
                found[digest] = await self._on_disk(self._knowledge.learn, data, digest, kind)
        except P2PHubError:  # gone, slow, or a liar: the next one is asked for the rest
            return found
        return found

    def _peers(self, teller: str) -> list[str]:
        connected = [peer.peer_id for peer in self._network.peers()]
        return sorted(connected, key=lambda peer: peer != teller)[:ASKED]


def _below(accepted: Accepted) -> list[bytes]:
    page = accepted.document
    return [digest for _, digest in page.children] if isinstance(page, Page) else []
