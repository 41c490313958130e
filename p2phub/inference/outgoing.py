"""Frames on their way to a worker: what its socket takes is sent at once, the rest when it can be.

Nobody who sends waits, so that a cancellation is told in the moment it happens. What is held is
bounded by what was asked for.
"""

import socket
from collections import deque
from contextlib import suppress

import trio


class Outgoing:
    """The way out through a socket that does not block."""

    def __init__(self, to: socket.socket) -> None:
        self._socket = to
        self._held: deque[memoryview] = deque()
        self._more = trio.Event()

    def send(self, data: bytes) -> None:
        """Send what can be sent at once; `run` sends the rest."""
        rest = memoryview(data)
        if not self._held:
            rest = rest[self._sent(rest) :]
        if rest:
            self._held.append(rest)
            self._more.set()

    async def run(self) -> None:
        """Send what is held, until the socket is closed."""
        with suppress(trio.ClosedResourceError, OSError):
            while True:
                await self._more.wait()
                self._more = trio.Event()
                while self._held:
                    await trio.lowlevel.wait_writable(self._socket.fileno())
                    rest = self._held[0][self._sent(self._held[0]) :]
                    if rest:
                        self._held[0] = rest
                    else:
                        self._held.popleft()

    def _sent(self, data: memoryview) -> int:
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0
        except OSError:  # it is gone, as whoever reads finds out too
            return len(data)
