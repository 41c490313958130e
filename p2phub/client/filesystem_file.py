"""A file of a release, open for reading, and what is read ahead of it.

The file names its commit: a ref that moves while it is open changes nothing, also not after it was
sent to another process.

Who reads on from where the last read ended is likely to go on: half of what was read so far in one
go is read ahead, up to the block size. Who jumps about, as a reader of Parquet's footers and
columns does, gets `LEAST` bytes more than was asked for. So at most a third of what is fetched, or
a piece, is fetched for nothing.

>>> ahead = Ahead(1 << 22, lambda start, stop: bytes(stop - start), 1 << 30)
>>> [len(ahead._fetch(at, at + 100)) for at in (0, 100, 5_000_000)], ahead.total_requested_bytes
([100, 100, 100], 131272)
"""

import os
import threading
from typing import Any, Final

from fsspec.caching import BaseCache, register_cache
from fsspec.spec import AbstractBufferedFile

LEAST: Final = 1 << 16
"""Bytes that are read ahead at least: no piece but the last of a file over 1 MiB is smaller."""
BLOCK: Final = 1 << 22
"""Bytes that are read ahead at most, where the caller names no block size."""
LINES: Final = 1 << 16
"""Bytes that are looked through at a time for the end of a line."""


class Ahead(BaseCache):
    """Keeps the end of what was read last, two blocks at most, and reads ahead of who reads on."""

    name = "p2p-ahead"

    def __init__(self, blocksize: int, fetcher: Any, size: int) -> None:
        super().__init__(blocksize, fetcher, size)
        self._data, self._start = b"", 0
        self._from, self._next = 0, -1
        self._lock, self._process = threading.Lock(), os.getpid()

    def _fetch(self, start: int | None, stop: int | None) -> bytes:
        begin, end = start or 0, min(self.size if stop is None else stop, self.size)
        if begin >= end:
            return b""
        if self._process != os.getpid():  # somebody may have held it when we were forked
            self._lock, self._process = threading.Lock(), os.getpid()
        with self._lock:
            return self._read(begin, end)

    def _read(self, begin: int, end: int) -> bytes:
        have = self._start + len(self._data)
        is_kept = self._start <= begin < have
        if not is_kept and begin != self._next:
            self._from = begin
        self._next = end
        if is_kept and end <= have:
            self.hit_count += 1
            return self._data[begin - self._start : end - self._start]
        self.miss_count += 1
        kept = self._data[begin - self._start :] if is_kept else b""
        first = begin + len(kept)
        ahead = min(max((end - self._from) // 2, LEAST), self.blocksize)
        last = min(end + ahead, self.size)
        self.total_requested_bytes += last - first
        data: bytes = self.fetcher(first, last)
        spent = max(len(data) - 2 * self.blocksize, 0)  # of a large read only its end is kept
        self._data, self._start = data[spent:], first + spent
        return kept + data[: end - first] if kept else data[: end - first]


register_cache(Ahead)


class P2PFile(AbstractBufferedFile):
    """See the module. Made by `P2PFileSystem.open`."""

    def readline(self) -> bytes:
        """The next line, with its end; empty at the end of the file."""
        line: bytes = self.readuntil(b"\n", blocks=LINES)
        return line

    def _fetch_range(self, start: int, end: int) -> bytes:
        data: bytes = self.fs.read_range(self.path, start, end)
        return data
