"""A libp2p stream as the rest of p2phub sees it: bytes in, bytes out, our own errors.

A yamux writer whose window stays shut for 5 s gives up, and nobody tells the reader, who waits for
ever (yamux.py:285). So a stream is read all the time, whether its owner reads or not, into a small
queue. An owner that lets the queue stay full loses the stream, and both sides are told.
Tests: test_libp2p_streams.py::test_a_sleeping_reader_is_told_to_the_writer_and_to_itself,
test_libp2p_streams.py::test_a_reader_that_sleeps_loses_the_stream_before_the_writer_gives_up.

Rules it keeps
- At most `MAX_HELD` bytes wait in the queue; after `MAX_PAUSE` seconds of a full queue the stream
  is reset (below the 5 s of the other side).
- Writes go out in chunks of 256 KiB: larger ones win no speed, smaller ones lose it.
- A stream whose write failed or was cancelled is reset, so that the reader on the other side hears
  of it; it is never used again.
- `close()` is the end: we send no more, and what still comes is dropped.
- Where the protocol of a stream is only proposed, the proposal goes out with the first bytes, and
  what the peer says to it is read before anything else.
- The end of a stream is what its sender says is the end. The library reports the same when the
  stream is reset or its connection dies (yamux.py `read_stream`); here that is an error.
  Tests: test_libp2p_streams.py::test_a_dying_connection_is_no_end_of_a_stream,
  test_libp2p_streams.py::test_a_reset_is_no_end_of_a_stream.

It leaves framing, limits on messages and time-outs of a protocol to whoever speaks it.
"""

import math
from collections import deque
from typing import Any, Final

import trio
from libp2p.network.stream.exceptions import StreamEOF

from p2phub.errors import RemoteError, TooSlowError
from p2phub.network.libp2p_negotiation import agreement, proposal
from p2phub.network.libp2p_patches import quietly

CHUNK: Final = 256 * 1024
"""Bytes of one write and at most of one read."""
MAX_HELD: Final = 1024 * 1024
"""Bytes that may wait for the owner of a stream."""
MAX_PAUSE: Final = 4.0
"""Seconds for which the owner may leave the queue full."""
FAREWELL: Final = 2.0
"""Seconds that closing or resetting may take."""


class Libp2pStream:
    """One stream; `pump` must run as a task for as long as it lives. `proposed`: the protocol that
    the peer has yet to agree to; empty if that is done.
    """

    def __init__(self, raw: Any, peer_id: str, *, proposed: str = "") -> None:
        self.peer_id = peer_id
        self._raw, self._proposed = raw, proposed
        self._unsaid = proposal(proposed) if proposed else b""
        self._chunks: deque[memoryview] = deque()
        self._held = 0
        self._at_end = False
        self._failure: RemoteError | None = None
        self._is_reset = False
        self._news, self._room = trio.Event(), trio.Event()
        self._pumping = trio.CancelScope()

    async def read(self, limit: int) -> bytes:
        """At most `limit` bytes; empty when the peer has closed its side. Raises `RemoteError`."""
        if self._unsaid:
            await self.write(b"")
        while not self._chunks and not self._at_end and self._failure is None:
            await self._news.wait()
        if self._chunks:
            return self._take(limit)
        if self._failure is not None:
            raise self._failure
        return b""

    def _take(self, limit: int) -> bytes:
        first = self._chunks.popleft()
        if len(first) > limit:
            self._chunks.appendleft(first[limit:])
        data = bytes(first[:limit])
        self._held -= len(data)
        self._room.set()
        return data

    async def write(self, data: bytes) -> None:
        if self._failure is not None:
            raise self._failure
        data, self._unsaid = self._unsaid + data, b""
        try:
            for start in range(0, len(data), CHUNK):
                await self._raw.write(data[start : start + CHUNK])
        except Exception as error:
            failure = RemoteError(f"peer {self.peer_id} does not take what we send: {error}")
            await self._end(failure)
            raise failure from error
        except BaseException:
            await self._end(RemoteError("the stream was reset: a write to it was cancelled"))
            raise

    async def close(self) -> None:
        """We send no more and want no more."""
        if self._failure is not None:
            return
        self._fail(RemoteError("this stream is closed"))
        self._pumping.deadline = -math.inf if self._at_end else trio.current_time() + FAREWELL
        with trio.move_on_after(FAREWELL):
            await quietly(self._raw.close)

    async def reset(self) -> None:
        await self._end(RemoteError("this stream was reset"))

    async def pump(self) -> None:
        """Read all the time. Ends with the stream and raises nothing but a cancellation."""
        try:
            with self._pumping:
                await self._agree()
                while not self._at_end:
                    await self._receive()
        finally:
            if not self._at_end:
                gone = RemoteError(f"the stream of peer {self.peer_id} is gone")
                await self._end(gone, keep=True)

    async def _agree(self) -> None:
        if not self._proposed:
            return
        try:
            await agreement(self._raw, self._proposed)
        except Exception as error:
            said = f"peer {self.peer_id} is gone or does not speak {self._proposed}: {error}"
            await self._end(RemoteError(said), keep=True)

    async def _receive(self) -> None:
        try:
            data = await self._raw.read(CHUNK)
        except StreamEOF:
            data = b""
        except Exception as error:
            await self._end(
                RemoteError(f"peer {self.peer_id} reset the stream: {error!r}"), keep=True
            )
            return
        if not data and not self._was_finished():
            cut = RemoteError(f"the stream of peer {self.peer_id} was cut off")
            await self._end(cut, keep=True)
            return
        if not data:
            self._at_end = True
        elif self._failure is None:
            self._chunks.append(memoryview(data))
            self._held += len(data)
        self._news.set()
        self._news = trio.Event()
        await self._wait_for_room()

    def _was_finished(self) -> bool:
        """Whether the peer itself said that this is the end."""
        muxed = self._raw.muxed_stream
        dying = self._raw.muxed_conn.event_shutting_down.is_set()
        return bool(muxed.recv_closed and not muxed.reset_received and not dying)

    async def _wait_for_room(self) -> None:
        with trio.move_on_after(MAX_PAUSE) as pause:
            while self._held >= MAX_HELD and self._failure is None:
                self._room = trio.Event()
                await self._room.wait()
        if pause.cancelled_caught:
            await self._end(
                TooSlowError(f"the stream of peer {self.peer_id} was reset: we read too slowly")
            )

    async def _end(self, failure: RemoteError, *, keep: bool = False) -> None:
        self._fail(failure, keep=keep)
        if self._is_reset:
            return
        self._is_reset = True
        with trio.move_on_after(FAREWELL) as scope:
            scope.shield = True
            await quietly(self._raw.reset)
        self._pumping.cancel()

    def _fail(self, failure: RemoteError, *, keep: bool = False) -> None:
        if self._failure is None:
            self._failure = failure
        if not keep:
            self._chunks.clear()
            self._held = 0
        self._room.set()
        self._news.set()
