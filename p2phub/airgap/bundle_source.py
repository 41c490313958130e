"""A bundle as a source: a stick is asked for documents and pieces as a peer is.

The same port as a peer or a web server: blocking reads in worker threads, pieces straight into the
sink, which checks each of them. What lies on a stick is as little trusted as what a peer sends.

Rules it keeps:
 * one or two reads at once: a stick has one head, if it has any;
 * it says that it has a file only if every piece of it is in a whole pack, or which ranges are;
 * a stick that is gone is a `NoSourceError`, and who lent it is told at once: nobody needs to look
   for the rest of it again and again; what came is kept by who fetches.

>>> NAMED.format("/media/stick")
'bundle:/media/stick'
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack
from typing import Final, TypeVar, TypeVarTuple

import trio

from p2phub.airgap.medium import Medium, Place
from p2phub.airgap.volume import StoredFile
from p2phub.errors import GarbageError, NoSourceError, NotFoundError, UntrustedError
from p2phub.formats.ids import ContentId
from p2phub.formats.pieces import PieceTable, Run, max_table_bytes
from p2phub.protocol.batch import one_by_one
from p2phub.protocol.ports import AcceptFile, Holding, Sink

NAMED: Final = "bundle:{}"
CONNECTIONS: Final = 2
Answer = TypeVar("Answer")
Words = TypeVarTuple("Words")


def _nobody() -> None:
    """Nobody wants to know."""


class BundleSource:
    """What is on a `medium`, as a `Source`. Whoever opened the medium closes it.

    `gone` is called, from trio's thread, when a read fails and nothing can be read there any more.
    """

    def __init__(self, medium: Medium, gone: Callable[[], None] = _nobody) -> None:
        self.name = NAMED.format(medium.path)
        self.connections = CONNECTIONS
        self._medium, self._gone = medium, gone
        self._places = trio.Semaphore(CONNECTIONS)
        self._threads = trio.CapacityLimiter(CONNECTIONS)

    async def holds(self, content: ContentId) -> Holding | None:
        """What is on the stick of this file; None if nothing."""
        return await self._reading(self._holding, content)

    def _holding(self, content: ContentId) -> Holding | None:
        if not content.has_table:
            known = not content.size or self._medium.has("pieces", content.digest)
            return Holding(complete=True) if known else None
        try:
            packed = self._medium.read("documents", content.digest, max_table_bytes(content.size))
            table = PieceTable.unpack(packed, content)
        except (NotFoundError, GarbageError, UntrustedError):
            return None
        here = [self._medium.has("pieces", table.digest(index)) for index in range(table.count)]
        if all(here):
            return Holding(complete=True)
        ranges = _ranges(table, here)
        return Holding(complete=False, ranges=ranges) if ranges else None

    async def content_of(self, sha256: bytes) -> ContentId | None:
        """None: it was not hashed whole here."""
        await trio.lowlevel.checkpoint()
        return None

    async def document(self, digest: bytes, limit: int) -> bytes:
        """The bytes under this digest, at most `limit`. Not yet checked by anyone."""
        return await self._reading(self._medium.read, "documents", digest, limit)

    def place(self) -> AbstractAsyncContextManager[None]:
        """One of its `connections`, whoever else wants one."""
        return self._places

    async def fetch(self, content: ContentId, table: PieceTable, run: Run, sink: Sink) -> None:
        """Hand every piece of `run` to `sink`, in order; returns when the last was accepted."""
        await self._reading(self._fetch, table, run, sink)

    async def _reading(self, read: Callable[[*Words], Answer], *words: *Words) -> Answer:
        """In a thread."""
        try:
            return await trio.to_thread.run_sync(read, *words, limiter=self._threads)
        except NoSourceError:
            if await trio.to_thread.run_sync(self._medium.is_gone, limiter=self._threads):
                self._gone()
            raise

    def _fetch(self, table: PieceTable, run: Run, sink: Sink) -> None:
        packs: dict[str, StoredFile] = {}
        wanted = range(run.first, run.first + run.count)
        places = [self._place(table, index) for index in wanted]
        with ExitStack() as stack:
            for index, place in zip(wanted, places, strict=True):
                trio.from_thread.check_cancelled()
                if place.pack not in packs:
                    packs[place.pack] = stack.enter_context(self._medium.opened(place.pack))
                data = packs[place.pack].pread(place.row.length, place.row.offset)
                sink.accept(index, memoryview(data))

    def _place(self, table: PieceTable, index: int) -> Place:
        place = self._medium.find("pieces", table.digest(index))
        if place is None or place.row.length != table.length(index):
            raise NotFoundError(f"{self.name} does not have these bytes")
        return place

    async def fetch_many(
        self, contents: Sequence[ContentId], accept: AcceptFile
    ) -> Sequence[ContentId]:
        """Hand each of these small files that it has to `accept`; what it lacks."""
        return await one_by_one(self, contents, accept)

    async def close(self) -> None:
        """Nothing of its own is open."""
        await trio.lowlevel.checkpoint()


def _ranges(table: PieceTable, here: Sequence[bool]) -> tuple[tuple[int, int], ...]:
    """The byte ranges of the pieces that are here."""
    found: list[tuple[int, int]] = []
    for index, is_here in enumerate(here):
        start = table.offset(index)
        stop = start + table.length(index)
        if is_here and found and found[-1][1] == start:
            found[-1] = (found[-1][0], stop)
        elif is_here:
            found.append((start, stop))
    return tuple(found)
