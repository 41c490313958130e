"""Reading a person's file once: what we keep is what we hashed.

The file is cloned where the file system can share blocks, else copied; the bytes that are hashed
are those of our copy, as they pass. Without a copy (`target=None`) they are those of the file
itself. Every block is read, planned, hashed in pieces and hashed for the whole while it is in the
core's cache. Of a large file SHA-256, which takes as long as all the rest, runs in a thread of its
own (`pipeline`); where other files keep the cores busy, one thread does it all, which costs less.

The file is never mapped: one that is cut short meanwhile would end the process.

Rules it keeps:
 * one pass over the source; memory does not grow with the file (but for the header of a weights
   file, while the planner wants it whole);
 * a source whose stamp or path means something else afterwards is a `FileChangedError` by name;
 * regular files only; links are followed, because the caller decided on them.

What becomes of the copy is left to `blobs`.
"""

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from p2phub.errors import FileChangedError, UsageError
from p2phub.formats.ids import ContentId
from p2phub.formats.limits import MAX_FILE, MAX_PIECE
from p2phub.formats.pieces import PieceTable
from p2phub.store.disk import Disk, Progress, disk_errors, no_progress, read_into
from p2phub.store.piece_hasher import NOTHING, PieceHasher
from p2phub.store.pipeline import Buffers, Pipeline
from p2phub.store.stamp import Stamp

TWO_THREADS_FROM = 8 << 20
"""Bytes of a file for which a second thread is worth its start."""
WRITTEN = 1 << 20
"""Bytes of one write: for larger ones ext4 wants pages so large that they have to be made first."""
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
        whole = _WholeDigests(self.size)
        beside = self.threads and self.size > TWO_THREADS_FROM
        with Pipeline(whole.update, self.buffers, beside=beside) as pipeline:
            table = self._read(pipeline)
        sha256, git_sha1 = whole.found
        if table is not None:
            return Ingested(table.content_id, sha256, git_sha1, table, self.size, self.stamp)
        content = ContentId(self.size, sha256)
        table = PieceTable.for_small(content)
        return Ingested(content, sha256, git_sha1, table, self.size, self.stamp)

    def _read(self, pipeline: Pipeline) -> PieceTable | None:
        """Pass the whole file on; its table, if it has one of its own."""
        pieces = PieceHasher(self.size) if self.size > MAX_PIECE else None
        rest, offset = NOTHING, 0
        while offset < self.size:
            buffer = pipeline.take()
            start, block = MAX_PIECE - len(rest), buffer[MAX_PIECE:][: self.size - offset]
            if rest:
                buffer[start:MAX_PIECE] = rest
            self._fill(block, offset)
            pipeline.pass_on(buffer, block)
            if pieces is not None:
                rest = pieces.feed(buffer[start : MAX_PIECE + len(block)])
            offset += len(block)
            self.progress(len(block))
        return pieces.table(rest) if pieces is not None else None

    def _fill(self, block: memoryview, offset: int) -> None:
        """Read the bytes at `offset`, copied unless they are in the copy already."""
        target = self.target
        origin = target.fd if target is not None and target.cloned else self.fd
        if read_into(origin, block, offset, self.source) < len(block):
            raise _changed(self.source)
        if target is not None and not target.cloned:
            for at in range(0, len(block), WRITTEN):
                part = block[at : at + WRITTEN]
                target.disk.write(target.fd, part, offset + at, target.path)


class _WholeDigests:
    """SHA-256 of a file, and git's blob SHA-1 of a small one, block after block."""

    def __init__(self, size: int) -> None:
        self._sha256 = hashlib.sha256()
        self._git = None
        if size <= MAX_GIT:
            self._git = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)

    def update(self, block: memoryview) -> None:
        self._sha256.update(block)
        if self._git is not None:
            self._git.update(block)

    @property
    def found(self) -> tuple[bytes, bytes | None]:
        return self._sha256.digest(), self._git.digest() if self._git is not None else None


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
