"""Tell how far long work is, a few times a second and not for every piece.

`add` may be called from any thread; the reports go out from a task beside the body, so a slow
reader of reports never slows a transfer.
"""

import threading
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from p2phub.errors import plain_errors
from p2phub.node.events import Progress, Report

EVERY = 0.25  # seconds
WINDOW = 12  # reports that the rate is averaged over


class ProgressCounter:
    """How many bytes of `total` are done; `sources` is how many bring them now."""

    def __init__(self, total: int, done: int = 0) -> None:
        self.total, self.done, self.sources = total, done, 0
        self._lock = threading.Lock()

    def add(self, size: int) -> None:
        """`size` more bytes are done; from any thread."""
        with self._lock:
            self.done += size


@asynccontextmanager
async def reporting(total: int, report: Report, *, done: int = 0) -> AsyncIterator[ProgressCounter]:
    """Report while the body runs, and once more when it ends well. Sizes are bytes."""
    counter = ProgressCounter(total, done)
    history = deque([(trio.current_time(), done)], maxlen=WINDOW)

    def say() -> None:
        now, so_far = trio.current_time(), counter.done
        since, before = history[0]
        history.append((now, so_far))
        rate = (so_far - before) / (now - since) if now > since else 0.0
        report(Progress(min(so_far, total), total, rate, counter.sources))

    async def tell() -> None:
        while True:
            await trio.sleep(EVERY)
            say()

    with plain_errors():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tell)
            yield counter
            nursery.cancel_scope.cancel()
    say()
