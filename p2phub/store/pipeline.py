"""Blocks of memory on their way from who fills them to who looks at them a second time.

One thread reads a file and does what it has to do; a second one, where cores are free, goes through
the same memory after it. Blocks are small: what one core has just written is still in a cache when
the other reads it. Handing one over costs one wake-up.

Rules it keeps:
 * blocks are worked on in the order in which they were passed on;
 * memory does not grow: at most `AHEAD` blocks are on their way;
 * an error in the second thread comes out in the first; no thread outlives the `with`.
"""

import mmap
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from types import TracebackType
from typing import Self

from p2phub.formats.limits import MAX_PIECE

BLOCK = 2 << 20
"""Bytes of a file at a time. What is kept of the block before is copied to the next: the larger a
block, the less there is to copy, and still a core finds in a cache what another has just written.
"""
AHEAD = 3
"""Blocks on their way between two threads: one at each end, and one waiting."""

Work = Callable[[memoryview], object]


class Buffers:
    """Memory for blocks, used again for the next file: it is slow to get from the system.
    Thread-safe.

    Each has room for 1 MiB in front of the block, for what is left of the one before.
    """

    def __init__(self) -> None:
        self._free: list[memoryview] = []

    def take(self) -> memoryview:
        try:
            return self._free.pop()
        except IndexError:
            return memoryview(mmap.mmap(-1, MAX_PIECE + BLOCK))

    def give_back(self, buffer: memoryview) -> None:
        self._free.append(buffer)


class Pipeline:
    """Does `work` with each block that is passed on: at once, or `beside`, in a second thread.

    >>> done = []
    >>> with Pipeline(lambda block: done.append(block.nbytes), Buffers(), beside=True) as pipeline:
    ...     for size in (7, 3):
    ...         buffer = pipeline.take()
    ...         pipeline.pass_on(buffer, buffer[:size])
    >>> done
    [7, 3]
    """

    def __init__(self, work: Work, buffers: Buffers, *, beside: bool) -> None:
        self._work, self._buffers = work, buffers
        self._held = [buffers.take() for _ in range(AHEAD if beside else 1)]
        self._free: SimpleQueue[memoryview | None] = SimpleQueue()
        """What may be filled; None once the second thread has ended."""
        self._passed: SimpleQueue[tuple[memoryview, memoryview] | None] = SimpleQueue()
        for buffer in self._held:
            self._free.put(buffer)
        self._pool = ThreadPoolExecutor(1) if beside else None
        self._end: Future[None] | None = self._pool.submit(self._run) if self._pool else None

    def take(self) -> memoryview:
        """A buffer to fill. What lies in one that was passed on stays until it is filled again."""
        buffer = self._free.get()
        if buffer is not None:
            return buffer
        assert self._end is not None
        self._end.result()
        raise AssertionError("a pipeline was used after its end")

    def pass_on(self, buffer: memoryview, block: memoryview) -> None:
        """Let `block`, a part of `buffer`, be worked on."""
        if self._end is not None:
            self._passed.put((buffer, block))
            return
        self._work(block)
        self._free.put(buffer)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._pool is not None and self._end is not None:
            self._passed.put(None)
            self._pool.shutdown()
            if error is None:
                self._end.result()
        for buffer in self._held:
            self._buffers.give_back(buffer)

    def _run(self) -> None:
        try:
            while (passed := self._passed.get()) is not None:
                buffer, block = passed
                self._work(block)
                self._free.put(buffer)
        finally:
            self._free.put(None)
