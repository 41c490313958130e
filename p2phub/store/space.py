"""How much may still be written: the quota of node.toml, and what the disk has left.

What is being fetched or ingested is claimed before its first byte is written, so that ten pulls at
once do not each find the same free gigabyte: what claims have not written yet is as good as taken.
A claim ends when its bytes are counted as a blob or are gone. A quota of 0 means none. The full
disk itself is still met at any write (`disk`), because others write to it too; to say so
beforehand saves a person the wait, and leaves the room that removing something needs.
"""

import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from p2phub.errors import NoSpaceError, QuotaError
from p2phub.store.disk import Disk

MARGIN = 16 << 20
"""Bytes of the disk that are left free (5 % where it has little), so that the index can still be
written, if only to remove something."""


BLOCK = 512
"""Bytes of a unit of `st_blocks`."""


@dataclass(frozen=True, slots=True)
class _Claim:
    size: int
    at: Path | None
    """The file that the bytes are written to."""

    def unwritten(self) -> int:
        """Bytes that are still to come."""
        return max(0, self.size - (written_bytes(self.at) if self.at else 0))


def written_bytes(path: Path) -> int:
    """What a file takes on the disk, without its holes; 0 if there is none."""
    try:
        return path.lstat().st_blocks * BLOCK
    except OSError:
        return 0


class Space:
    """The bytes that one store may still take. `used()` is what its blobs take now."""

    def __init__(self, disk: Disk, folder: Path, quota: int, used: Callable[[], int]) -> None:
        self._disk, self._folder, self._quota, self._used = disk, folder, quota, used
        self._claims: dict[Hashable, _Claim] = {}
        self._claimed = 0
        self._lock = threading.Lock()

    def claim(self, name: Hashable, size: int, at: Path | None = None) -> None:
        """Set `size` bytes aside for `name`, to be written to the file `at`.

        Raises `QuotaError` or `NoSpaceError`. Claiming again for the same name counts only what is
        more than before.
        """
        with self._lock:
            before = self._claims.get(name)
            more = size - (before.size if before else 0)
            if before is not None and more <= 0:
                return
            self._check_quota(more)
            self._check_free(_Claim(size, at), before)
            self._add(name, _Claim(size, at))

    def require(self, size: int) -> None:
        """Refuse so many bytes before any of them comes if they could never fit: not even if every
        blob and all that was begun were part of them.

        Raises `QuotaError` or `NoSpaceError`.
        """
        with self._lock:
            if self._quota and size > self._quota:
                raise QuotaError(
                    f"{size} bytes are needed in {self._folder}, and the quota is {self._quota}",
                    remedy="raise [store] quota in node.toml, or leave files out",
                )
            free = self._disk.free_bytes(self._folder)
            most = free + self._used() + self._claimed
            if size > most:
                raise NoSpaceError(
                    f"{self._folder} has {free} bytes to spare, {size} are needed",
                    remedy="free some space, or set [store] path to a larger disk",
                )

    def found(self, name: Hashable, size: int, at: Path | None = None) -> None:
        """Count what lay on the disk when the store was opened, whether it fits or not."""
        with self._lock:
            self._add(name, _Claim(size, at))

    def release(self, name: Hashable) -> None:
        """These bytes are a blob now, or gone."""
        with self._lock:
            claim = self._claims.pop(name, None)
            self._claimed -= claim.size if claim else 0

    @contextmanager
    def claimed(self, size: int) -> Iterator[None]:
        """Set `size` bytes aside for as long as something is done."""
        name = object()
        self.claim(name, size)
        try:
            yield
        finally:
            self.release(name)

    def _add(self, name: Hashable, claim: _Claim) -> None:
        before = self._claims.get(name)
        self._claims[name] = claim
        self._claimed += claim.size - (before.size if before else 0)

    def _check_free(self, claim: _Claim, before: _Claim | None) -> None:
        free = self._disk.free_bytes(self._folder)
        free -= min(MARGIN, free // 20)
        if self._claimed + claim.size <= free:
            return  # the many files of a roomy disk are not all looked at
        needed = claim.unwritten()
        others = (each for each in self._claims.values() if each is not before)
        promised = sum(each.unwritten() for each in others)
        if needed and promised + needed > free:
            raise NoSpaceError(
                f"{self._folder} has {max(0, free - promised)} bytes to spare, {needed} are needed",
                remedy="free some space, or set [store] path to a larger disk",
            )

    def _check_quota(self, size: int) -> None:
        if not self._quota:
            return
        taken = self._used() + self._claimed
        if taken + size > self._quota:
            raise QuotaError(
                f"the quota of {self._quota} bytes is used up: {taken} are taken and {size} more "
                f"are needed in {self._folder}",
                remedy="remove a repo with `p2phub rm`, or raise [store] quota in node.toml",
            )
