"""Files that a client sends here: written aside as they come, checked whole, then a blob.

A file lies in `temp/` until its last byte is here. Then it is read once, as any file that is
published, and becomes a blob if its SHA-256 and its size are those that were promised. What was not
kept when a process ends is gone.
"""

import itertools
import os
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from p2phub.errors import WrongBytesError
from p2phub.formats.ids import ContentId
from p2phub.store.blobs import Blobs
from p2phub.store.disk import READ_ONLY, Disk
from p2phub.store.ingest import ingest
from p2phub.store.layout import Layout
from p2phub.store.space import Space


@dataclass(frozen=True, slots=True)
class Kept:
    """A file that was sent, and is a blob now."""

    content: ContentId
    sha256: bytes
    git_sha1: bytes | None
    """Of a file of at most 10 MiB."""


class Upload:
    """One file on its way here, of `size` bytes. Used in a `with` block, by one thread at a time.

    Raises `NoSpaceError` or `QuotaError` if there is no room for it.
    """

    def __init__(
        self, size: int, *, layout: Layout, disk: Disk, blobs: Blobs, space: Space, number: int
    ) -> None:
        self._size, self._done = size, 0
        self._disk, self._blobs, self._space = disk, blobs, space
        self._path = layout.temp / f"upload-{os.getpid()}-{number}"
        space.claim(self._path, size, self._path)
        try:
            self._fd = disk.create(self._path, READ_ONLY)
        except BaseException:
            space.release(self._path)
            raise

    def write(self, data: bytes | memoryview) -> None:
        """The next bytes. Raises `WrongBytesError` for more than were promised."""
        self.write_at(data, self._done)

    def write_at(self, data: bytes | memoryview, offset: int) -> None:
        """Bytes of any place in it. Raises `WrongBytesError` for some after the end promised."""
        if offset + len(data) > self._size:
            raise WrongBytesError(f"more than the {self._size} bytes came that were promised")
        self._disk.write(self._fd, data, offset, self._path)
        self._done = max(self._done, offset + len(data))

    def keep(self, sha256: bytes | None) -> Kept:
        """Make a blob of it. Raises `WrongBytesError` if it is not what was promised."""
        if self._done != self._size:
            raise WrongBytesError(f"{self._done} of {self._size} bytes came")
        found = ingest(self._path, None, self._disk)
        if sha256 is not None and found.sha256 != sha256:
            raise WrongBytesError(
                f"what came has the SHA-256 {found.sha256.hex()}, not {sha256.hex()}",
                remedy="send the file again",
            )
        if not self._blobs.has(found.content):
            self._blobs.adopt(self._path, found.content, found.table, found.sha256)
        return Kept(found.content, found.sha256, found.git_sha1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove what was not kept."""
        os.close(self._fd)
        try:
            self._disk.remove(self._path)
        finally:
            self._space.release(self._path)


class Uploads:
    """Begins uploads, and finds what was sent."""

    def __init__(self, layout: Layout, disk: Disk, blobs: Blobs, space: Space) -> None:
        self._layout, self._disk, self._blobs, self._space = layout, disk, blobs, space
        self._numbers = itertools.count()

    def begin(self, size: int) -> Upload:
        """A place for a file of so many bytes. Raises `NoSpaceError`, `QuotaError`."""
        return Upload(
            size,
            layout=self._layout,
            disk=self._disk,
            blobs=self._blobs,
            space=self._space,
            number=next(self._numbers),
        )

    def find(self, sha256: bytes, size: int) -> Kept | None:
        """A file that is here already, as far as it was hashed whole here."""
        for content in self._blobs.by_sha256(sha256):
            if content.size == size and self._blobs.has(content):
                return Kept(content, sha256, None)
        return None
