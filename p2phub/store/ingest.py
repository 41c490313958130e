"""Reading a person's file once: what we keep is what we hashed.

The file is cloned where the file system can share blocks, else copied; the bytes that are hashed
are those of our copy, as they pass. Without a copy (`target=None`) they are those of the file
itself. Of a large file planning and BLAKE3 run in a thread of their own, reading and SHA-256 in
another; both release the interpreter's lock, so two cores are busy. Where other files keep the
cores busy, one thread does it all, which costs less: every byte is in the core's cache when it is
hashed.

Rules it keeps:
 * one pass over the source; memory does not grow with the file (but for the header of a weights
   file, while the planner wants it whole);
 * a source whose stamp or path means something else afterwards is a `FileChangedError` by name;
 * regular files only; links are followed, because the caller decided on them.

What becomes of the copy is left to `blobs`.
"""

import hashlib
import mmap
import os
import stat
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from p2phub.errors import FileChangedError, UsageError
from p2phub.formats.digest import Blake3, blake3
from p2phub.formats.ids import ContentId
from p2phub.formats.limits import MAX_FILE, MAX_PIECE
from p2phub.formats.pieces import PieceTable
from p2phub.formats.planner import PiecePlanner
from p2phub.store.disk import Disk, Progress, disk_errors, no_progress, read_into
from p2phub.store.stamp import Stamp

BLOCK = 8 << 20
"""Bytes that are planned at a time where the content decides: what costs the planner the least."""
STEP = 1 << 20
"""Bytes read at a time, and hashed while they are in the core's own cache."""
AHEAD = 2
"""Blocks in memory at one time: one is read while the other is hashed."""
MAX_GIT = 10 << 20
"""Up to this size a file gets git's blob SHA-1: Hugging Face's etag of small files."""


@dataclass(frozen=True, slots=True)
class Ingested:
    """What a file of a person is, and how much was read to know it."""

    content: ContentId
    sha256: bytes
    """Of the whole file, hashed here."""
    git_sha1: bytes | None
    table: PieceTable
    bytes_hashed: int
    stamp: Stamp
    """Of the person's file, before and after."""


class Buffers:
    """Memory for blocks, used again for the next file: it is slow to get from the system.
    Thread-safe.
    """

    def __init__(self) -> None:
        self._free: list[memoryview] = []

    def take(self) -> memoryview:
        try:
            return self._free.pop()
        except IndexError:
            return memoryview(mmap.mmap(-1, BLOCK))

    def give_back(self, buffer: memoryview) -> None:
        self._free.append(buffer)


class PieceHasher:
    """Plans and hashes the pieces of a file that is fed to it from start to end.

    >>> hasher = PieceHasher(2_000_000)
    >>> for _ in range(4):
    ...     hasher.feed(memoryview(bytes(500_000)))
    >>> hasher.table().content_id.size
    2000000
    """

    def __init__(self, size: int) -> None:
        self._planner = PiecePlanner(size)
        self._lengths: list[int] = []
        self._digests: list[bytes] = []
        self._rest = bytearray()
        """The bytes since the last cut, while a cut among them may still be found."""
        self._begun = Blake3()
        """What they hash to, once they are known to belong to one piece."""

    @property
    def certain(self) -> bool:
        """Whether bytes are hashed as they come, in however small parts; else BLOCKs are best."""
        return self._planner.certain

    def feed(self, data: memoryview) -> None:
        for length in self._planner.feed(data):
            data = self._cut(length, data)
        if not self._planner.certain:
            self._rest += data
            return
        for part in (self._rest, data):
            if part:
                self._begun.update(part)
        self._rest.clear()

    def table(self) -> PieceTable:
        """The table of what was fed: the whole file, of more than 1 MiB."""
        for length in self._planner.finish():
            self._cut(length, memoryview(b""))
        return PieceTable.build(self._lengths, self._digests)

    def _cut(self, length: int, data: memoryview) -> memoryview:
        """Hash the next piece; what of `data` comes after it."""
        missing = length - len(self._rest) - self._begun.length
        if self._begun.length:
            self._begun.update(data[:missing])
            digest = self._begun.digest()
            self._begun = Blake3()
        elif not self._rest:
            digest = blake3(data[:length])
        elif missing >= 0:
            self._rest += data[:missing]
            digest = blake3(self._rest)
            self._rest.clear()
        else:
            with memoryview(self._rest) as view, view[:length] as piece:
                digest = blake3(piece)
            del self._rest[:length]
        self._lengths.append(length)
        self._digests.append(digest)
        return data[max(missing, 0) :]


def ingest(
    source: Path,
    copy: Path | None,
    disk: Disk,
    progress: Progress = no_progress,
    buffers: Buffers | None = None,
    *,
    threads: bool = True,
    claim: Callable[[int], None] = no_progress,
) -> Ingested:
    """Say what `source` is, and copy it to the new file `copy`, if there is to be one.

    `claim(size)` is called before bytes are copied, and after the blocks are shared where that can
    be: what it raises ends it. Raises `FileChangedError` if it changes meanwhile, `UsageError` for
    what is no regular file, `NoSpaceError`, `RefusedError`.
    """
    with opened(source) as (fd, before), ExitStack() as stack:
        target = None
        if copy is not None:
            target = _Target(disk.create(copy), copy, disk)
            stack.callback(os.close, target.fd)
            target = replace(target, cloned=before.size > 0 and disk.clone(fd, target.fd))
            claim(before.size)
        reader = _Reader(source, before, fd, target, progress, buffers or Buffers(), threads)
        ingested = reader.read()
        if _stamp_now(source) != before or Stamp.of(os.fstat(fd)) != before:
            raise _changed(source)
    return ingested


@dataclass(frozen=True, slots=True)
class _Target:
    """Our copy of a file."""

    fd: int
    path: Path
    disk: Disk
    cloned: bool = False
    """Whether its bytes are there already."""


@dataclass(frozen=True, slots=True)
class _Reader:
    source: Path
    stamp: Stamp
    fd: int
    target: _Target | None
    progress: Progress
    buffers: Buffers
    threads: bool

    @property
    def size(self) -> int:
        return self.stamp.size

    def read(self) -> Ingested:
        whole, hashes = hashlib.sha256(), []
        hashes.append(whole)
        if self.size <= MAX_GIT:
            hashes.append(hashlib.sha1(b"blob %d\0" % self.size, usedforsecurity=False))
        pieces = PieceHasher(self.size)
        with ExitStack() as stack:
            pool = None
            if self.size > BLOCK and self.threads:
                pool = stack.enter_context(ThreadPoolExecutor(1))
            waiting: deque[tuple[memoryview, Future[None]]] = deque()
            offset = 0
            while offset < self.size:
                if len(waiting) == AHEAD:
                    self._finish(waiting.popleft())
                buffer = self.buffers.take()
                most = STEP if pieces.certain and pool is None else BLOCK
                block = buffer[: min(most, self.size - offset)]
                if pool is None:
                    self._read(block, offset, hashes, pieces)
                    self.buffers.give_back(buffer)
                else:
                    self._read(block, offset, hashes, None)
                    waiting.append((buffer, pool.submit(pieces.feed, block)))
                offset += len(block)
            while waiting:
                self._finish(waiting.popleft())
        table, content = self._table(pieces, whole.digest())
        sha1 = hashes[1].digest() if len(hashes) > 1 else None
        return Ingested(content, whole.digest(), sha1, table, self.size, self.stamp)

    def _read(
        self,
        block: memoryview,
        offset: int,
        hashes: Sequence["hashlib._Hash"],
        pieces: PieceHasher | None,
    ) -> None:
        """Read the block at `offset` and hash it; `pieces` is None where another thread plans."""
        for start in range(0, len(block), STEP):
            step = block[start : start + STEP]
            self._fill(step, offset + start)
            for each in hashes:
                each.update(step)
            self.progress(len(step))
        if pieces is not None and self.size > MAX_PIECE:
            pieces.feed(block)

    def _fill(self, step: memoryview, offset: int) -> None:
        """Read the bytes at `offset`, copied unless they are in the copy already."""
        target = self.target
        origin = target.fd if target is not None and target.cloned else self.fd
        if read_into(origin, step, offset, self.source) < len(step):
            raise _changed(self.source)
        if target is not None and not target.cloned:
            target.disk.write(target.fd, step, offset, target.path)

    def _finish(self, waiting: tuple[memoryview, Future[None]]) -> None:
        """Wait until the pieces of a block are hashed."""
        buffer, future = waiting
        future.result()
        self.buffers.give_back(buffer)

    def _table(self, pieces: PieceHasher, sha256: bytes) -> tuple[PieceTable, ContentId]:
        content = ContentId(self.size, sha256)
        if not content.has_table:
            return PieceTable.for_small(content), content
        table = pieces.table()
        return table, table.content_id


@contextmanager
def opened(source: Path) -> Iterator[tuple[int, Stamp]]:
    """The open file and its stamp. Raises `UsageError` for what is no regular file, and what
    `ingest` raises for one that cannot be read.
    """
    fd = _open(source)
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise UsageError(f"{source} is not a plain file", remedy="remove it or copy its bytes")
        if found.st_size > MAX_FILE:
            raise UsageError(f"{source} has more than {MAX_FILE} bytes", remedy="split it")
        yield fd, Stamp.of(found)
    finally:
        os.close(fd)


def _open(source: Path) -> int:
    with disk_errors(source):
        try:
            # Not to wait for whoever might write into a pipe.
            return os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            raise _changed(source) from None


def _stamp_now(source: Path) -> Stamp | None:
    try:
        return Stamp.of(source.stat())
    except OSError:
        return None


def _changed(source: Path) -> FileChangedError:
    return FileChangedError(
        f"{source} changed while it was read", remedy="publish again when nobody writes to it"
    )
