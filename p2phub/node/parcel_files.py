"""Parcels as files: read, and written whole or not at all.

They are public: anybody may read one, and what is in it is believed by nobody before the gate has
seen it.
"""

import os
from pathlib import Path

from p2phub.errors import NotFoundError, RefusedError, UsageError
from p2phub.formats import limits
from p2phub.formats.parcel import Parcel
from p2phub.store.disk import disk_errors


def read_parcel_file(path: Path) -> Parcel:
    """The parcel in a file. Raises `NotFoundError`, `UsageError`, `MalformedError`."""
    with disk_errors(path):
        try:
            with path.open("rb") as file:
                data = file.read(limits.MAX_PARCEL + 1)
        except FileNotFoundError:
            raise NotFoundError(
                f"there is no file {path}", remedy="give the file that was sent to you"
            ) from None
        except IsADirectoryError:
            raise UsageError(f"{path} is a folder", remedy="give a file") from None
    return Parcel.from_bytes(data)


def require_new(path: Path) -> None:
    """There is no such file yet. Raises `RefusedError`."""
    if path.exists():
        raise RefusedError(
            f"{path} exists and is never overwritten", remedy="give another file name"
        )


def write_parcel_file(path: Path, parcel: Parcel, *, replace: bool = False) -> None:
    """A new file with this parcel; with `replace`, in place of the one that is there.

    Raises `RefusedError` if there is a file already.
    """
    data = parcel.to_bytes()
    if not replace:
        require_new(path)
    write_whole(path, data)


def write_whole(path: Path, data: bytes) -> None:
    """A file with these bytes, or none: written aside, then put in its place.

    Raises `NoSpaceError` and other errors of disks.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.new")
    with disk_errors(path):
        try:
            with aside.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)
