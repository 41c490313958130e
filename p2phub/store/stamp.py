"""By what a file is known again without reading it: (device, inode, size, mtime, ctime).

Root ignores 0444, editors rename over files, disks are restored from backups. Whatever happens to
a blob behind our back changes one of these, and a changed stamp means that it is read and hashed
again before it is used (`blobs.open_verified`). ctime cannot be set by a program, so writing bytes
and setting the old mtime does not help either.

>>> stamp = Stamp(device=2**64 - 1, inode=7, size=5, mtime_ns=1, ctime_ns=2)
>>> stamp.row, Stamp.from_row(*stamp.row) == stamp
((-1, 7, 1, 2), False)
>>> Stamp.from_row(*stamp.row, size=5) == stamp
True
"""

import os
from dataclasses import dataclass
from typing import Self

from p2phub.store.disk import PathText, disk_errors


@dataclass(frozen=True, slots=True)
class Stamp:
    """What fstat said of a file when its bytes were known to be right."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, found: os.stat_result) -> Self:
        return cls(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)

    @classmethod
    def from_row(cls, device: int, inode: int, mtime_ns: int, ctime_ns: int, size: int = 0) -> Self:
        return cls(_unsigned(device), _unsigned(inode), size, mtime_ns, ctime_ns)

    def is_file_of(self, other: "Stamp") -> bool:
        """Whether both are of one file, though it may have changed."""
        return (self.device, self.inode) == (other.device, other.inode)

    def is_renamed(self, other: "Stamp") -> bool:
        """Whether only a new name or mode lies between the two."""
        return self.is_file_of(other) and (self.size, self.mtime_ns) == (other.size, other.mtime_ns)

    @property
    def row(self) -> tuple[int, int, int, int]:
        """Everything but the size, as SQLite keeps it: its integers have a sign."""
        return _signed(self.device), _signed(self.inode), self.mtime_ns, self.ctime_ns


def stamp_now(path: PathText) -> Stamp | None:
    """Of what lies at `path`, be it a link; None if nothing does."""
    with disk_errors(path):
        try:
            return Stamp.of(os.lstat(path))
        except FileNotFoundError:
            return None


def _signed(number: int) -> int:
    return number - (1 << 64) if number >= 1 << 63 else number


def _unsigned(number: int) -> int:
    return number + (1 << 64) if number < 0 else number
