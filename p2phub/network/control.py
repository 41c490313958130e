"""The control protocol: one question and one answer on a stream, each a length and a message.

`hello` says who we are, where our data port is, and gives the asker a ticket for it; `documents`
hands out small documents and heads; `have` says what we hold of files. What a message means is in
`p2phub.formats.messages`; that a peer is who it says is the stream's doing.

Rules it keeps:
 * a length is checked against `MAX_MESSAGE` before memory is spent on it;
 * a question and its answer have ten seconds together; a peer has a few questions open at once;
 * a question that this version does not understand is answered with an error, so that a later
   version can tell; anything that is not the protocol at all resets the stream;
 * the store is asked in worker threads.

Nothing that comes in here is believed: documents and heads go to the gate, holdings are tried.

>>> framed(b"abc")
b'\\x00\\x00\\x00\\x03abc'
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Final, TypeVar

import trio

from p2phub.errors import GarbageError, NoSpaceError, P2PHubError, RefusedError, RemoteError
from p2phub.formats.ids import ContentId
from p2phub.formats.limits import (
    KIB,
    MAX_MESSAGE,
    MAX_MESSAGE_DIGESTS,
    MAX_MESSAGE_HEADS,
    MAX_RANGES,
)
from p2phub.formats.messages import (
    DocumentsReply,
    DocumentsRequest,
    ErrorReply,
    HaveReply,
    HaveRequest,
    HelloReply,
    HelloRequest,
    Reply,
    Request,
    decode_reply,
    decode_request,
    encode_message,
)
from p2phub.network.limits import MAX_STREAMS_PER_PEER, Patience
from p2phub.network.tickets import Tickets
from p2phub.network.waiting import ended, time_limit
from p2phub.protocol.ports import ControlNetwork, Holding, Stream
from p2phub.protocol.serve import Library

CONTROL: Final = "/p2phub/control/1"
CAPABILITIES: Final = ("documents", "have")
_LENGTH: Final = 4
_THREADS: Final = 8
_CHUNK: Final = 64 * KIB
_ROOM: Final = MAX_MESSAGE - 128 * KIB
"""Bytes of documents in one answer; the rest is for digests and keys."""

Ranges = tuple[tuple[int, int], ...]
T = TypeVar("T")
R = TypeVar("R", HelloReply, DocumentsReply, HaveReply)


class ControlServer:
    """Answers the questions of peers from `library`.

    `data_port`: where our data plane listens, 0 if nowhere. `data_addresses`: "host:port" that
    were configured and come before what peers see of us. `now`: unix seconds, for tickets.
    """

    def __init__(
        self,
        library: Library,
        tickets: Tickets,
        *,
        data_port: int,
        agent: str,
        data_addresses: Sequence[str] = (),
        patience: Patience | None = None,
        now: Callable[[], int] = lambda: int(time.time()),
    ) -> None:
        self._library, self._tickets, self._now = library, tickets, now
        self._data_port, self._data_addresses = data_port, tuple(data_addresses)
        self._agent = agent
        self._patience = patience or Patience()
        self._limiter = trio.CapacityLimiter(_THREADS)
        self._open: Counter[str] = Counter()

    def register(self, network: ControlNetwork) -> None:
        """Answer on `network` from now on."""
        network.handle(CONTROL, self.serve)

    async def serve(self, peer: str, stream: Stream) -> None:
        """Answer one question of `peer`. Raises `RemoteError` if the peer misbehaves."""
        self._open[peer] += 1
        try:
            async with ended(stream):
                with time_limit(self._patience.request, "a peer took too long over a question"):
                    reply = await self._reply(peer, await _read_message(stream, "a peer"))
                    await stream.write(framed(reply))
        finally:
            self._open[peer] -= 1
            self._open += Counter()  # forgets whoever has none left

    async def _reply(self, peer: str, data: bytes) -> bytes:
        try:
            if self._open[peer] > MAX_STREAMS_PER_PEER:
                raise RefusedError(f"you have more than {MAX_STREAMS_PER_PEER} questions open here")
            request = decode_request(data)
            return encode_message(
                await trio.to_thread.run_sync(self._answer, peer, request, limiter=self._limiter)
            )
        except P2PHubError as error:
            return encode_message(ErrorReply.of(error))

    def _answer(self, peer: str, request: Request) -> Reply:
        match request:
            case HelloRequest():
                return self._hello(peer)
            case DocumentsRequest():
                return self._documents(peer, request)
            case HaveRequest():
                return self._have(peer, request)

    def _hello(self, peer: str) -> HelloReply:
        return HelloReply(
            agent=self._agent,
            ticket=self._tickets.issue(peer, self._now()),
            ticket_seconds=self._tickets.seconds,
            data_port=self._data_port,
            data_addresses=self._data_addresses,
            capabilities=CAPABILITIES,
        )

    def _documents(self, peer: str, request: DocumentsRequest) -> DocumentsReply:
        found = (self._library.head(publisher, peer) for publisher in request.heads)
        heads = tuple(head for head in found if head is not None)
        room = _ROOM - sum(map(len, heads))
        documents: dict[bytes, bytes] = {}
        left = iter(request.digests)
        larger = []
        for digest in left:
            data = self._library.document(digest, peer)
            if data is not None and len(data) <= room:
                documents[digest] = data
                room -= len(data)
            elif data is not None:
                larger.append(digest)
                if room < _ROOM // 2 or len(larger) > MAX_STREAMS_PER_PEER:
                    break  # full enough: what is left is not looked up any more
        return DocumentsReply(documents, (*larger, *left), heads)

    def _have(self, peer: str, request: HaveRequest) -> HaveReply:
        held = {content: self._library.holding(content, peer) for content in request.contents}
        complete = tuple(content for content, each in held.items() if each and each.complete)
        partial = {
            content: each.ranges
            for content, each in held.items()
            if each and not each.complete and each.ranges
        }
        most = MAX_RANGES // max(1, len(partial))
        return HaveReply(
            complete, {content: _largest(ranges, most) for content, ranges in partial.items()}
        )


class ControlClient:
    """Asks peers. Every method raises `RemoteError` when the peer is gone, slow (`TooSlowError`) or
    speaks garbage (`GarbageError`), and what the peer itself raised when it refuses.
    """

    def __init__(
        self, network: ControlNetwork, *, agent: str, patience: Patience | None = None
    ) -> None:
        self._network, self._agent = network, agent
        self._patience = patience or Patience()

    async def hello(self, peer: str) -> HelloReply:
        """Who it is, where its data plane is, and a ticket for it."""
        return await self._ask(peer, HelloRequest(self._agent), HelloReply)

    async def documents(self, peer: str, digests: Iterable[bytes]) -> DocumentsReply:
        """What it has of these documents; `larger` are for the data plane to fetch."""
        documents: dict[bytes, bytes] = {}
        larger: list[bytes] = []
        for part in _batches(sorted(set(digests)), MAX_MESSAGE_DIGESTS):
            reply = await self._ask(peer, DocumentsRequest(digests=part), DocumentsReply)
            asked = set(part)
            documents |= {each: data for each, data in reply.documents.items() if each in asked}
            larger += [each for each in reply.larger if each in asked]
        return DocumentsReply(documents, tuple(larger))

    async def heads(self, peer: str, publishers: Iterable[bytes]) -> tuple[bytes, ...]:
        """The newest heads it knows of these publishers (digests of their ids)."""
        heads: list[bytes] = []
        for part in _batches(sorted(set(publishers)), MAX_MESSAGE_HEADS):
            reply = await self._ask(peer, DocumentsRequest(heads=part), DocumentsReply)
            heads += reply.heads
        return tuple(heads)

    async def have(self, peer: str, contents: Iterable[ContentId]) -> dict[ContentId, Holding]:
        """What it has of these files; those it has nothing of are left out."""
        held: dict[ContentId, Holding] = {}
        for part in _batches(sorted(set(contents)), MAX_MESSAGE_DIGESTS):
            reply = await self._ask(peer, HaveRequest(part), HaveReply)
            asked = set(part)
            whole = dict.fromkeys(reply.complete, Holding(complete=True))
            parts = {each: Holding(False, ranges) for each, ranges in reply.partial.items()}
            held |= {each: holding for each, holding in (parts | whole).items() if each in asked}
        return held

    async def _ask(self, peer: str, request: Request, wanted: type[R]) -> R:
        with time_limit(self._patience.request, f"peer {peer} did not answer in time"):
            stream = await self._network.open_stream(peer, CONTROL)
            async with ended(stream):
                await stream.write(framed(encode_message(request)))
                data = await _read_message(stream, f"peer {peer}")
        reply = decode_reply(data)
        if isinstance(reply, ErrorReply):
            raise _error(reply, peer)
        if not isinstance(reply, wanted):
            raise GarbageError(f"peer {peer} answered another question than the one it was asked")
        return reply


def framed(message: bytes) -> bytes:
    """A message with its length before it."""
    return len(message).to_bytes(_LENGTH, "big") + message


async def _read_message(stream: Stream, who: str) -> bytes:
    length = int.from_bytes(await _read_exactly(stream, _LENGTH, who), "big")
    if length > MAX_MESSAGE:
        raise GarbageError(
            f"{who} claims a message of {length} bytes; at most {MAX_MESSAGE} can be"
        )
    return await _read_exactly(stream, length, who)


async def _read_exactly(stream: Stream, length: int, who: str) -> bytes:
    data = bytearray()
    while len(data) < length:
        part = await stream.read(min(_CHUNK, length - len(data)))
        if not part:
            raise RemoteError(f"{who} ended the stream in the middle of a message")
        data += part
    return bytes(data)


def _error(reply: ErrorReply, peer: str) -> P2PHubError:
    error = reply.as_error()
    said = f"peer {peer} says: {error.message}"
    if isinstance(error, NoSpaceError):
        return RemoteError(said)  # its disk, not ours
    return type(error)(said)


def _batches(items: Sequence[T], size: int) -> Iterator[tuple[T, ...]]:
    rest = iter(items)
    while part := tuple(islice(rest, size)):
        yield part


def _largest(ranges: Ranges, most: int) -> Ranges:
    """At most so many ranges, the largest ones; in order, and none touching another.

    >>> _largest(((0, 2), (2, 3), (5, 6), (7, 9)), 2)
    ((0, 3), (7, 9))
    """
    merged: list[tuple[int, int]] = []
    for start, stop in sorted(ranges):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(stop, merged[-1][1]))
        else:
            merged.append((start, stop))
    largest = sorted(merged, key=lambda each: each[0] - each[1])[:most]
    return tuple(sorted(largest))
