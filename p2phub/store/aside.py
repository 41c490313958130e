"""Where something is made until it gets its name, in a folder that other programs use too.

A folder of ours, which no other program looks into, is held (flock) for as long as somebody works
in it. So what a killed process has left is known by its name and by nobody holding it, in whatever
process or container it was, and the next one to work there removes it.

`file_lock` is for the lock files of other programs. It is a courtesy: where it cannot be had soon,
work goes on without it, and nothing may depend on it.
"""

import contextlib
import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from p2phub.errors import P2PHubError, RefusedError
from p2phub.store.disk import Disk, disk_errors

PATIENCE = 1.0
"""Seconds to wait for another program."""
_LOOK = 0.05
"""Seconds between two looks at a lock."""
_PREFIX = ".p2phub-"
_TRIES = 100
_LOCK_MODE = 0o664
"""Less what the umask takes away."""


@contextmanager
def aside_in(place: Path, disk: Disk) -> Iterator[Path]:
    """A folder in `place`, which is removed with all that is left in it when the block ends."""
    _sweep(place, disk)
    for _ in range(_TRIES):
        folder = place / f"{_PREFIX}{secrets.token_hex(8)}"
        disk.make_folder(folder)
        fd = _opened(folder)
        if fd is None:
            continue  # swept before it was opened
        try:
            if _hold(fd) is False or not folder.exists():
                continue  # swept before it was held
            try:
                yield folder
            finally:
                with contextlib.suppress(P2PHubError):
                    disk.remove_tree(folder)
            return
        finally:
            os.close(fd)
    raise RefusedError(
        f"somebody keeps removing what is written in {place}",
        remedy="run the command again when no other program cleans this folder",
    )


@contextmanager
def file_lock(path: Path, disk: Disk) -> Iterator[None]:
    """Hold a lock file, which is made if there is none and stays, if it is to be had soon."""
    fd = _opened_lock(path, disk)
    if fd is None:
        yield
        return
    try:
        until = time.monotonic() + PATIENCE
        while _hold(fd) is False and time.monotonic() < until:
            time.sleep(_LOOK)
        yield
    finally:
        os.close(fd)


def _sweep(place: Path, disk: Disk) -> None:
    """Remove what killed processes have left aside: nobody holds it."""
    with disk_errors(place):
        left = [place / name for name in os.listdir(place) if name.startswith(_PREFIX)]
    for folder in left:
        fd = _opened(folder)
        if fd is None:
            continue
        try:
            if _hold(fd):
                with contextlib.suppress(P2PHubError):
                    disk.remove_tree(folder)
        finally:
            os.close(fd)


def _opened(folder: Path) -> int | None:
    """None if it is no folder, or gone, or not ours to read."""
    try:
        return os.open(folder, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_DIRECTORY)
    except OSError:
        return None


def _opened_lock(path: Path, disk: Disk) -> int | None:
    """None for one of somebody else that we may not write: then nobody is waited for."""
    disk.make_folder(path.parent)
    try:
        if not os.path.lexists(path):
            return disk.create(path, _LOCK_MODE)
    except P2PHubError:
        if not os.path.lexists(path):
            raise
    try:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None


def _hold(fd: int) -> bool | None:
    """Hold what is open until it is closed; False if somebody else does, None if the disk cannot
    tell.
    """
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True
