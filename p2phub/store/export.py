"""Copies that people may write to: what `pull --to` hands out.

Where the file system can share blocks the copy is a clone, and its blob's stamp is the proof that
the bytes are right; elsewhere each piece is checked as it is copied. A file takes the place of what
had its name only when it is whole.

Until then it has a name of ours beside it, and is locked for as long as somebody writes it. So what
a killed process has left there is known by its name and by nobody holding it, in whatever process
or container it was, and `sweep` removes it.
"""

import contextlib
import fcntl
import os
import re
import secrets
import stat
from collections.abc import Iterable
from pathlib import Path

from p2phub.errors import P2PHubError
from p2phub.formats.ids import ContentId
from p2phub.formats.paths import FilePath, check_path
from p2phub.store.blobs import Blobs
from p2phub.store.damage import damaged
from p2phub.store.disk import Disk, Progress, disk_errors, no_progress
from p2phub.store.verification import bad_pieces

WRITABLE = 0o666
"""Less what the umask takes away."""
_ASIDE = re.compile(r"\.p2phub-[0-9a-f]+-[0-9a-f]{16}", re.ASCII)


def export(
    blobs: Blobs,
    disk: Disk,
    files: Iterable[tuple[FilePath, ContentId]],
    folder: Path,
    progress: Progress = no_progress,
) -> None:
    """Write each file to its path under `folder`, in place of what is there.

    Raises `DamagedBlobError` for a blob that is not right any more, `NoSpaceError`, `RefusedError`.
    """
    for path, content in files:
        check_path(path)
        target = folder.joinpath(*path)
        disk.make_folder(target.parent)
        _export(blobs, disk, content, target, progress)


def sweep(disk: Disk, files: Iterable[FilePath], folder: Path) -> None:
    """Remove what killed processes of this user have left where these files go.

    What somebody is writing now stays. Raises `RefusedError` for a folder that may not be read.
    """
    for place in sorted({folder.joinpath(*path).parent for path in files}):
        with disk_errors(place), contextlib.suppress(FileNotFoundError, NotADirectoryError):
            for name in os.listdir(place):
                if _ASIDE.fullmatch(name):
                    _sweep(disk, place / name)


def _sweep(disk: Disk, aside: Path) -> None:
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        left = os.open(aside, flags)
    except OSError:
        return  # a link, or gone, or not ours to read
    try:
        found = os.fstat(left)
        if stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and _lock(left):
            disk.remove(aside)
    finally:
        os.close(left)


def _lock(fd: int) -> bool:
    """Hold a file until it is closed; False if somebody else does, or the disk can't tell."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _begin(disk: Disk, target: Path, content: ContentId) -> tuple[int, Path]:
    """A new file beside `target`, which nobody sweeps while it is open."""
    while True:
        name = f".p2phub-{secrets.token_hex(8)}-{content.digest.hex()[:16]}"
        aside = target.with_name(name)
        copy = disk.create(aside, WRITABLE)
        with contextlib.suppress(OSError):  # a disk that has no locks is not swept either
            fcntl.flock(copy, fcntl.LOCK_EX)
        if aside.exists():  # else it was swept before it was locked
            return copy, aside
        os.close(copy)


def _export(blobs: Blobs, disk: Disk, content: ContentId, target: Path, progress: Progress) -> None:
    source = blobs.open_verified(content)
    try:
        copy, aside = _begin(disk, target, content)
        try:
            _fill(blobs, disk, content, source, copy, aside, progress)
            disk.rename(aside, target)
        except P2PHubError:
            with contextlib.suppress(P2PHubError):
                disk.remove(aside)
            raise
        finally:
            os.close(copy)
    finally:
        os.close(source)


def copy_to(blobs: Blobs, disk: Disk, content: ContentId, made: Path) -> None:
    """A clone or a checked copy of a blob, as the new file `made`. Raises as `export`."""
    source = blobs.open_verified(content)
    try:
        copy = disk.create(made, WRITABLE)
        try:
            _fill(blobs, disk, content, source, copy, made, no_progress)
        finally:
            os.close(copy)
    finally:
        os.close(source)


def _fill(
    blobs: Blobs,
    disk: Disk,
    content: ContentId,
    source: int,
    copy: int,
    made: Path,
    progress: Progress,
) -> None:
    # What is a person's file may change while it is cloned: its pieces are checked.
    clonable = blobs.place(content) is None
    if content.size and not (clonable and disk.clone(source, copy)):
        _copy(blobs, disk, content, source, copy, made, progress)
    disk.sync(copy, made)


def _copy(
    blobs: Blobs,
    disk: Disk,
    content: ContentId,
    source: int,
    copy: int,
    aside: Path,
    progress: Progress,
) -> None:
    table = blobs.table(content)
    assert table is not None

    def take(index: int, data: memoryview) -> None:
        disk.write(copy, data, table.offset(index), aside)

    place = blobs.place(content)
    bad = bad_pieces(source, table, blobs.path(content), take=take, progress=progress)
    if bad:
        blobs.verify(content)
        raise damaged(content, bad, place)
