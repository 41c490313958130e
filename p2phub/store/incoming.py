"""Files of which the whole is known by a digest, and nothing else: as an upstream hub names them.

What came lies in `upstream/`, with a byte for each step of `MAX_PIECE` that is there, over restarts
too: who fetches the rest finds it. Nothing of it is used or given to anybody before the whole was
hashed and is what was named; then it becomes a blob, or, if it is `private`, stays aside where
nothing but its reader finds it, until it is dropped or the store opens again.

The names of other hubs are SHA-256 and git's blob SHA-1:
https://git-scm.com/book/en/v2/Git-Internals-Git-Objects.

>>> WholeDigest(bytes(20), 5).is_sha256
False
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from p2phub.errors import WrongBytesError
from p2phub.formats.pieces import Run
from p2phub.store.blobs import Blobs
from p2phub.store.disk import PRIVATE as PRIVATE_MODE
from p2phub.store.disk import READ_ONLY, Disk
from p2phub.store.ingest import Ingested, ingest
from p2phub.store.layout import Layout
from p2phub.store.space import Space, written_bytes
from p2phub.store.whole_files import steps_of

PRIVATE: Final = "private-"
"""What the name of a file begins with that nobody else may find."""
MARKS: Final = ".steps"
RUN: Final = 32
"""Steps that are fetched by one request."""


@dataclass(frozen=True, slots=True)
class WholeDigest:
    """What a whole file must be: its SHA-256 or its git blob SHA-1, and its size in bytes."""

    digest: bytes
    size: int

    @property
    def is_sha256(self) -> bool:
        return len(self.digest) == 32

    def fits(self, found: Ingested) -> bool:
        """Whether a file is this one."""
        digest = found.sha256 if self.is_sha256 else found.git_sha1
        return (digest, found.content.size) == (self.digest, self.size)

    def __str__(self) -> str:
        return f"{self.digest.hex()}-{self.size}"


class IncomingFile:
    """One file on its way here. Thread-safe. Made by `Incoming.begin`."""

    def __init__(self, wanted: WholeDigest, path: Path, disk: Disk, blobs: Blobs) -> None:
        self.wanted, self.path = wanted, path
        self.steps = steps_of(wanted.size)
        """A table of the same size, for who fetches."""
        self._disk, self._blobs = disk, blobs
        self._marks = path.with_name(path.name + MARKS)
        if os.path.lexists(path):  # it was checked, and its process ended before it was a blob
            disk.set_mode(path, PRIVATE_MODE)
        self._fd = disk.open_file(path)
        self._marks_fd = disk.open_file(self._marks)
        self.resumed = bool(self.here())
        """Whether some of it came before."""

    def here(self) -> int:
        """How many bytes of it have come."""
        return sum(self.steps.length(index) for index in self._marked())

    def missing(self) -> Iterator[Run]:
        """The steps that have not come, at most `RUN` of them together."""
        marked, first, count = self._marked(), 0, 0
        for index in range(self.steps.count + 1):
            ends = index == self.steps.count or index in marked
            if count and (ends or count == RUN):
                yield Run(first, count)
                count = 0
            if not ends:
                first, count = (index, 1) if not count else (first, count + 1)

    def accept(self, index: int, piece: memoryview) -> None:
        """Write a step as it comes. Raises `NoSpaceError`."""
        self._disk.write(self._fd, piece, self.steps.offset(index), self.path)
        self._disk.write(self._marks_fd, b"\1", index, self._marks)

    def checked(self) -> Ingested:
        """What came, read from end to end. Raises `WrongBytesError` if it is not what was named;
        then nothing of it is there any more.
        """
        found = ingest(self.path, None, self._disk)
        if not self.wanted.fits(found):
            self.forget()
            raise WrongBytesError(
                f"what came is not the file {self.wanted.digest.hex()[:16]}…, of"
                f" {self.wanted.size} bytes"
            )
        return found

    def keep(self) -> Ingested:
        """Make a blob of it. Raises as `checked`."""
        self._disk.set_mode(self.path, READ_ONLY)
        found = self.checked()
        if not self._blobs.has(found.content):
            self._blobs.adopt(self.path, found.content, found.table, found.sha256)
        self.drop()
        return found

    def forget(self) -> None:
        """Begin again: nothing of it has come."""
        self._disk.set_mode(self.path, PRIVATE_MODE)
        self._disk.resize(self._marks_fd, 0, self._marks)
        self._disk.resize(self._fd, 0, self.path)

    def open(self) -> int:
        """It, open for reading."""
        return os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)

    def close(self) -> None:
        """Let go of it; what came stays."""
        os.close(self._fd)
        os.close(self._marks_fd)

    def drop(self) -> None:
        """Remove it."""
        for path in (self.path, self._marks):
            self._disk.remove(path)

    def _marked(self) -> set[int]:
        marks = os.pread(self._marks_fd, self.steps.count, 0)
        return {index for index, mark in enumerate(marks) if mark}


class Incoming:
    """Begins and ends such files."""

    def __init__(self, layout: Layout, disk: Disk, blobs: Blobs, space: Space) -> None:
        self._layout, self._disk, self._blobs, self._space = layout, disk, blobs, space

    def begin(self, wanted: WholeDigest, *, private: bool = False) -> IncomingFile:
        """A place for a file, or what came of it before. Raises `NoSpaceError`, `QuotaError`."""
        path = self._layout.upstream / f"{PRIVATE if private else ''}{wanted}"
        self._space.claim(path, wanted.size, path)
        try:
            return IncomingFile(wanted, path, self._disk, self._blobs)
        except BaseException:
            self._space.release(path)
            raise

    def end(self, file: IncomingFile, *, drop: bool = False) -> None:
        """Let go of a file; what came of it stays unless it is dropped."""
        try:
            file.close()
            if drop:
                file.drop()
        finally:
            self._space.release(file.path)
            self._count(file.path)

    def recover(self) -> None:
        """Count what came before this process began; what is private goes."""
        for path in self._layout.upstream.iterdir():
            if path.name.startswith(PRIVATE):
                self._disk.remove(path)
            elif not path.name.endswith(MARKS):
                self._count(path)

    def drop_unused(self, before: float) -> int:
        """Remove what nobody wrote to since `before`, in unix seconds: how many bytes."""
        gone = 0
        for path in self._layout.upstream.iterdir():
            if path.lstat().st_mtime < before:
                gone += written_bytes(path)
                self._disk.remove(path)
                self._space.release(path)
        return gone

    def _count(self, path: Path) -> None:
        if size := written_bytes(path):
            self._space.found(path, size, path)
