"""What sites leave for one another on a stick: inventories and receipts, a small file each.

They lie beside the packs, as `inventory-0001.list` and `receipt-0001.list`, and hold a signed
document each. As with everything on a stick only plain files of those names are read, within the
limits of what they can be; what they say is checked elsewhere.

>>> NAME.fullmatch("receipt-0012.list")[1]
'receipt'
"""

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from p2phub.airgap.folder import write_file
from p2phub.airgap.medium import FOLDER, MOST_NAMES
from p2phub.airgap.volume import let_go
from p2phub.errors import NoSourceError
from p2phub.formats import limits
from p2phub.store.disk import Disk

NAME: Final = re.compile(r"(inventory|receipt)-([0-9]{4})\.list")
MOST_NOTES: Final = 16 * limits.MAX_SITES
_LONGEST: Final = {
    "inventory": limits.MAX_INVENTORY + limits.MAX_ENVELOPE_OVERHEAD,
    "receipt": limits.MAX_RECEIPT + limits.MAX_ENVELOPE_OVERHEAD,
}
_PLAIN: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Note:
    """A file that a site left."""

    kind: str
    """`inventory` or `receipt`."""
    name: str
    data: bytes


def read_notes(path: Path) -> tuple[Note, ...]:
    """What lies on the stick at `path`; nothing if it has no folder of ours yet.

    Raises `NoSourceError` for a stick that cannot be read, or has more names than any bundle.
    """
    try:
        folder = os.open(path / FOLDER, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise NoSourceError(f"{path} cannot be read: {error.strerror}") from None
    try:
        return tuple(_notes(path, folder))
    finally:
        let_go(folder)


def leave_note(path: Path, disk: Disk, kind: str, data: bytes, instead: str | None = None) -> None:
    """Put a note on the stick, in the place of the note `instead`.

    Raises `NoSpaceError`, `RefusedError` for a stick that cannot be written or has no room for
    another name.
    """
    folder = path / FOLDER
    disk.make_folder(folder)
    taken = {note.name for note in read_notes(path)}
    names = (f"{kind}-{number:04}.list" for number in range(1, limits.MAX_PACKS + 1))
    write_file(disk, folder / (instead or next(each for each in names if each not in taken)), data)


def remove_note(path: Path, disk: Disk, name: str) -> None:
    """Take a note off the stick."""
    disk.remove(path / FOLDER / name)


def _notes(path: Path, folder: int) -> Iterator[Note]:
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for _, entry in zip(range(MOST_NAMES + 1), entries, strict=False)]
    except OSError as error:
        raise NoSourceError(f"{path} cannot be read: {error.strerror}") from None
    if len(names) > MOST_NAMES:
        raise NoSourceError(f"{path} has more names than any bundle")
    found = sorted(name for name in names if NAME.fullmatch(name))
    for name in found[:MOST_NOTES]:
        kind = name.partition("-")[0]
        data = _read(folder, name, _LONGEST[kind])
        if data is not None:
            yield Note(kind, name, data)


def _read(folder: int, name: str, most: int) -> bytes | None:
    """A plain file of at most `most` bytes; None for anything else."""
    try:
        fd = os.open(name, _PLAIN, dir_fd=folder)
    except OSError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        with os.fdopen(os.dup(fd), "rb") as file:
            data = file.read(most + 1)
        return data if len(data) <= most else None
    except OSError:
        return None
    finally:
        let_go(fd)
