"""One at a time on a stick: who writes there is alone, and who reads is not written under.

Two exports that begin at the same moment would write the same pack, and a swap takes things off
that an export has just counted on. The lock is the kernel's (`flock`, on the folder `p2phub`), so
it ends with the process that holds it, however that ends, and leaves nothing on the stick. Where a
file system knows no locks, or another machine writes to the same share, there is none.

>>> with writing(Path("/nowhere")), writing(Path("/nowhere")):
...     print("what is not there is not locked")
what is not there is not locked
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from p2phub.airgap.volume import FOLDER, let_go
from p2phub.errors import BusyError

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Nobody else reads or writes the bundle in `path` inside of the block.

    Raises `BusyError`. A folder that is not there is not locked.
    """
    with _locked(path, fcntl.LOCK_EX):
        yield


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Nobody writes the bundle in `path` inside of the block; others may read. As `writing`."""
    with _locked(path, fcntl.LOCK_SH):
        yield


@contextmanager
def _locked(path: Path, how: int) -> Iterator[None]:
    try:
        fd = os.open(path / FOLDER, _FOLDER)
    except OSError:  # whoever reads or writes there says what is wrong
        yield
        return
    try:
        lock(fd, path, how)
        yield
    finally:
        let_go(fd)


def lock(fd: int, path: Path, how: int = fcntl.LOCK_EX) -> None:
    """Lock what is open, without waiting. `path`: what a person named. Raises `BusyError`."""
    try:
        fcntl.flock(fd, how | fcntl.LOCK_NB)
    except BlockingIOError:
        doing = "writing to" if how == fcntl.LOCK_SH else "using"
        raise BusyError(
            f"another p2phub is {doing} {path} at this moment",
            remedy="wait until it has ended, then run the command again",
        ) from None
    except OSError:  # this file system knows no locks
        return
