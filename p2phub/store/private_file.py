"""Files that only their owner may read: keys, passphrases, phrases, backups.

Rules it keeps:
 * a file that others can read is not used, nor one in a folder of keys that others can write to,
   nor what is no plain file (a link could be pointed elsewhere, a pipe could hang);
 * what was checked is what is read: both happen through one open file, so that a file that is
   swapped meanwhile changes nothing;
 * a new file is whole or absent: written aside, fsynced, then given its name; nothing is
   overwritten unless the caller says so.
"""

import errno
import os
import stat
from pathlib import Path
from typing import Final

from p2phub.errors import RefusedError, UsageError
from p2phub.store.disk import PRIVATE, Disk, disk_errors
from p2phub.trust.hidden import SecretBytes

OTHERS: Final = 0o077
OTHERS_WRITE: Final = 0o022


def read_private(path: Path, limit: int, *, what: str = "the file") -> SecretBytes | None:
    """The bytes of a file of a person's own, at most `limit` of them; None if there is none.

    A symbolic link is followed. Raises `RefusedError` if others can read it, `UsageError` if it is
    no plain file or larger.
    """
    with disk_errors(path):
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return None
        try:
            return _read(fd, path, limit, what)
        finally:
            os.close(fd)


def read_key_file(path: Path, limit: int) -> SecretBytes | None:
    """The same for a key: its folder is checked too, and no link is followed."""
    with disk_errors(path):
        try:
            folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            return _read_key_in(folder, path, limit)
        finally:
            os.close(folder)


def write_new(disk: Disk, path: Path, data: bytes, remedy: str) -> None:
    """A new file that only its owner can read. Raises `RefusedError` if there is one."""
    if not _write(disk, path, data, replace=False):
        raise RefusedError(f"{path} exists and is never overwritten", remedy=remedy)


def write_again(disk: Disk, path: Path, data: bytes) -> None:
    """The same in place of the file that is there: at each moment the old one or the new one."""
    _write(disk, path, data, replace=True)


def _write(disk: Disk, path: Path, data: bytes, *, replace: bool) -> bool:
    data = SecretBytes(data)
    aside = path.with_name(f".{path.name}.{os.getpid()}.new")
    disk.remove(aside)
    fd = disk.create(aside, PRIVATE)
    try:
        disk.write(fd, data, 0, aside)
        disk.sync(fd, aside)
        if replace:
            disk.rename(aside, path)
        elif not disk.rename_new(aside, path):
            return False
    finally:
        os.close(fd)
        disk.remove(aside)
    disk.sync_path(path.parent)
    return True


def _read_key_in(folder: int, path: Path, limit: int) -> SecretBytes | None:
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW
    try:
        fd = os.open(path.name, flags, dir_fd=folder)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise RefusedError(
            f"the key {path} is a link; keys are files of their own here",
            remedy=f"put the key itself at {path}, readable by you only",
        ) from None
    try:
        if os.fstat(folder).st_mode & OTHERS_WRITE:
            raise RefusedError(
                f"others can put keys of theirs into {path.parent}",
                remedy=f"run `chmod 700 {path.parent}`, and look whether the keys are yours",
            )
        return _read(fd, path, limit, "the key")
    finally:
        os.close(fd)


def _read(fd: int, path: Path, limit: int, what: str) -> SecretBytes:
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode):
        raise UsageError(f"{path} is no plain file", remedy="write it to a file of its own")
    if found.st_mode & OTHERS:
        raise RefusedError(
            f"{what} {path} can be read by other users of this machine",
            remedy=f"run `chmod 600 {path}`; if others were here, make a new one",
        )
    data = SecretBytes(os.read(fd, limit + 1))
    if len(data) > limit:
        raise UsageError(
            f"{what} {path} is larger than {limit} bytes", remedy="give the right file"
        )
    return data
