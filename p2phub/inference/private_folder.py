"""A folder for one process alone, which somebody removes whatever becomes of that process.

A worker may be killed at any time, and so may its node. So a folder is locked for as long as the
process lives that made it, and whoever makes the next one removes those that nobody holds.

Rules it keeps: nobody else can read it (0700); a folder has its name only once it is locked, so
that none is removed while it is made; what belongs to another user is left alone.
"""

import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

_PREFIX: Final = "p2phub-model-"
_NEW: Final = "p2phub-new-"


class PrivateFolder:
    """A new folder below the one for temporary files, or below `place`."""

    def __init__(self, place: Path | None = None) -> None:
        place = Path(tempfile.gettempdir()) if place is None else place
        remove_abandoned(place)
        made = Path(tempfile.mkdtemp(prefix=_NEW, dir=place))
        self._lock = os.open(made, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self.path = place / made.name.replace(_NEW, _PREFIX, 1)
        made.rename(self.path)

    def write(self, path: tuple[str, ...], data: bytes) -> None:
        """A new file below it, that only we can read."""
        place = self.path.joinpath(*path)
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(place, flags, 0o600), "wb") as out:
            out.write(data)

    def remove(self) -> None:
        """Remove it with everything in it. What cannot be removed now, the next one removes."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def remove_abandoned(place: Path | None = None) -> None:
    """Remove the folders in `place` whose processes are gone; None: where they are made."""
    place = Path(tempfile.gettempdir()) if place is None else place
    for folder in place.glob(_PREFIX + "*"):
        with suppress(OSError):  # somebody else's, in use, or just removed by another worker
            _remove_if_free(folder)


def _remove_if_free(folder: Path) -> None:
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if os.fstat(lock).st_uid == os.getuid():
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder)
    finally:
        os.close(lock)
