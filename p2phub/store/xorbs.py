"""What clients of Xet have sent and no file was made of yet: the xorbs of their uploads.

Each upload has a folder of its own in `temp/`. A xorb in it is scanned once, when it has come; then
files are put together from the chunks that a shard names, as if they had been sent whole
(`uploads`). An upload that nobody used for `IDLE` seconds is dropped, and all are when the store
opens again.
"""

import itertools
import os
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from p2phub.errors import MalformedError, NotFoundError, UsageError
from p2phub.formats.xet import Chunk, Segment, XetFile, chunks_of, unpacked
from p2phub.store.disk import PRIVATE, Disk, read_into
from p2phub.store.layout import Layout
from p2phub.store.space import Space
from p2phub.store.uploads import Kept, Uploads

IDLE: Final = 900.0
"""Seconds after which an upload that nobody goes on with is dropped."""
_NAME: Final = re.compile(r"[0-9a-f]{16,64}")


class Xorb:
    """A xorb on its way here. Made by `Xorbs.begin`."""

    def __init__(self, path: Path, name: str, fd: int, disk: Disk) -> None:
        self.path, self.name, self.fd, self.kept = path, name, fd, False
        self._disk, self._size = disk, 0

    def write(self, data: bytes) -> None:
        """The next bytes."""
        self._disk.write(self.fd, data, self._size, self.path)
        self._size += len(data)

    def scanned(self) -> tuple[Chunk, ...]:
        """Its chunks. Raises `MalformedError`."""
        found, at = [], 0
        while (chunk := chunks_of(os.pread(self.fd, 8, at), at)) is not None:
            at = chunk.start + chunk.stored
            found.append(chunk)
        if at > self._size:
            raise MalformedError("a xorb whose last chunk is cut")
        return tuple(found)


@dataclass(frozen=True, slots=True)
class _Place:
    path: Path
    chunks: tuple[Chunk, ...]


@dataclass(slots=True)
class _Session:
    """The xorbs of one upload."""

    folder: Path
    used: float
    xorbs: dict[str, _Place] = field(default_factory=dict)

    def count(self, xorb: str) -> int:
        """How many chunks a xorb has; 0 for one that did not come."""
        return len(self.xorbs[xorb].chunks) if xorb in self.xorbs else 0


class Xorbs:
    """The uploads of one node. Thread-safe."""

    def __init__(
        self,
        layout: Layout,
        disk: Disk,
        space: Space,
        uploads: Uploads,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._temp, self._disk, self._space, self._uploads = layout.temp, disk, space, uploads
        self._clock, self._lock = clock, threading.Lock()
        self._sessions: dict[str, _Session] = {}
        self._numbers = itertools.count()

    def begin(self, session: str, name: str, size: int) -> "Xorb":
        """A place for a xorb of an upload, of at most `size` bytes. Raises `NoSpaceError`."""
        if _NAME.fullmatch(session) is None or _NAME.fullmatch(name) is None:
            raise UsageError("no name of an upload")
        folder = self._session(session).folder
        self._disk.make_folder(folder)
        path = folder / f"{name}-{next(self._numbers)}"
        self._space.claim(path, size, path)
        try:
            return Xorb(path, name, self._disk.create(path, PRIVATE), self._disk)
        except BaseException:
            self._space.release(path)
            raise

    def keep(self, session: str, xorb: "Xorb") -> bool:
        """Take a xorb that has come; whether it is new. Raises `MalformedError`."""
        chunks, ours = xorb.scanned(), self._session(session)
        with self._lock:
            if xorb.name in ours.xorbs:
                return False
            ours.xorbs[xorb.name] = _Place(xorb.path, chunks)
            xorb.kept = True
        return True

    def end(self, xorb: "Xorb") -> None:
        """Forget a xorb that was not kept."""
        os.close(xorb.fd)
        if not xorb.kept:
            self._disk.remove(xorb.path)
            self._space.release(xorb.path)

    def make(self, session: str, file: XetFile) -> Kept:
        """Put a file together. Raises `NotFoundError` if a xorb did not come, `MalformedError`."""
        ours = self._session(session)
        for segment in file.segments:
            if segment.end > ours.count(segment.xorb):
                raise NotFoundError(
                    f"the xorb {segment.xorb} of this upload is not here", remedy="upload it again"
                )
        size = sum(
            chunk.length
            for segment in file.segments
            for chunk in ours.xorbs[segment.xorb].chunks[segment.first : segment.end]
        )
        with self._uploads.begin(size) as upload:
            for segment in file.segments:
                self._append(ours, segment, upload.write)
            return upload.keep(None)

    def _append(self, ours: _Session, segment: Segment, write: Callable[[bytes], None]) -> None:
        path = ours.xorbs[segment.xorb].path
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            for chunk in ours.xorbs[segment.xorb].chunks[segment.first : segment.end]:
                stored = bytearray(chunk.stored)
                read_into(fd, memoryview(stored), chunk.start, path)
                write(unpacked(chunk, bytes(stored)))
        finally:
            os.close(fd)

    def _session(self, name: str) -> _Session:
        """An upload, which is used now; those that nobody goes on with are dropped."""
        self.sweep()
        now = self._clock()
        with self._lock:
            found = self._sessions.get(name)
            if found is None:
                found = self._sessions[name] = _Session(self._temp / f"xet-{name}", now)
            found.used = now
        return found

    def sweep(self) -> None:
        """Drop the uploads that nobody goes on with."""
        now = self._clock()
        with self._lock:
            for old in [each for each, it in self._sessions.items() if now - it.used > IDLE]:
                self._drop(old)

    def _drop(self, name: str) -> None:
        session = self._sessions.pop(name)
        self._disk.remove_tree(session.folder)
        for place in session.xorbs.values():
            self._space.release(place.path)
