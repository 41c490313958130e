"""Streams between two peers, and the networks that open them, in memory.

>>> async def echo(peer, stream):
...     await stream.write(b"hello " + await stream.read(100))
>>> async def ask():
...     async with trio.open_nursery() as nursery:
...         network = StreamNetwork(nursery, {"/echo": echo})
...         stream = await network.open_stream("bob", "/echo")
...         await stream.write(b"world")
...         return await stream.read(100)
>>> trio.run(ask)
b'hello world'
"""

from collections.abc import Mapping

import trio
from trio.abc import ReceiveStream, SendStream
from trio.testing import memory_stream_pair

from p2phub.errors import P2PHubError, RemoteError
from p2phub.protocol.ports import PeerAddress, Stream, StreamHandler


class MemoryStream:
    """One end of a stream; `received` counts the bytes that were read from it."""

    def __init__(self, sending: SendStream, receiving: ReceiveStream) -> None:
        self._sending, self._receiving = sending, receiving
        self.other: MemoryStream | None = None
        self.is_reset = False
        self.is_closed = False
        self.received = 0

    async def read(self, limit: int) -> bytes:
        self._check()
        try:
            data = await self._receiving.receive_some(limit)
        except (trio.ClosedResourceError, trio.BrokenResourceError) as error:
            raise RemoteError("the stream is gone") from error
        self._check()
        self.received += len(data)
        return bytes(data)

    async def write(self, data: bytes) -> None:
        self._check()
        try:
            await self._sending.send_all(data)
        except (trio.ClosedResourceError, trio.BrokenResourceError) as error:
            raise RemoteError("the stream is gone") from error

    async def close(self) -> None:
        self.is_closed = True
        await self._sending.aclose()

    async def reset(self) -> None:
        self.is_reset = True
        if self.other is not None:
            self.other.is_reset = True
        await trio.aclose_forcefully(self._sending)
        await trio.aclose_forcefully(self._receiving)

    def _check(self) -> None:
        if self.is_reset:
            raise RemoteError("the stream was reset")


def stream_pair() -> tuple[MemoryStream, MemoryStream]:
    """Two ends of one stream."""
    left, right = memory_stream_pair()
    one = MemoryStream(left.send_stream, left.receive_stream)
    two = MemoryStream(right.send_stream, right.receive_stream)
    one.other, two.other = two, one
    return one, two


class StreamNetwork:
    """One side of a control network: whatever peer is asked for, `handlers` answer as that peer.

    A handler's error ends its stream and is kept in `errors`, as the real network logs it.
    """

    peer_id = "me"

    def __init__(
        self, nursery: trio.Nursery, handlers: Mapping[str, StreamHandler] | None = None
    ) -> None:
        self._nursery = nursery
        self.handlers = dict(handlers or {})
        self.streams: list[MemoryStream] = []
        self.errors: list[P2PHubError] = []

    def addresses(self) -> tuple[str, ...]:
        return ()

    def peers(self) -> tuple[PeerAddress, ...]:
        return ()

    def handle(self, protocol: str, handler: StreamHandler) -> None:
        self.handlers[protocol] = handler

    async def connect(self, peer: PeerAddress) -> None:
        await trio.lowlevel.checkpoint()

    async def open_stream(self, peer_id: str, protocol: str) -> Stream:
        await trio.lowlevel.checkpoint()
        if protocol not in self.handlers:
            raise RemoteError(f"{peer_id} does not speak {protocol}")
        ours, theirs = stream_pair()
        self.streams.append(ours)
        self._nursery.start_soon(self._serve, self.handlers[protocol], theirs)
        return ours

    async def _serve(self, handler: StreamHandler, stream: MemoryStream) -> None:
        try:
            await handler(self.peer_id, stream)
        except P2PHubError as error:
            self.errors.append(error)


async def answers_garbage(peer: str, stream: Stream) -> None:
    """Random bytes, which claim to be a message of 1.3 GB."""
    await stream.write(b"Kick out the jams" * 100)


async def claims_a_gigabyte(peer: str, stream: Stream) -> None:
    """A message of 1 GB, announced for an answer of ten bytes."""
    await stream.write((10**9).to_bytes(4, "big") + b"0123456789")


async def answers_half(peer: str, stream: Stream) -> None:
    """A message of a hundred bytes, of which ten come before the stream ends."""
    await stream.write((100).to_bytes(4, "big") + b"0123456789")
    await stream.close()


async def answers_noise(peer: str, stream: Stream) -> None:
    """A message of the right form that says nothing."""
    await stream.write((10).to_bytes(4, "big") + b"0123456789")


async def never_answers(peer: str, stream: Stream) -> None:
    """Takes the question and is silent."""
    await trio.sleep_forever()
