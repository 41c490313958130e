"""Streams in memory with all promises of a real one: bounded, in order, honest about their end.

A reader that sleeps loses the stream, a cancelled write resets it, and a stream that was cut never
looks as if it were complete. (`testing.streams` has a simpler kind, for tests of one protocol.)

>>> ours, theirs = pipe("alice", "bob")
>>> ours.peer_id, theirs.peer_id
('bob', 'alice')
"""

from collections import deque
from typing import Final

import trio

from p2phub.errors import RemoteError, TooSlowError

CAPACITY: Final = 1024 * 1024
"""Bytes that may wait for the reader of a stream."""
STALL: Final = 5.0
"""Seconds after which a reader that takes nothing loses the stream."""


class PipeStream:
    """One end of a stream; `peer_id` is who sits at the other."""

    def __init__(self, peer_id: str) -> None:
        self.peer_id = peer_id
        self.drop_after: int | None = None
        """A fault: hang up once this many bytes were written."""
        self.other: PipeStream = self
        self._chunks: deque[bytes] = deque()
        self._held = 0
        self._at_end = False
        self._failure: RemoteError | None = None
        self._changed = trio.Event()

    async def read(self, limit: int) -> bytes:
        await trio.lowlevel.checkpoint()
        while not self._chunks and not self._at_end and self._failure is None:
            await self._changed.wait()
        if not self._chunks and self._failure is not None:
            raise self._failure
        if not self._chunks:
            return b""
        first = self._chunks.popleft()
        if len(first) > limit:
            self._chunks.appendleft(first[limit:])
        self._held -= len(first[:limit])
        self._wake()
        return first[:limit]

    async def write(self, data: bytes) -> None:
        try:
            await trio.lowlevel.checkpoint()
            for start in range(0, len(data), CAPACITY // 4):
                await self._send(data[start : start + CAPACITY // 4])
        except trio.Cancelled:
            self.cut("the stream was reset: a write to it was cancelled")
            raise

    async def close(self) -> None:
        await trio.lowlevel.checkpoint()
        if self._failure is None:
            self.other._at_end = True
            self.other._wake()
            self._fail(RemoteError("this stream is closed"), keep=False)

    async def reset(self) -> None:
        await trio.lowlevel.checkpoint()
        self.cut("the stream was reset")

    def cut(self, why: str) -> None:
        """End both ends now, as a lost connection does."""
        self._fail(RemoteError(why), keep=False)
        if not self.other._at_end:
            self.other._fail(RemoteError(why), keep=True)

    async def _send(self, data: bytes) -> None:
        if self.drop_after is not None:
            data, self.drop_after = data[: self.drop_after], self.drop_after - len(data)
        self._deliver(data)
        if self.drop_after is not None and self.drop_after < 0:
            self.cut("the peer hung up")
        with trio.move_on_after(STALL) as stall:
            while self.other._held >= CAPACITY and self._failure is None:
                await self.other._changed.wait()
        if stall.cancelled_caught:
            self.other._fail(TooSlowError("the stream was reset: we read too slowly"), keep=False)
            self._fail(RemoteError("the peer does not take what we send"), keep=False)
        if self._failure is not None:
            raise self._failure

    def _deliver(self, data: bytes) -> None:
        if self._failure is not None:
            raise self._failure
        if data and self.other._failure is None:
            self.other._chunks.append(bytes(data))
            self.other._held += len(data)
            self.other._wake()

    def _fail(self, failure: RemoteError, *, keep: bool) -> None:
        if self._failure is None:
            self._failure = failure
        if not keep:
            self._chunks.clear()
            self._held = 0
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


def pipe(one: str, two: str) -> tuple[PipeStream, PipeStream]:
    """Two ends of one stream: that of `one`, and that of `two`."""
    ours, theirs = PipeStream(two), PipeStream(one)
    ours.other, theirs.other = theirs, ours
    return ours, theirs
