"""A bundle as a plain folder on a stick or a disk, FAT included.

Rules it keeps:
 * only plain files in that folder are opened: no link is followed, no device or pipe is read;
 * a file is read back from the medium before it counts, as `written` does that;
 * a small file is written beside its name and renamed into place.

>>> open_folder(Path("/nowhere"))
Traceback (most recent call last):
...
p2phub.errors.NotFoundError: there is no bundle in /nowhere: No such file or directory
"""

import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from p2phub.airgap.volume import FOLDER, NewFile, StoredFile, Volume, gone, let_go
from p2phub.airgap.written import Written
from p2phub.errors import NoSourceError, NotFoundError
from p2phub.store.disk import Disk, Progress, no_progress

_PLAIN: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class OpenFile:
    """A plain file that is open, or a stretch of one. `fd` is closed with it."""

    def __init__(self, path: Path, fd: int, size: int, start: int = 0) -> None:
        self.size = size
        self._path, self._fd, self._start = path, fd, start

    def pread(self, length: int, offset: int) -> bytes:
        """See `StoredFile.pread`."""
        try:
            return os.pread(self._fd, max(0, min(length, self.size - offset)), self._start + offset)
        except OSError as error:
            raise gone(self._path, error) from None

    def is_there(self) -> bool:
        """See `StoredFile.is_there`."""
        try:
            os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_DONTNEED)
            return bool(os.pread(self._fd, 1, self._start))
        except OSError:
            return False

    def close(self) -> None:
        let_go(self._fd)


class Folder:
    """The folder `p2phub` of a stick, open for reading. Made by `open_folder`."""

    def __init__(self, path: Path, folder: int) -> None:
        self.path = path
        self._folder = folder
        self._closing = threading.Lock()

    def names(self) -> Iterator[str]:
        """See `Volume.names`."""
        try:
            with os.scandir(self._folder) as entries:
                for entry in entries:
                    yield entry.name
        except OSError as error:
            raise gone(self.path, error) from None

    def open(self, name: str) -> StoredFile:
        """See `Volume.open`."""
        try:
            with self._closing:
                fd = os.open(name, _PLAIN, dir_fd=self._folder)
        except OSError as error:
            raise gone(self.path, error) from None
        try:
            found = os.fstat(fd)
        except OSError as error:
            let_go(fd)
            raise gone(self.path, error) from None
        if not stat.S_ISREG(found.st_mode):
            let_go(fd)
            raise NoSourceError(f"{self.path}: {name} is no plain file")
        return OpenFile(self.path, fd, found.st_size)

    def close(self) -> None:
        """See `Volume.close`."""
        with self._closing:
            folder, self._folder = self._folder, -1
        if folder >= 0:
            let_go(folder)


def open_folder(path: Path) -> Volume:
    """The bundle in a folder. Raises `NotFoundError` if there is none."""
    try:
        return Folder(path, os.open(path / FOLDER, _FOLDER))
    except OSError as error:
        raise NotFoundError(
            f"there is no bundle in {path}: {error.strerror}",
            remedy="name the folder in which `p2phub bundle export` was told to write",
        ) from None


class NewFolder:
    """A folder that gets files of a bundle, or has some already."""

    one_at_a_time = False

    def __init__(self, path: Path, disk: Disk) -> None:
        self.path = path
        self._disk, self._folder = disk, path / FOLDER
        disk.make_folder(self._folder)

    def look(self) -> Volume:
        """See `NewVolume.look`."""
        return open_folder(self.path)

    def create(self, name: str) -> NewFile:
        """See `NewVolume.create`."""
        return _NewFile(self._folder / name, self._disk)

    def write(self, name: str, data: bytes) -> None:
        """See `NewVolume.write`."""
        write_file(self._disk, self._folder / name, data)

    def complete(self) -> None:
        """See `NewVolume.complete`: each file was, when it got its name."""

    def close(self) -> None:
        """See `NewVolume.close`: nothing is open."""


class _NewFile:
    def __init__(self, path: Path, disk: Disk) -> None:
        self._path, self._disk = path, disk
        disk.remove(path)
        self._data = Written(path, disk, disk.create(path, 0o644))

    def append(self, data: bytes | memoryview, progress: Progress = no_progress) -> None:
        self._data.append(data, progress)

    def finish(self, progress: Progress) -> None:
        self._data.finish(progress)

    def close(self) -> None:
        self._data.close()


def write_file(disk: Disk, path: Path, data: bytes) -> None:
    """A small file, whole or not at all."""
    made = path.with_name(path.name + ".new")
    disk.remove(made)
    fd = disk.create(made, 0o644)
    try:
        disk.write(fd, data, 0, made)
        disk.sync(fd, made)
    finally:
        let_go(fd)
    disk.rename(made, path)
    disk.sync_path(path.parent)
