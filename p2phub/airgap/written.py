"""Bytes that are written to a medium and read back from it, while the next ones are written.

A file is written in windows. Each is handed to a thread, which waits until the system has written
it out, throws away what the page cache has of it, and reads it from the medium; so neither the
medium nor a processor waits for the other, and a slow stick is never far behind what was told.

Rules it keeps:
 * a byte is counted once the medium has given it back, and `finish` returns when that was all;
 * after the file was synchronised the start of every window is read once more: a stick that is
   smaller than it says writes over what it has held a moment ago;
 * `progress` is called in the thread of who writes, and often: it may end the writing.

>>> WINDOW % BLOCK
0
"""

import mmap
import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from p2phub.airgap.volume import let_go
from p2phub.errors import WrongBytesError
from p2phub.formats.digest import Blake3
from p2phub.store.disk import Disk, Progress, no_progress, read_into

BLOCK: Final = 1 << 20
"""Bytes written and read back at a time."""
WINDOW: Final = 32 << 20
"""Bytes after which reading back begins; where a window ends in the file is a multiple of it, so
that none shares a page of the cache with the next, however large those are."""
AHEAD: Final = 1
"""Windows that wait to be read back while another is written."""
BEGIN: Final = 8 << 20
"""Bytes after which the system is told to begin writing them out."""
HEAD: Final = 4096
"""Bytes of each window that are looked at again at the end."""
PATIENCE: Final = 0.1  # seconds between two calls of `progress` while the medium is waited for


@dataclass(frozen=True, slots=True)
class _Window:
    start: int
    """Where it is in the file."""
    size: int
    digest: bytes
    head: bytes
    """How it begins."""


class Written:
    """Bytes that are written one after another from `start` on in the file `fd`, and read back.

    Used by one thread at a time. Raises what a `Disk` does, `WrongBytesError` if other bytes are
    read back; also for what was appended before. `close` ends it, finished or not.
    """

    def __init__(self, path: Path, disk: Disk, fd: int, start: int = 0) -> None:
        self.fd, self.size = fd, 0
        self._path, self._disk, self._start = path, disk, start
        self._waiting = bytearray()
        self._begun, self._since, self._head, self._hash = start, 0, bytearray(), Blake3()
        self._thread = ThreadPoolExecutor(1, "read back")
        self._buffer = memoryview(bytearray(BLOCK))
        self._pending: deque[Future[None]] = deque()
        self._heads: list[_Window] = []
        self._read = self._told = 0
        self._ended = False

    def append(self, data: bytes | memoryview, progress: Progress = no_progress) -> None:
        """`progress` is told of what was read back meanwhile, which may be nothing."""
        rest = memoryview(data)
        while rest:
            part = rest[: WINDOW - (self._start + self.size) % WINDOW]
            self._put(part)
            rest = rest[len(part) :]
            if (self._start + self.size) % WINDOW == 0:
                self._hand_over()
        self._wait(AHEAD, progress)

    def finish(self, progress: Progress = no_progress) -> None:
        """All of it is on the medium. Raises `WrongBytesError` if it does not hold it."""
        self._hand_over()
        self._wait(0, progress)
        self._disk.sync(self.fd, self._path)
        for window in self._heads:
            self._forget(window.start, len(window.head))
            if self._read_again(window.start, len(window.head)) != window.head:
                raise self._wrong()

    def close(self) -> None:
        """Let the file go; whoever reads back is waited for."""
        self._ended = True
        self._thread.shutdown(cancel_futures=True)
        let_go(self.fd)

    # ------------------------------------------------------------ writing

    def _put(self, part: memoryview) -> None:
        """What is within one window. Small things are written together."""
        self._hash.update(part)
        if len(self._head) < HEAD:
            self._head += part[: HEAD - len(self._head)]
        if len(part) >= BLOCK // 4:
            self._flush()
            self._disk.write(self.fd, part, self._start + self.size, self._path)
            self.size += len(part)
        else:
            self._waiting += part
            self.size += len(part)
        if len(self._waiting) >= BLOCK:
            self._flush()
        self._since += len(part)
        if self._since >= BEGIN:
            self._since = 0
            self._disk.begin_writing(self.fd)

    def _flush(self) -> None:
        if self._waiting:
            at = self._start + self.size - len(self._waiting)
            self._disk.write(self.fd, bytes(self._waiting), at, self._path)
            self._waiting = bytearray()

    def _hand_over(self) -> None:
        """The window ends here: let it be read back."""
        self._flush()
        stop = self._start + self.size
        if stop == self._begun:
            return
        digest, head = self._hash.digest(), bytes(self._head)
        window = _Window(self._begun, stop - self._begun, digest, head)
        self._begun, self._head, self._hash = stop, bytearray(), Blake3()
        self._heads.append(window)
        self._pending.append(self._thread.submit(self._check, window))

    def _wait(self, most: int, progress: Progress) -> None:
        """Until at most so many windows wait to be read back."""
        self._tell(progress)
        while len(self._pending) > most:
            wait([self._pending[0]], PATIENCE)
            self._tell(progress)
            if self._pending[0].done():
                self._pending.popleft().result()

    def _tell(self, progress: Progress) -> None:
        read = self._read
        progress(read - self._told)
        self._told = read

    # ------------------------------------------------------------ reading back

    def _check(self, window: _Window) -> None:
        """In the other thread."""
        self._disk.write_out(self.fd, window.start, window.size, self._path)
        self._forget(window.start, window.size)
        found, at, stop = Blake3(), window.start, window.start + window.size
        while at < stop and not self._ended:
            block = self._buffer[: min(BLOCK, stop - at)]
            count = read_into(self.fd, block, at, self._path)
            found.update(block[:count])
            self._read += count
            at += len(block)
        if found.digest() != window.digest:
            raise self._wrong()

    def _forget(self, start: int, length: int) -> None:
        """Throw away what the page cache has of these bytes, which were written out."""
        low = start // mmap.PAGESIZE * mmap.PAGESIZE
        high = -(-(start + length) // mmap.PAGESIZE) * mmap.PAGESIZE
        os.posix_fadvise(self.fd, low, high - low, os.POSIX_FADV_DONTNEED)

    def _read_again(self, start: int, length: int) -> bytes:
        data = bytearray(length)
        return bytes(data[: read_into(self.fd, memoryview(data), start, self._path)])

    def _wrong(self) -> WrongBytesError:
        return WrongBytesError(
            f"{self._path} does not hold what was written to it",
            remedy="the medium is broken: use another one",
        )
