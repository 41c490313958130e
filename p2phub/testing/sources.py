"""Sources in memory: an honest one, and one class for each way in which a source fails.

They checkpoint at every piece, so that a livelock is visible, and take virtual time: `latency` is
seconds a piece. `asked` is what they were asked for, in order. The honest one passes the same
conformance suite as the sources that use the network.
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager

import trio

from p2phub.errors import GarbageError, NotFoundError, RemoteError, WrongBytesError
from p2phub.formats.digest import sha256
from p2phub.formats.ids import ContentId
from p2phub.formats.pieces import PieceTable, Run
from p2phub.protocol.batch import one_by_one
from p2phub.protocol.ports import AcceptFile, Holding, Sink
from p2phub.testing.samples import Sample

ROUND_TRIP = 0.005  # seconds


class HonestSource:
    """Has `files` (the parts that `ranges` names, all of them by default) and `documents`."""

    def __init__(
        self,
        name: str,
        files: Iterable[Sample] = (),
        documents: Mapping[bytes, bytes] | None = None,
        *,
        ranges: Mapping[ContentId, tuple[tuple[int, int], ...]] | None = None,
        latency: float = 0.1,
        connections: int = 1,
    ) -> None:
        self.name = name
        self.connections = connections
        self.latency = latency
        self.asked: list[Run] = []
        self.batches: list[tuple[ContentId, ...]] = []
        self.served = 0
        self.closed = False
        self._files = {sample.content: sample for sample in files}
        self.by_sha256 = {sha256(sample.data): sample.content for sample in self._files.values()}
        self._documents = dict(documents or {})
        self._ranges = dict(ranges or {})
        self._places = trio.Semaphore(connections)

    async def holds(self, content: ContentId) -> Holding | None:
        await trio.sleep(self.latency)
        if content not in self._files:
            return None
        part = self._ranges.get(content)
        return Holding(complete=True) if part is None else Holding(complete=False, ranges=part)

    async def content_of(self, sha256: bytes) -> ContentId | None:
        await trio.sleep(self.latency)
        return self.by_sha256.get(sha256)

    async def document(self, digest: bytes, limit: int) -> bytes:
        await trio.sleep(self.latency)
        if digest not in self._documents:
            raise NotFoundError(f"{self.name} does not have this document")
        data = self._documents[digest]
        if len(data) > limit:
            raise GarbageError(f"{self.name} claims a document of {len(data)} bytes")
        return data

    def place(self) -> AbstractAsyncContextManager[None]:
        return self._places

    async def fetch(self, content: ContentId, table: PieceTable, run: Run, sink: Sink) -> None:
        self.asked.append(run)
        await trio.lowlevel.checkpoint()
        sample = self._lookup(content, table, run)
        for index in range(run.first, run.first + run.count):
            await trio.sleep(self.latency)
            self.hand_over(sample, run, index, sink)
            self.served += 1

    async def fetch_many(
        self, contents: Sequence[ContentId], accept: AcceptFile
    ) -> Sequence[ContentId]:
        """As an older peer does, so that every fault of a `fetch` is one of this too."""
        self.batches.append(tuple(contents))
        return await one_by_one(self, contents, accept)

    def hand_over(self, sample: Sample, run: Run, index: int, sink: Sink) -> None:
        """Give one piece to the sink; the faulty ones do it in their own way."""
        sink.accept(index, memoryview(sample.piece(index)))

    async def close(self) -> None:
        await trio.lowlevel.checkpoint()
        self.closed = True

    def _lookup(self, content: ContentId, table: PieceTable, run: Run) -> Sample:
        start, stop = table.offset(run.first), table.offset(run.first + run.count)
        held = self._ranges.get(content, ((0, content.size),))
        if content not in self._files or not any(a <= start and stop <= b for a, b in held):
            raise NotFoundError(f"{self.name} does not have these bytes")
        return self._files[content]


class Link:
    """A line of `rate` bytes a second, which all who send over it share piece by piece."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.sent = 0
        """Bytes that were sent over it."""
        self._free_at = 0.0

    async def carry(self, size: int) -> None:
        """Return when `size` more bytes have come out at the other end."""
        self._free_at = max(self._free_at, trio.current_time()) + size / self.rate
        self.sent += size
        await trio.sleep_until(self._free_at)


class PacedSource(HonestSource):
    """Sends over `link`, `ROUND_TRIP` after it was asked. `has`: its pieces; None: all of them."""

    def __init__(
        self,
        name: str,
        sample: Sample,
        link: Link,
        *,
        connections: int = 2,
        has: Container[int] | None = None,
    ) -> None:
        super().__init__(name, [sample], latency=0.0, connections=connections)
        self._link, self._has = link, has

    async def fetch(self, content: ContentId, table: PieceTable, run: Run, sink: Sink) -> None:
        self.asked.append(run)
        await trio.sleep(ROUND_TRIP)
        sample = self._files[content]
        for index in range(run.first, run.first + run.count):
            if self._has is not None and index not in self._has:
                raise NotFoundError(f"{self.name} does not have piece {index}")
            await self._link.carry(table.length(index))
            self.hand_over(sample, run, index, sink)
            self.served += 1


class StallingSource(PacedSource):
    """Sends as it should, and from its piece `after` on nothing more."""

    after = 5

    async def fetch(self, content: ContentId, table: PieceTable, run: Run, sink: Sink) -> None:
        if self.served >= self.after:
            self.asked.append(run)
            await trio.sleep_forever()
        first = Run(run.first, min(run.count, self.after - self.served))
        await super().fetch(content, table, first, sink)
        if first.count < run.count:
            await trio.sleep_forever()


class LyingSource(HonestSource):
    """Flips a bit of the first, the middle or the last piece of every run."""

    where = "first"

    def hand_over(self, sample: Sample, run: Run, index: int, sink: Sink) -> None:
        lies = {"first": 0, "middle": run.count // 2, "last": run.count - 1}
        piece = bytearray(sample.piece(index))
        if index == run.first + lies[self.where]:
            piece[len(piece) // 2] ^= 1
        sink.accept(index, memoryview(piece))


class LyingInTheMiddle(LyingSource):
    where = "middle"


class LyingAtTheEnd(LyingSource):
    where = "last"


class WrongContentSource(HonestSource):
    """Sends something else of the right length."""

    def hand_over(self, sample: Sample, run: Run, index: int, sink: Sink) -> None:
        sink.accept(index, memoryview(bytes(sample.table.length(index))))


class DrippingSource(HonestSource):
    """Sends one byte a second."""

    async def fetch(self, content: ContentId, table: PieceTable, run: Run, sink: Sink) -> None:
        self.asked.append(run)
        for index in range(run.first, run.first + run.count):
            await trio.sleep(table.length(index))
            self.hand_over(self._files[content], run, index, sink)


class ResettingSource(HonestSource):
    """Resets its connection: before the first byte, in a piece, or when all was sent."""

    where = "first"

    async def fetch(self, content: ContentId, table: PieceTable, run: Run, sink: Sink) -> None:
        whole = {"first": 0, "middle": run.count // 2, "last": run.count - 1, "end": run.count}
        await super().fetch(content, table, Run(run.first, whole[self.where]), sink)
        raise RemoteError(f"{self.name} reset the connection")


class ResettingInTheMiddle(ResettingSource):
    where = "middle"


class ResettingInTheLastPiece(ResettingSource):
    where = "last"


class ResettingAtTheEnd(ResettingSource):
    where = "end"


class TruncatingSource(HonestSource):
    """Ends every answer one piece early, as a truncated copy does."""

    def hand_over(self, sample: Sample, run: Run, index: int, sink: Sink) -> None:
        if index == run.first + run.count - 1:
            raise RemoteError(f"{self.name} ended its answer early")
        super().hand_over(sample, run, index, sink)


class HangingSource(HonestSource):
    """Says that it has everything and never sends a byte."""

    async def fetch(self, content: ContentId, table: PieceTable, run: Run, sink: Sink) -> None:
        self.asked.append(run)
        await trio.sleep_forever()


class SlowSource(HonestSource):
    """A thousand times slower than the others."""

    async def fetch(self, content: ContentId, table: PieceTable, run: Run, sink: Sink) -> None:
        for index in range(run.first, run.first + run.count):
            await trio.sleep(1000 * self.latency)
            await super().fetch(content, table, Run(index, 1), sink)


class DroppingSource(HonestSource):
    """Drops the connection after every third piece that it served."""

    def hand_over(self, sample: Sample, run: Run, index: int, sink: Sink) -> None:
        if self.served % 4 == 3:
            self.served += 1
            raise RemoteError(f"{self.name} closed the connection")
        super().hand_over(sample, run, index, sink)


class EndlessSource(HonestSource):
    """Delivers what was asked for, and then does not stop sending."""

    async def fetch(self, content: ContentId, table: PieceTable, run: Run, sink: Sink) -> None:
        await super().fetch(content, table, run, sink)
        await trio.sleep_forever()

    async def document(self, digest: bytes, limit: int) -> bytes:
        await trio.sleep(self.latency)
        raise GarbageError(f"{self.name} sends more than the {limit} bytes a document can have")


class ClaimsAllHasNone(HonestSource):
    """Says that it has every file, and has none."""

    async def holds(self, content: ContentId) -> Holding | None:
        await trio.sleep(self.latency)
        return Holding(complete=True)

    async def fetch(self, content: ContentId, table: PieceTable, run: Run, sink: Sink) -> None:
        self.asked.append(run)
        await trio.sleep(self.latency)
        raise NotFoundError(f"{self.name} does not have these bytes")


class DamagedSource(HonestSource):
    """Finds out, when asked, that its own copy is damaged, and says so."""

    async def fetch(self, content: ContentId, table: PieceTable, run: Run, sink: Sink) -> None:
        self.asked.append(run)
        await trio.sleep(self.latency)
        raise WrongBytesError(f"{self.name} says that its own copy is damaged")
