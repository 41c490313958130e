"""Copies that people may write to: what `pull --to` hands out.

Where the file system can share blocks the copy is a clone, and its blob's stamp is the proof that
the bytes are right; elsewhere each piece is checked as it is copied. A file takes the place of what
had its name only when it is whole.
"""

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from p2phub.errors import P2PHubError
from p2phub.formats.ids import ContentId
from p2phub.formats.paths import FilePath, check_path
from p2phub.store.blobs import Blobs
from p2phub.store.damage import damaged
from p2phub.store.disk import Disk, Progress, no_progress
from p2phub.store.verification import bad_pieces

WRITABLE = 0o666
"""Less what the umask takes away."""


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


def _export(blobs: Blobs, disk: Disk, content: ContentId, target: Path, progress: Progress) -> None:
    aside = target.with_name(f".p2phub-{os.getpid()}-{content.digest.hex()[:16]}")
    disk.remove(aside)
    source = blobs.open_verified(content)
    try:
        copy = disk.create(aside, WRITABLE)
        try:
            # What is a person's file may change while it is cloned: its pieces are checked.
            clonable = blobs.place(content) is None
            if content.size and not (clonable and disk.clone(source, copy)):
                _copy(blobs, disk, content, source, copy, aside, progress)
            disk.sync(copy, aside)
        finally:
            os.close(copy)
        disk.rename(aside, target)
    except P2PHubError:
        with contextlib.suppress(P2PHubError):
            disk.remove(aside)
        raise
    finally:
        os.close(source)


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
