"""Write a bundle: things into packs, each pack whole before its index says so.

What a stick has already is not written again; an export adds packs with new numbers and rewrites
nothing. A pack that has no index (the stick was pulled out) is written over. A pack is written,
read back from the medium and synchronised, and only then gets its index, which is renamed into
place; the list of contents comes last. FAT knows no links and no times finer than two seconds:
neither is used.

>>> ROLL_AT < limits.MAX_PACK
True
"""

from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from p2phub.airgap.folder import NewFolder
from p2phub.airgap.medium import MOST_ROWS, Kind, name_of, take_stock
from p2phub.airgap.onefile import NewArchive, is_one_file
from p2phub.airgap.sealed import NewSealed, Seal
from p2phub.airgap.volume import README, NewVolume
from p2phub.errors import NoSpaceError
from p2phub.formats import limits
from p2phub.formats.bundle import Contents, Row, write_index
from p2phub.store.disk import Disk, Progress, no_progress

ROLL_AT: Final = limits.MAX_PACK - limits.MAX_TABLE
"""Bytes of a pack after which the next one begins: the longest thing still fits into this one."""
WHAT_THIS_IS: Final = """\
This folder holds models or datasets for p2phub, a hub that nobody owns.

    p2phub bundle inspect FOLDER     shows what is on it
    p2phub bundle import FOLDER      brings it in, and checks every byte against its signatures

where FOLDER is the folder that this one, p2phub, lies in. Nothing here runs by itself. Files may be
copied to another disk, all together; none may be renamed. What ends in .age is sealed, and is
opened by the keys of whom it is for; that import finds out by itself.
"""


class _Pack:
    """A pack that is being written."""

    def __init__(self, into: NewVolume, kind: Kind, number: int, progress: Progress) -> None:
        self.kind, self.number = kind, number
        self._progress = progress
        self.rows: dict[bytes, Row] = {}
        self.size = 0
        self._into = into
        self._file = into.create(name_of(kind, number, "pack"))

    @property
    def full(self) -> bool:
        return self.size >= ROLL_AT or len(self.rows) >= limits.MAX_PACK_ROWS

    def put(self, digest: bytes, data: bytes | memoryview) -> None:
        self.rows[digest] = Row(digest, self.size, len(data))
        self._file.append(data, self._progress)
        self.size += len(data)

    def finish(self) -> None:
        """Make it whole and say so. Raises `WrongBytesError` if other bytes are read back."""
        self._file.finish(self._progress)
        index = name_of(self.kind, self.number, "index")
        self._into.write(index, write_index(self.rows.values()))

    def close(self) -> None:
        self._file.close()


class BundleWriter:
    """Adds to the bundle in `path`, or begins one. Used in a `with` block, by one thread at a time.

    With a `seal` everything is sealed, and nothing is reused that was not sealed just so.

    `progress` is told of the bytes of pieces that were read back from the medium; also of none, so
    that it can end the writing. Raises `NoSpaceError` for a full medium, `RefusedError` for one
    that cannot be written.
    """

    def __init__(
        self, path: Path, disk: Disk, progress: Progress = no_progress, seal: Seal | None = None
    ) -> None:
        self._progress = progress
        plain: NewVolume = NewArchive(path, disk) if is_one_file(path) else NewFolder(path, disk)
        self._into = plain if seal is None else NewSealed(plain, seal)
        self._medium = take_stock(self._into.look())
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
            if self._into.one_at_a_time:
                self._finish_all()
            pack = self._open[kind] = self._new(kind)
        pack.put(digest, data)
        self.written += len(data)
        return True

    def finish(self, contents: Contents) -> None:
        """Say what was put there, after all of it is there. Raises `WrongBytesError`."""
        self._finish_all()
        self._into.write(README, WHAT_THIS_IS.encode())
        lists = self._medium.contents
        if contents not in lists.values():
            same = (key for key in lists if replace(lists[key], made=contents.made) == contents)
            number = next(same, self._medium.next_number("contents"))
            self._into.write(name_of("contents", number, "list"), contents.to_bytes())
        self._into.complete()

    def _finish_all(self) -> None:
        for kind in tuple(self._open):
            self._finish(kind)

    def _finish(self, kind: Kind) -> None:
        pack = self._open.pop(kind)
        try:
            pack.finish()
        finally:
            pack.close()
        self._medium.volume.close()
        self._medium.volume = self._into.look()
        self._medium.take(name_of(kind, pack.number, "index"))

    def _new(self, kind: Kind) -> _Pack:
        told = self._progress if kind == "pieces" else lambda count: self._progress(0)
        return _Pack(self._into, kind, self._next(kind), told)

    def _next(self, kind: Kind) -> int:
        number = self._medium.next_number(kind)
        if number > limits.MAX_PACKS or self._medium.rows + limits.MAX_PACK_ROWS > MOST_ROWS:
            raise NoSpaceError(
                f"{self._into.path} has as many packs as a bundle can have",
                remedy="use another medium, or another folder",
            )
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
        self._into.close()
