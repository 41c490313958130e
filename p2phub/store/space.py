"""How much may still be written: the quota of node.toml, and what the disk has left.

What is being fetched or ingested is claimed before its first byte is written, so that ten pulls at
once do not each find the same free gigabyte. A claim ends when its bytes are counted as a blob or
are gone. A quota of 0 means none. The full disk itself is still met at any write (`disk`); to say
so beforehand only saves a person the wait.
"""

import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path

from p2phub.errors import NoSpaceError, QuotaError
from p2phub.store.disk import Disk

MARGIN = 16 << 20
"""Bytes of the disk that are left free (5 % where it has little), so that the index can still be
written, if only to remove something."""


class Space:
    """The bytes that one store may still take. `used()` is what its blobs take now."""

    def __init__(self, disk: Disk, folder: Path, quota: int, used: Callable[[], int]) -> None:
        self._disk, self._folder, self._quota, self._used = disk, folder, quota, used
        self._claims: dict[Hashable, int] = {}
        self._lock = threading.Lock()

    def claim(self, name: Hashable, size: int, *, present: int = 0) -> None:
        """Set `size` bytes aside for `name`, of which `present` are on the disk already.

        Raises `QuotaError` or `NoSpaceError`. Claiming again for the same name changes nothing.
        """
        with self._lock:
            if name in self._claims:
                return
            self._check_quota(size)
            free = self._disk.free_bytes(self._folder)
            free -= min(MARGIN, free // 20)
            if size - present > free:
                raise NoSpaceError(
                    f"{self._folder} has {free} bytes to spare, {size - present} are needed",
                    remedy="free some space, or set [store] path to a larger disk",
                )
            self._claims[name] = size

    def found(self, name: Hashable, size: int) -> None:
        """Count what lay on the disk when the store was opened, whether it fits or not."""
        with self._lock:
            self._claims[name] = size

    def release(self, name: Hashable) -> None:
        """These bytes are a blob now, or gone."""
        with self._lock:
            self._claims.pop(name, None)

    @contextmanager
    def claimed(self, size: int) -> Iterator[None]:
        """Set `size` bytes aside for as long as something is done."""
        name = object()
        self.claim(name, size)
        try:
            yield
        finally:
            self.release(name)

    def _check_quota(self, size: int) -> None:
        if not self._quota:
            return
        taken = self._used() + sum(self._claims.values())
        if taken + size > self._quota:
            raise QuotaError(
                f"the quota of {self._quota} bytes is used up: {taken} are taken and {size} more "
                f"are needed in {self._folder}",
                remedy="remove a repo with `p2phub rm`, or raise [store] quota in node.toml",
            )
