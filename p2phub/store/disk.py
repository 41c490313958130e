"""The only way the store changes a disk: small operations, each of which fails with our own error.

Rules it keeps:
 * every `OSError` becomes one of ours here and nowhere else: a full disk is `NoSpaceError`, a disk
   or folder we may not write is `RefusedError`, the rest is a `P2PHubError` that names the path;
 * a write is whole or an error, however little the system takes at a time;
 * every change goes through `_about_to` first, so that a test can fail or cut the power before any
   one of them (`p2phub.testing.disks`).

In which order things are written, and what that promises, is for `adoption`, `partial` and
`snapshot` to say.

>>> with disk_errors(Path("/tmp/x")):
...     raise OSError(errno.ENOSPC, "No space left on device")
Traceback (most recent call last):
...
p2phub.errors.NoSpaceError: the disk is full: /tmp/x
"""

import contextlib
import ctypes
import errno
import fcntl
import functools
import os
import shutil
import stat
import struct
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from p2phub.errors import NoSpaceError, P2PHubError, QuotaError, RefusedError

Progress = Callable[[int], None]
"""Told how many more bytes are done, from whatever thread does the work."""

PathText = Path | str
"""What is done to thousands of files takes their paths as text: to make a `Path` of each costs more
than the system call."""

FICLONE = 0x40049409
FICLONERANGE = 0x4020940D
SYNC_FILE_RANGE_WRITE = 2
SYNC_FILE_RANGE_ALL = 7
"""Wait for what is being written, write the rest, and wait for that: sync_file_range(2)."""
PRIVATE = 0o600
READ_ONLY = 0o444
READ_BLOCK = 8 << 20
"""Bytes read at a time where a whole file is gone through."""
UNTOLD = 1 << 62
"""Free bytes where nobody knows them: the writes will tell."""

_FULL = {errno.ENOSPC, errno.EFBIG}
_REFUSED = {errno.EROFS, errno.EACCES, errno.EPERM}
_NO_HARD_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS}
_TOO_MANY = {errno.EMFILE, errno.ENFILE}
_NO_RANGES = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ESPIPE}
_BROKEN = {errno.EIO, errno.ENXIO, errno.ENODEV}


def no_progress(count: int) -> None:
    """For callers that do not want to know."""


class disk_errors:
    """Turn what the system says about `path` into an error of ours, inside of `with`."""

    __slots__ = ("_path",)

    def __init__(self, path: PathText) -> None:
        self._path = path

    def __enter__(self) -> None:
        """Nothing is to be done yet."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, OSError):
            raise _ours(error, self._path) from error


def _ours(error: OSError, path: PathText) -> P2PHubError:
    reason = error.strerror or str(error)
    if error.errno in _FULL:
        return NoSpaceError(
            f"the disk is full: {path}", remedy="free some space, then run the command again"
        )
    if error.errno == errno.EDQUOT:
        return QuotaError(
            f"your disk quota is used up: {path}",
            remedy="free some space or ask who runs this machine, then run the command again",
        )
    if error.errno in _REFUSED:
        return RefusedError(
            f"this disk or folder cannot be written or read by you: {path} ({reason})",
            remedy="check who owns it and whether the disk is mounted read-only",
        )
    if error.errno in _TOO_MANY:
        return P2PHubError(
            f"too many open files: {path}", remedy="raise the limit, for example `ulimit -n 8192`"
        )
    if error.errno in _BROKEN:
        return P2PHubError(
            f"the disk fails: {path} ({reason})",
            remedy="look at the system log; copy what you need to another disk",
        )
    return P2PHubError(f"{path}: {reason}")


class Disk:
    """The changes a store makes to a disk. Thread-safe: it holds no state."""

    def _about_to(self, action: str, path: PathText) -> None:
        """Called before every change; the fakes fail here."""

    def make_folder(self, path: Path) -> None:
        """Create `path` and what leads to it; fine if it exists."""
        self._about_to("make_folder", path)
        with disk_errors(path):
            path.mkdir(parents=True, exist_ok=True)

    def make_private_folder(self, path: Path) -> None:
        """The same, for its owner only, also if it existed."""
        self.make_folder(path)
        with disk_errors(path):
            if path.stat().st_mode & 0o777 != 0o700:
                path.chmod(0o700)

    def create(self, path: PathText, mode: int = PRIVATE) -> int:
        """A new file, open for reading and writing. An existing one is an error."""
        self._about_to("create", path)
        with disk_errors(path):
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)

    def open_file(self, path: Path) -> int:
        """A file that may exist, open for reading and writing."""
        self._about_to("open_file", path)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        with disk_errors(path):
            return os.open(path, flags, PRIVATE)

    def touch(self, path: Path) -> None:
        """An empty file; fine if it exists."""
        self._about_to("touch", path)
        with disk_errors(path):
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, PRIVATE))

    def resize(self, fd: int, size: int, path: Path) -> None:
        """Cut or stretch with a hole."""
        self._about_to("resize", path)
        with disk_errors(path):
            os.ftruncate(fd, size)

    def write(self, fd: int, data: bytes | memoryview, offset: int, path: PathText) -> None:
        """All of `data` at `offset`."""
        self._about_to("write", path)
        with disk_errors(path):
            done = os.pwrite(fd, data, offset)
            while done < len(data):
                done += os.pwrite(fd, memoryview(data)[done:], offset + done)

    def clone(self, source: int, target: int) -> bool:
        """Let `target` share the blocks of `source`, where the file system can; False elsewhere."""
        try:
            fcntl.ioctl(target, FICLONE, source)
        except OSError:
            return False
        return True

    def clone_range(
        self, source: int, start: int, length: int, target: int, at: int, path: Path
    ) -> bool:
        """Let `target` (`path`) share the blocks of `source` from `start` on, as its bytes from
        `at` on, where the file system can; False elsewhere, then nothing was changed.

        All three numbers are multiples of the file system's block size.
        """
        self._about_to("clone_range", path)
        try:
            fcntl.ioctl(target, FICLONERANGE, struct.pack("=qQQQ", source, start, length, at))
        except OSError:
            return False
        return True

    def allocate(self, fd: int, offset: int, length: int, path: PathText) -> bool:
        """Give so many bytes of a file their blocks before they are written, where the file system
        can; False elsewhere, or where there is no room: then the writes will tell.

        What is written later needs a quarter less time of a processor (ext4), and lies together.
        """
        allocate = getattr(_libc(), "fallocate", None)
        if allocate is None:
            return False
        self._about_to("allocate", path)
        failed: int = allocate(fd, 0, ctypes.c_int64(offset), ctypes.c_int64(length))
        return not failed

    def begin_writing(self, fd: int) -> None:
        """Let the system begin to write a file, so that a later `sync` has little to wait for.

        Promises nothing, and is nothing where the system cannot do it.
        """
        begin = getattr(_libc(), "sync_file_range", None)
        if begin is not None:
            begin(fd, ctypes.c_int64(0), ctypes.c_int64(0), SYNC_FILE_RANGE_WRITE)  # all of it

    def write_out(self, fd: int, offset: int, length: int, path: Path) -> None:
        """Return once the system has written these bytes to the device, which may still hold them
        in a memory of its own: only `sync` makes them survive a power cut.
        """
        self._about_to("write_out", path)
        write_out = getattr(_libc(), "sync_file_range", None)
        with disk_errors(path):
            if write_out is None:
                os.fdatasync(fd)
                return
            flags = SYNC_FILE_RANGE_ALL
            if write_out(fd, ctypes.c_int64(offset), ctypes.c_int64(length), flags) != 0:
                code = ctypes.get_errno()
                if code not in _NO_RANGES:
                    raise OSError(code, os.strerror(code))
                os.fdatasync(fd)

    def sync(self, fd: int, path: Path) -> None:
        """Return once the bytes of this file would survive a power cut."""
        self._about_to("sync", path)
        with disk_errors(path):
            os.fsync(fd)

    def sync_path(self, path: PathText) -> None:
        """The same for a folder (the names in it), or for a file that is not open."""
        self._about_to("sync_path", path)
        with disk_errors(path):
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)

    def sync_all(self, folder: Path) -> None:
        """The same for everything on the file system that holds `folder`."""
        self._about_to("sync_all", folder)
        with disk_errors(folder):
            fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
            try:
                _syncfs(fd)
            finally:
                os.close(fd)

    def rename(self, source: PathText, target: PathText) -> None:
        """Give the file or folder its new name, in place of whatever file had it."""
        self._about_to("rename", target)
        with disk_errors(target):
            os.rename(source, target)

    def rename_new(self, source: Path, target: Path) -> bool:
        """Give the file its new name unless somebody has it: then False."""
        self._about_to("rename_new", target)
        with disk_errors(target):
            try:
                os.link(source, target)
            except FileExistsError:
                return False
            except OSError as error:
                if error.errno not in _NO_HARD_LINKS or target.exists():
                    raise
                source.rename(target)
                return True
            source.unlink()
        return True

    def mark_used(self, path: Path) -> None:
        """Let the time of a file or folder be now."""
        self._about_to("mark_used", path)
        with disk_errors(path):
            os.utime(path)

    def set_mode(self, path: PathText, mode: int) -> None:
        self._about_to("set_mode", path)
        with disk_errors(path):
            os.chmod(path, mode)

    def link(self, target: str, path: PathText) -> None:
        """A symbolic link at `path` that says `target`."""
        self._about_to("link", path)
        with disk_errors(path):
            os.symlink(target, path)

    def remove(self, path: PathText) -> None:
        """Remove a file or link; fine if it is gone."""
        self._about_to("remove", path)
        with disk_errors(path), contextlib.suppress(FileNotFoundError):
            os.unlink(path)

    def remove_tree(self, path: Path) -> None:
        """Remove whatever is there, a folder with all that is in it; fine if it is gone. Follows no
        link.
        """
        self._about_to("remove_tree", path)
        with disk_errors(path), contextlib.suppress(FileNotFoundError):
            if not is_folder(path):
                path.unlink()
                return
            for folder, _, _ in os.walk(path):
                Path(folder).chmod(0o700)
            shutil.rmtree(path)

    def free_bytes(self, folder: Path) -> int:
        """What an ordinary user may still write there; `UNTOLD` where a file system does not say,
        as some of those in user space do not.
        """
        with disk_errors(folder):
            found = os.statvfs(folder)
        return found.f_bavail * found.f_frsize if found.f_blocks else UNTOLD


def read_into(fd: int, buffer: memoryview, offset: int, path: PathText) -> int:
    """Fill `buffer` from `offset` on; fewer bytes only where the file ends."""
    done = 0
    with disk_errors(path):
        while done < len(buffer):
            count = os.preadv(fd, [buffer[done:]], offset + done)
            if count == 0:
                break
            done += count
    return done


def is_folder(path: Path) -> bool:
    """Whether this is a folder, not a link to one."""
    return path.is_dir() and not path.is_symlink()


def is_plain(path: Path) -> bool:
    """Whether this is a plain file, not a link to one."""
    with disk_errors(path):
        return stat.S_ISREG(path.lstat().st_mode)


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _syncfs(fd: int) -> None:
    if _libc().syncfs(fd) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
