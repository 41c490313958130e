"""Blobs of ours in a folder of images, beside what other programs have there.

Where the file system can share blocks a blob is a clone; elsewhere it is a copy whose pieces are
checked, or, where the caller allows it, a symbolic link to our blob, as in a cache of Hugging
Face's tools. Nothing is written through a link that somebody has planted.

Rules it keeps:
 * a blob gets its name, its SHA-256, only when all of its bytes were hashed here;
 * everything is made aside and renamed: blobs first, what names them last, so what is cut short
   claims nothing;
 * a blob that is there and right is left alone.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from p2phub.errors import RefusedError, WrongBytesError
from p2phub.formats.manifest import FileEntry
from p2phub.formats.paths import FilePath
from p2phub.store.aside import aside_in
from p2phub.store.blobs import Blobs
from p2phub.store.digests import digests_of
from p2phub.store.disk import Disk, disk_errors, is_folder
from p2phub.store.export import copy_to

_WRITABLE = 0o666
"""Less what the umask takes away."""
_PLAIN = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class ImageFolder:
    """A folder of images that is being added to. Made by `image_folder`."""

    def __init__(self, folder: Path, aside: Path, blobs: Blobs, disk: Disk) -> None:
        self._folder, self._aside, self._blobs, self._disk = folder, aside, blobs, disk

    @property
    def is_own(self) -> bool:
        """Whether it is a folder of who runs this: a service of another user can't follow links
        into our store.
        """
        return os.lstat(self._folder).st_uid == os.geteuid()

    def put_file(self, path: FilePath, file: FileEntry, *, links: bool) -> None:
        """Let `path` be that file of ours, or with `links` lead to it where blocks can't be shared.

        Raises `WrongBytesError` for a file that is not what its signer called it,
        `DamagedBlobError`, `NoSpaceError`, `RefusedError`.
        """
        if self._blobs.hash_whole(file.content) != file.sha256:
            raise WrongBytesError(
                f"{'/'.join(file.path)} does not have the SHA-256 that its release says",
                remedy="pull it into a plain folder, and tell its publisher",
            )
        target = self._way_to(path)
        if self._is_right(target, file):
            return
        made = self._aside / target.name
        if links and not self._can_clone(file):
            self._disk.link(os.path.abspath(self._blobs.path(file.content)), made)
        else:
            copy_to(self._blobs, self._disk, file.content, made)
        self._disk.rename(made, target)

    def put_bytes(self, path: FilePath, data: bytes) -> None:
        """A small file, in place of what is there."""
        target, made = self._way_to(path), self._aside / "made"
        fd = self._disk.create(made, _WRITABLE)
        try:
            self._disk.write(fd, data, 0, made)
            self._disk.sync(fd, made)
        finally:
            os.close(fd)
        self._disk.rename(made, target)
        self._disk.sync_path(target.parent)

    def read(self, path: FilePath, most: int) -> bytes | None:
        """A small file that is there; None if there is none. Raises `RefusedError`."""
        target = self._way_to(path)
        if not os.path.lexists(target):
            return None
        with disk_errors(target):
            fd = os.open(target, _PLAIN)
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode) or found.st_size > most:
                raise RefusedError(f"{target} is no plain file of the size that it can have")
            return os.read(fd, most)
        finally:
            os.close(fd)

    def _way_to(self, path: FilePath) -> Path:
        """Where `path` is; the folders above it are made, and none of them is a link."""
        folder = self._folder
        for part in path[:-1]:
            folder = folder / part
            if os.path.lexists(folder) and not is_folder(folder):
                raise RefusedError(
                    f"{folder} is no folder, and nothing is written through it",
                    remedy="remove it, or name another folder",
                )
            self._disk.make_folder(folder)
        return folder / path[-1]

    def _can_clone(self, file: FileEntry) -> bool:
        """Whether this folder can share the blocks of our blob."""
        if not file.size or self._blobs.place(file.content) is not None:
            return False
        probe = self._aside / "probe"
        source = self._blobs.open_verified(file.content)
        try:
            copy = self._disk.create(probe, _WRITABLE)
            try:
                return self._disk.clone(source, copy)
            finally:
                os.close(copy)
                self._disk.remove(probe)
        finally:
            os.close(source)

    def _is_right(self, target: Path, file: FileEntry) -> bool:
        """Whether our blob, or a plain file with all the right bytes, is there already."""
        if target.is_symlink():
            return os.path.realpath(target) == os.path.realpath(self._blobs.path(file.content))
        try:
            fd = os.open(target, _PLAIN)
        except OSError:
            return False
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode) or found.st_size != file.size:
                return False
            return digests_of(fd, [None], "sha256", target).digests == (file.sha256,)
        finally:
            os.close(fd)


@contextmanager
def image_folder(folder: Path, blobs: Blobs, disk: Disk) -> Iterator[ImageFolder]:
    """The folder, and a place in it where things are made."""
    disk.make_folder(folder)
    with aside_in(folder, disk) as aside:
        yield ImageFolder(folder, aside, blobs, disk)
