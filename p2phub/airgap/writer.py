"""Write a bundle: things into packs, each pack whole before its index says so.

What a stick has already is not written again; an export adds packs with new numbers and rewrites
nothing. A pack that has no index (the stick was pulled out) is written over. A pack is written and
synchronised, read back from the medium, and only then gets its index, which is renamed into place;
the list of contents comes last. FAT knows no links and no times finer than two seconds: neither is
used.

>>> ROLL_AT < limits.MAX_PACK
True
"""

import hashlib
import os
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from p2phub.airgap.medium import FOLDER, Kind, look, name_of
from p2phub.errors import NotFoundError, WrongBytesError
from p2phub.formats import limits
from p2phub.formats.bundle import Contents, Row, write_index
from p2phub.store.disk import Disk, Progress, disk_errors, no_progress

ROLL_AT: Final = limits.MAX_PACK - limits.MAX_TABLE
"""Bytes of a pack after which the next one begins: the longest thing still fits into this one."""
_BLOCK: Final = 1 << 20
README: Final = """\
This folder holds models or datasets for p2phub, a hub that nobody owns.

    p2phub bundle inspect FOLDER     shows what is on it
    p2phub bundle import FOLDER      brings it in, and checks every byte against its signatures

where FOLDER is the folder that this one, p2phub, lies in. Nothing here runs by itself. Files may be
copied to another disk, all together; none may be renamed.
"""


class _Pack:
    """A pack that is being written."""

    def __init__(self, folder: Path, kind: Kind, number: int, disk: Disk) -> None:
        self.kind, self.number = kind, number
        self.path = folder / name_of(kind, number, "pack")
        self.rows: dict[bytes, Row] = {}
        self.size = 0
        self._disk, self._folder = disk, folder
        self._sha256 = hashlib.sha256()
        self._waiting = bytearray()
        disk.remove(self.path)
        self._fd = disk.create(self.path, 0o644)

    @property
    def full(self) -> bool:
        return self.size >= ROLL_AT or len(self.rows) >= limits.MAX_PACK_ROWS

    def put(self, digest: bytes, data: bytes | memoryview) -> None:
        self.rows[digest] = Row(digest, self.size, len(data))
        self._sha256.update(data)
        self._waiting += data
        self.size += len(data)
        if len(self._waiting) >= _BLOCK:
            self._flush()

    def _flush(self) -> None:
        at = self.size - len(self._waiting)
        self._disk.write(self._fd, bytes(self._waiting), at, self.path)
        self._waiting = bytearray()

    def finish(self, progress: Progress) -> None:
        """Make it whole and say so. Raises `WrongBytesError` if other bytes are read back."""
        self._flush()
        self._disk.sync(self._fd, self.path)
        self._read_back(progress)
        index = self._folder / name_of(self.kind, self.number, "index")
        write_file(self._disk, index, write_index(self.rows.values()))

    def _read_back(self, progress: Progress) -> None:
        """From the medium: what the page cache has of it is thrown away."""
        os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_DONTNEED)
        found, at = hashlib.sha256(), 0
        while at < self.size:
            with disk_errors(self.path):
                data = os.pread(self._fd, _BLOCK, at)
            if not data:
                break
            found.update(data)
            at += len(data)
            progress(len(data))
        if found.digest() != self._sha256.digest():
            raise WrongBytesError(
                f"{self.path} does not hold what was written to it",
                remedy="the medium is broken: use another one",
            )

    def close(self) -> None:
        os.close(self._fd)


class BundleWriter:
    """Adds to the bundle in `path`, or begins one. Used in a `with` block, by one thread at a time.

    Raises `NoSpaceError` for a full medium, `RefusedError` for one that cannot be written.
    """

    def __init__(self, path: Path, disk: Disk, progress: Progress = no_progress) -> None:
        self._disk, self._progress = disk, progress
        self._folder = path / FOLDER
        disk.make_folder(self._folder)
        self._medium = look(path)
        self._open: dict[Kind, _Pack] = {}
        self.written = 0
        """Bytes that were not on the medium before."""

    def has(self, kind: Kind, digest: bytes) -> bool:
        """Whether it is on the medium already, or on its way there."""
        pack = self._open.get(kind)
        return (pack is not None and digest in pack.rows) or self._medium.has(kind, digest)

    def put(self, kind: Kind, digest: bytes, data: bytes | memoryview) -> bool:
        """Add something under the digest that it is asked for by; whether it is new."""
        if not len(data) or self.has(kind, digest):
            return False
        pack = self._open.get(kind)
        if pack is not None and pack.full:
            self._finish(kind)
            pack = None
        if pack is None:
            pack = self._open[kind] = _Pack(self._folder, kind, self._next(kind), self._disk)
        pack.put(digest, data)
        self.written += len(data)
        return True

    def finish(self, contents: Contents) -> None:
        """Say what was put there, after all of it is there. Raises `WrongBytesError`."""
        for kind in tuple(self._open):
            self._finish(kind)
        write_file(self._disk, self._folder / "README.txt", README.encode())
        if contents not in self._medium.contents.values():
            number = max(self._medium.contents, default=0) + 1
            name = name_of("contents", number, "list")
            write_file(self._disk, self._folder / name, contents.to_bytes())

    def _finish(self, kind: Kind) -> None:
        pack = self._open.pop(kind)
        try:
            pack.finish(self._progress)
        finally:
            pack.close()
        self._medium.close()
        self._medium = look(self._folder.parent)

    def _next(self, kind: Kind) -> int:
        number = max(self._medium.packs[kind], default=0) + 1
        if number > limits.MAX_PACKS:
            raise NotFoundError(f"{self._folder} has no room for another pack")
        return number

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """What was not finished has no index, and counts for nothing."""
        for pack in self._open.values():
            pack.close()
        self._medium.close()


def write_file(disk: Disk, path: Path, data: bytes) -> None:
    """A small file, whole or not at all."""
    made = path.with_name(path.name + ".new")
    disk.remove(made)
    fd = disk.create(made, 0o644)
    try:
        disk.write(fd, data, 0, made)
        disk.sync(fd, made)
    finally:
        os.close(fd)
    disk.rename(made, path)
    disk.sync_path(path.parent)
