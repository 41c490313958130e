"""The data protocol over a libp2p stream, for peers whose data port cannot be reached.

The same requests and the same answers as over TLS, one after the other on one stream, but slower
and on trio's thread; the stream itself is encrypted and proves who is on the other side, so no
ticket is needed.

Rules it keeps:
 * an answer has at most `MAX_STREAM_RANGE` bytes of a file, and whoever asked reads all of it
   without a pause, whatever the disk does: the writer of a yamux stream gives up on a reader that
   pauses for 5 s;
 * files are read and pieces are checked in worker threads, never on trio's;
 * a file is sent while there is an upload slot for it, of those that data connections share, and a
   peer for which there is none is told when to come again;
 * a peer has a few streams at most, and every wait has an end.

>>> table = PieceTable.build([1 << 20] * 20, [bytes(32)] * 20)
>>> [(run.first, run.count) for run in parts_of(Run(3, 17), table)]
[(3, 8), (11, 8), (19, 1)]
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Final, TypeVar

import trio

from p2phub.errors import (
    DamagedBlobError,
    GarbageError,
    RefusedError,
    RemoteError,
    TooSlowError,
)
from p2phub.formats.ids import ContentId
from p2phub.formats.pieces import PieceTable, Run
from p2phub.network.http_head import HeadReader, RequestReader, request_bytes
from p2phub.network.limits import (
    COME_AGAIN,
    LEAST_PROGRESS,
    MAX_HTTP_HEAD,
    MAX_STREAM_RANGE,
    MAX_STREAMS_PER_PEER,
    MAX_UPLOADS,
    SEND_CHUNK,
    Patience,
)
from p2phub.network.throttle import UNLIMITED, Throttle
from p2phub.network.upload_slots import Turn, UploadSlots
from p2phub.network.waiting import TaskBell, ended, one_error, time_limit
from p2phub.protocol.ask import (
    Head,
    batch_reader,
    batch_request,
    content_of,
    content_request,
    document_length,
    document_request,
    file_length,
    file_request,
    holding_of,
    holding_request,
)
from p2phub.protocol.batch import Came, FileBatch
from p2phub.protocol.ports import AcceptFile, ControlNetwork, Holding, Sink, Stream
from p2phub.protocol.serve import Answer, FileRange, Held, Request, answer, busy, refusal

T = TypeVar("T")
HTTP: Final = "/http/1.1"
_THREADS: Final = 4
"""Files read at once for all streams together: this is the slow way."""


class StreamServer:
    """Answers requests that come over streams. `slots`: those of the data port."""

    def __init__(
        self,
        held: Held,
        *,
        patience: Patience | None = None,
        up: Throttle = UNLIMITED,
        slots: UploadSlots | None = None,
    ) -> None:
        self._held, self._slots = held, slots or UploadSlots(MAX_UPLOADS)
        self._patience, self._up = patience or Patience(), up
        self._limiter = trio.CapacityLimiter(_THREADS)
        self._open: Counter[str] = Counter()
        self.bytes_sent = 0
        """Bytes of files and documents sent since the start."""

    def register(self, network: ControlNetwork) -> None:
        """Serve streams of this protocol on `network` from now on."""
        network.handle(HTTP, self.serve)

    async def serve(self, peer: str, stream: Stream) -> None:
        """Serve one stream of `peer` to its end. Raises one of ours if the peer misbehaves."""
        self._open[peer] += 1
        try:
            async with ended(stream):
                await self._serve(peer, stream)
        finally:
            self._open[peer] -= 1
            self._open += Counter()  # forgets whoever has none left

    async def _serve(self, peer: str, stream: Stream) -> None:
        reader, too_many = RequestReader(), self._open[peer] > MAX_STREAMS_PER_PEER
        can_go_on = True
        while can_go_on:
            request = await self._next(reader, stream)
            if request is None:
                return
            found, turn = await self._answer(request, peer, too_many), Turn(peer, TaskBell())
            try:
                if not await self._has_a_slot(found, turn):
                    found.close()
                    found = busy("every upload slot is taken", COME_AGAIN)
                await self._send(reader, stream, found, turn)
            finally:
                self._slots.leave(turn)
                found.close()
            can_go_on = reader.finish() and not too_many

    async def _next(self, reader: RequestReader, stream: Stream) -> Request | None:
        """The next request; None when the peer is done, or says nothing for long."""
        with trio.move_on_after(self._patience.idle):
            while True:
                request = reader.next()
                if request is not None or reader.ended:
                    return request
                reader.receive(await stream.read(MAX_HTTP_HEAD))
        return None

    async def _answer(self, request: Request, peer: str, too_many: bool) -> Answer:
        if too_many:
            said = f"you have more than {MAX_STREAMS_PER_PEER} streams open here"
            return refusal(RefusedError(said))
        return await trio.to_thread.run_sync(
            lambda: answer(request, self._held, peer, most=MAX_STREAM_RANGE),
            limiter=self._limiter,
        )

    async def _has_a_slot(self, found: Answer, turn: Turn) -> bool:
        """Whether an answer may be sent now; a file needs an upload slot."""
        needs_one = isinstance(found.body, FileRange | FileBatch)
        return not needs_one or await self._slots.take_async(turn, self._patience.turn)

    async def _send(self, reader: RequestReader, stream: Stream, found: Answer, turn: Turn) -> None:
        await self._write(stream, reader.head(found))
        if isinstance(found.body, FileRange):
            await self._send_file(reader, stream, found.body, turn)
            return
        if isinstance(found.body, FileBatch):
            await self._send_batch(reader, stream, found.body, turn)
            return
        for start in range(0, len(found.body), SEND_CHUNK):
            part = found.body[start : start + SEND_CHUNK]
            await self._up.take_async(len(part), turn.peer)
            await self._write(stream, part)
            self._sent(reader, part)

    async def _send_file(
        self, reader: RequestReader, stream: Stream, body: FileRange, turn: Turn
    ) -> None:
        offset = body.start
        while offset < body.stop:
            part = bytearray(min(self._up.portion, body.stop - offset))
            count = await trio.to_thread.run_sync(
                body.reader.read_into, offset, memoryview(part), limiter=self._limiter
            )
            if count != len(part):
                raise DamagedBlobError("a file became shorter while it was sent")
            await self._wait_for_turn(turn, len(part))
            await self._write(stream, bytes(part))
            self._sent(reader, bytes(part))
            offset += len(part)

    async def _send_batch(
        self, reader: RequestReader, stream: Stream, body: FileBatch, turn: Turn
    ) -> None:
        buffer = memoryview(bytearray(self._up.portion))
        while count := await trio.to_thread.run_sync(body.read_into, buffer, limiter=self._limiter):
            part = bytes(buffer[:count])
            await self._wait_for_turn(turn, count)
            await self._write(stream, part)
            self._sent(reader, part)

    async def _wait_for_turn(self, turn: Turn, size: int) -> None:
        if not await self._slots.go_on_async(turn, self._patience.progress):
            raise TooSlowError("no upload slot came free in the middle of an answer")
        await self._up.take_async(size, turn.peer)

    async def _write(self, stream: Stream, data: bytes) -> None:
        with time_limit(self._patience.progress, "a peer does not read what it asked for"):
            await stream.write(data)

    def _sent(self, reader: RequestReader, part: bytes) -> None:
        reader.sent(len(part))
        self.bytes_sent += len(part)


class StreamClient:
    """Asks the peer at the other end of `stream`, which `name` calls for people."""

    def __init__(
        self,
        stream: Stream,
        name: str,
        *,
        patience: Patience | None = None,
        down: Throttle = UNLIMITED,
    ) -> None:
        self._stream, self._name = stream, name
        self._patience, self._down = patience or Patience(), down
        self._rest = b""

    async def holds(self, content: ContentId) -> Holding | None:
        """What the peer has of a file."""
        head = await self._ask(holding_request(content, ticket=b""))
        return holding_of(head, self._name, content)

    async def content_of(self, sha256: bytes) -> ContentId | None:
        """The file of this SHA-256, as the peer says."""
        return content_of(await self._ask(content_request(sha256, ticket=b"")), self._name)

    async def document(self, digest: bytes, limit: int) -> bytes:
        """The bytes that the peer has under a digest, unchecked; at most `limit`."""
        head = await self._ask(document_request(digest, ticket=b""))
        return bytes(await self._body(document_length(head, self._name, limit)))

    async def fetch(self, content: ContentId, table: PieceTable, run: Run, sink: Sink) -> None:
        """Hand every piece of `run` to `sink`, in order, from worker threads."""
        for part in parts_of(run, table):
            start, stop = table.offset(part.first), table.offset(part.first + part.count)
            head = await self._ask(file_request(content, start, stop, ticket=b""))
            file_length(head, self._name, start, stop)
            async with one_error():
                await self._hand_over(table, part, sink)

    async def fetch_many(
        self, contents: Sequence[ContentId], accept: AcceptFile
    ) -> Sequence[ContentId]:
        """Hand each file that the peer has to `accept`, from worker threads; what it lacks."""
        head = await self._ask(batch_request(contents, ticket=b""))
        body = batch_reader(head, self._name, contents)
        async with one_error(), trio.open_nursery() as nursery:
            came, taken = trio.open_memory_channel[Came](math.inf)
            nursery.start_soon(_keep_all, taken, accept)
            with came:
                while body.wanted:
                    found = body.take(memoryview(await self._body(body.wanted)))
                    if found is not None:
                        await _pass_on(came, found)
        return body.lacking

    async def _hand_over(self, table: PieceTable, run: Run, sink: Sink) -> None:
        """Read without a pause; what the sink has not taken yet waits, a whole answer at most."""
        async with trio.open_nursery() as nursery:
            came, taken = trio.open_memory_channel[tuple[int, bytearray]](math.inf)
            nursery.start_soon(_accept_all, taken, sink)
            with came:
                for index in range(run.first, run.first + run.count):
                    await _pass_on(came, (index, await self._body(table.length(index))))

    async def _ask(self, request: Request) -> Head:
        if self._rest:
            raise GarbageError(f"{self._name} sent more than what it was asked for")
        reader, head = HeadReader(), None
        with time_limit(self._patience.request, f"{self._name} did not answer in time"):
            await self._stream.write(request_bytes(request))
            while head is None:
                head = reader.feed(await self._read(MAX_HTTP_HEAD))
        self._rest = reader.rest
        return head

    async def _body(self, length: int) -> bytearray:
        body = bytearray(self._rest[:length])
        self._rest = self._rest[length:]
        while len(body) < length:
            enough = min(length, len(body) + LEAST_PROGRESS)
            with time_limit(self._patience.progress, f"{self._name} sends next to nothing"):
                while len(body) < enough:
                    body += await self._read(min(self._down.portion, length - len(body)))
        return body

    async def _read(self, limit: int) -> bytes:
        data = await self._stream.read(limit)
        if not data:
            raise RemoteError(f"{self._name} ended its answer early")
        await self._down.take_async(len(data), self._name)
        return data


async def _pass_on(channel: trio.MemorySendChannel[T], item: T) -> None:
    """Hand `item` to whoever keeps what comes."""
    try:
        channel.send_nowait(item)
    except trio.BrokenResourceError:  # who keeps has just failed, and what it raises ends us too
        await trio.sleep_forever()


async def _accept_all(pieces: trio.MemoryReceiveChannel[tuple[int, bytearray]], sink: Sink) -> None:
    with pieces:
        async for index, piece in pieces:
            await trio.to_thread.run_sync(sink.accept, index, memoryview(piece))


async def _keep_all(files: trio.MemoryReceiveChannel[Came], accept: AcceptFile) -> None:
    """As many at once as have come, in a thread."""

    def keep(some: Sequence[Came]) -> None:
        for each in some:
            accept(each.content, each.data)

    with files:
        async for first in files:
            some = [first]
            with suppress(trio.WouldBlock, trio.EndOfChannel):
                while True:
                    some.append(files.receive_nowait())
            await trio.to_thread.run_sync(keep, some)


def parts_of(run: Run, table: PieceTable) -> Iterator[Run]:
    """`run` in parts that one answer over a stream may have."""
    first, size = run.first, 0
    for index in range(run.first, run.first + run.count):
        if index > first and size + table.length(index) > MAX_STREAM_RANGE:
            yield Run(first, index - first)
            first, size = index, 0
        size += table.length(index)
    if first < run.first + run.count:
        yield Run(first, run.first + run.count - first)
