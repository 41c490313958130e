"""The catalog exchange, both sides of it: what is newer here than there, and there than here.

Who asks names every publisher it knows, with the newest head and a digest over all notices; who
answers sends heads that are newer and all notices of a publisher of which it has others. So a node
that was away hears of everything when it comes back, whatever was lost in between.

Rules it keeps:
 * an answer is made from what lies on the disk, which the gate has taken before; no signature is
   checked for it;
 * an answer that is too long comes in parts: the asker says how many documents it has had, and
   nothing is kept in mind for it;
 * at most `PARTS` parts are taken of one peer for one question, and none after one that was mostly
   refused;
 * which publishers are asked for first is left to chance, so that a peer that will not answer more
   is asked for others the next time.

It leaves to `p2phub.node.spreading` when to ask, who may ask, and who else is told of the news.
"""

import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Final

import trio

from p2phub.formats.ids import PublisherId
from p2phub.formats.limits import (
    KIB,
    MAX_CATALOG,
    MAX_CATALOG_DOCUMENTS,
    MAX_CATALOG_SKIP,
    MAX_MESSAGE,
    MAX_TOLD,
)
from p2phub.formats.news import CatalogReply, CatalogRequest, KnownPublisher
from p2phub.network.control_client import ControlClient
from p2phub.node.hearsay import OnDisk, Taken
from p2phub.node.knowledge import Knowledge
from p2phub.store.store import Store

PARTS: Final = 16
"""Of one answer; a megabyte each, at most."""
KNOWN_FOR: Final = 60.0
"""Seconds for which the list of all publishers is good for the next peer."""
MOST: Final = 16_384
"""Publishers that are asked for; of more, some that chance names."""
_ROOM: Final = MAX_MESSAGE - 16 * KIB
"""Bytes of documents in one answer."""
_FRAME: Final = 8
"""Bytes that a document takes beside its own."""

Take = Callable[[Sequence[bytes]], Awaitable[Taken]]


class CatalogExchange:
    """`now()` is a steady clock in seconds."""

    def __init__(
        self,
        store: Store,
        knowledge: Knowledge,
        on_disk: OnDisk,
        control: ControlClient,
        now: Callable[[], float] = trio.current_time,
    ) -> None:
        self._store, self._knowledge, self._on_disk = store, knowledge, on_disk
        self._control, self._now = control, now
        self._known: tuple[KnownPublisher, ...] = ()
        self._known_since = float("-inf")

    def forget(self) -> None:
        """The list of all publishers is not what it was: make it anew for the next peer."""
        self._known_since = float("-inf")

    async def answer(self, request: CatalogRequest) -> CatalogReply:
        """What is newer here."""
        return await self._on_disk(self._answer, request)

    async def ask(self, peer: str, take: Take) -> None:
        """Hand to `take` what a peer has that is newer. Raises `RemoteError`, `RefusedError`."""
        known = await self._all_known()
        batches = [known[at : at + MAX_CATALOG] for at in range(0, len(known), MAX_CATALOG)]
        random.shuffle(batches)
        for batch in batches:
            await self._ask_for(peer, batch, take)

    async def _ask_for(self, peer: str, known: Sequence[KnownPublisher], take: Take) -> None:
        had = 0
        for _ in range(PARTS):
            reply = await self._control.newer(peer, known, had)
            had += len(reply.documents)
            refused = 0
            for at in range(0, len(reply.documents), MAX_TOLD):
                refused += (await take(reply.documents[at : at + MAX_TOLD])).refused
            is_over = not reply.more or not reply.documents or had > MAX_CATALOG_SKIP
            if is_over or refused > len(reply.documents) // 2:
                return

    async def _all_known(self) -> tuple[KnownPublisher, ...]:
        if self._now() - self._known_since >= KNOWN_FOR:
            self._known_since = self._now()
            self._known = await self._on_disk(self._look)
        return self._known

    def _look(self) -> tuple[KnownPublisher, ...]:
        """All publishers that this node has to do with, sorted."""
        documents = self._store.documents
        known = {*documents.publishers(), *documents.aliases().pins.values()}
        own = documents.own_publisher()
        if own is not None:
            known.add(own)
        chosen = random.sample(sorted(known, key=_digest), MOST) if len(known) > MOST else known
        return tuple(self._described(publisher) for publisher in sorted(chosen, key=_digest))

    def _described(self, publisher: PublisherId) -> KnownPublisher:
        return KnownPublisher(
            publisher.digest,
            self._store.seen.highest(publisher) or (0, 0, 0),
            self._store.documents.head(publisher) or b"",
            self._knowledge.notices_digest(publisher),
        )

    def _answer(self, request: CatalogRequest) -> CatalogReply:
        documents: list[bytes] = []
        room = _ROOM
        for at, data in enumerate(self._newer(request.known)):
            if at < request.skip:
                continue
            room -= len(data) + _FRAME
            if room < 0 or len(documents) == MAX_CATALOG_DOCUMENTS:
                return CatalogReply(tuple(documents), more=True)
            documents.append(data)
        return CatalogReply(tuple(documents))

    def _newer(self, asked: Sequence[KnownPublisher]) -> Iterator[bytes]:
        """Heads before the notices that need them; in the same order every time."""
        for there in asked:
            publisher = PublisherId(there.publisher)
            here = self._described(publisher)
            head = self._store.documents.get(here.head) if _is_newer(here, there) else None
            if head is not None:
                yield head
            if here.notices and here.notices != there.notices:
                yield from self._knowledge.notices(publisher)


def _is_newer(here: KnownPublisher, there: KnownPublisher) -> bool:
    """Whether the head that is known here is worth sending to whoever knows that one.

    A chain of roots that is shorter may be one that a recovery has made: the gate there decides.
    """
    if not here.head or here.head == there.head:
        return False
    return here.order >= there.order or here.order[0] < there.order[0]


def _digest(publisher: PublisherId) -> bytes:
    return publisher.digest
