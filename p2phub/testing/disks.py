"""Disks that fail in one way each, at a place the test chooses.

`FullDisk` and `ReadOnlyDisk` answer as the system does, from the nth change on. `PowerCut` ends
everything before the nth change: what follows never happens, not even cleaning up, and the error is
one that no code of ours may catch. `changes` counts, so that a test can walk through every place.
"""

import errno
import os
import threading
from pathlib import Path

from p2phub.store.disk import Disk, PathText, disk_errors


class CountingDisk(Disk):
    """An honest disk that writes down what was asked of it, and waits for no fsync."""

    def __init__(self) -> None:
        self.changes: list[tuple[str, Path]] = []
        self._lock = threading.Lock()

    def _about_to(self, action: str, path: PathText) -> None:
        with self._lock:
            self.changes.append((action, Path(path)))

    def sync(self, fd: int, path: Path) -> None:
        self._about_to("sync", path)

    def write_out(self, fd: int, offset: int, length: int, path: Path) -> None:
        self._about_to("write_out", path)

    def sync_path(self, path: PathText) -> None:
        self._about_to("sync_path", path)
        os.stat(path)

    def sync_all(self, folder: Path) -> None:
        self._about_to("sync_all", folder)


class FailingDisk(CountingDisk):
    """Change `at` (from 0) and every later one fails with `code`, until `mend` is called; None lets
    all of them pass until `fail` is called."""

    code = errno.EIO

    def __init__(self, at: int | None = None) -> None:
        super().__init__()
        self._at = at

    def fail(self) -> None:
        """From now on."""
        self._at = len(self.changes)

    def mend(self) -> None:
        self._at = None

    def _about_to(self, action: str, path: PathText) -> None:
        super()._about_to(action, path)
        if self._at is not None and len(self.changes) > self._at and self._minds(action):
            with disk_errors(path):
                raise OSError(self.code, os.strerror(self.code))

    def _minds(self, action: str) -> bool:
        return True


class FullDisk(FailingDisk):
    """What makes something larger fails; dropping and renaming still work."""

    code = errno.ENOSPC

    def _minds(self, action: str) -> bool:
        return action in {
            "make_folder",
            "create",
            "open_file",
            "touch",
            "write",
            "link",
            "write_out",
            "sync",
        }


class ReadOnlyDisk(FailingDisk):
    code = errno.EROFS


class PowerCutError(BaseException):
    """The machine is off. Nothing of ours may catch this."""


class PowerCut(CountingDisk):
    """Change `at` (from 0) never happens, nor anything after it."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self._at = at

    def _about_to(self, action: str, path: PathText) -> None:
        super()._about_to(action, path)
        if len(self.changes) > self._at:
            raise PowerCutError(action, path)
