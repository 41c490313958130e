"""What leaves the worker: frames from any thread, written by one.

Whoever hands a frame in goes on at once. What gathers while a write is under way, such as the
tokens that one step of a model gave to all its requests, goes out in the next write together.
"""

import socket
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Final

MOST: Final = 256
"""Frames of one write."""


class Outbox:
    """Frames on their way to the node."""

    def __init__(self, to: socket.socket) -> None:
        self._socket = to
        self._frames: SimpleQueue[bytes] = SimpleQueue()
        self._thread = Thread(target=self._run, name="outbox", daemon=True)
        self._thread.start()
        self.put = self._frames.put
        """Send a frame that is not empty; never blocks."""

    def finish(self, patience: float) -> None:
        """Send what was handed in before, as far as that takes no longer than so many seconds."""
        self._frames.put(b"")
        self._thread.join(patience)

    def _run(self) -> None:
        frames = [self._frames.get()]
        while frames[-1]:
            try:
                while len(frames) < MOST and frames[-1]:
                    frames.append(self._frames.get_nowait())
            except Empty:
                pass
            try:
                self._socket.sendall(b"".join(frames))
            except OSError:
                return  # the node is gone, and so are we
            if frames[-1]:
                frames = [self._frames.get()]
