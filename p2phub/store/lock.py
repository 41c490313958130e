"""One process per store.

The lock is the kernel's (`flock`), so it ends with the process that holds it, however that ends;
the number in the file only tells people whom they met. Whoever finds the store taken is told the
process and, if one runs there, the URL of its gateway, which can do what they wanted.
"""

import contextlib
import fcntl
import os
from typing import Self

from p2phub.errors import NoSpaceError, StoreLockedError
from p2phub.store.disk import Disk, disk_errors
from p2phub.store.layout import Layout


class StoreLock:
    """The right to change this store; held until `release`."""

    def __init__(self, fd: int) -> None:
        self._fd: int | None = fd

    @classmethod
    def acquire(cls, layout: Layout, disk: Disk) -> Self:
        """Take the lock now or raise `StoreLockedError`; never waits."""
        fd = disk.open_file(layout.lock)
        with contextlib.ExitStack() as undo:
            undo.callback(os.close, fd)
            _lock(fd, layout)
            # The number is for people: a full disk must not keep anyone from emptying it.
            with contextlib.suppress(NoSpaceError):
                disk.resize(fd, 0, layout.lock)
                disk.write(fd, str(os.getpid()).encode(), 0, layout.lock)
            undo.pop_all()
        return cls(fd)

    def release(self) -> None:
        """Let others in. The file stays: removing it would let two processes hold two locks."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def _lock(fd: int, layout: Layout) -> None:
    with disk_errors(layout.lock):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _locked(fd, layout) from None


def _locked(fd: int, layout: Layout) -> StoreLockedError:
    holder = os.pread(fd, 20, 0).decode("ascii", "replace").strip()
    process = f"process {holder}" if holder else "another process"
    url = ""
    with contextlib.suppress(OSError):
        url = layout.gateway.read_text(encoding="utf-8", errors="replace").strip()
    if url:
        return StoreLockedError(
            f"the store {layout.store} is in use by {process}, whose gateway is {url}",
            remedy=f"talk to that node at {url}, or stop it first",
        )
    return StoreLockedError(
        f"the store {layout.store} is in use by {process}",
        remedy="wait until it ends, or stop it first",
    )
