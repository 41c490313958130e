"""A little room on the disk, kept so that a store can be opened when nothing else is left.

SQLite cannot open a database for writing without making a file. So that a disk which others filled
to the last byte can be emptied with `p2phub rm`, a file of random bytes lies ready to be given up.
It is made again as soon as there is room.
"""

import contextlib
import os

from p2phub.errors import NoSpaceError, QuotaError
from p2phub.store.disk import Disk
from p2phub.store.layout import Layout

SIZE = 128 << 10
"""Bytes: what SQLite needs to open a database and to drop a row."""


def keep(layout: Layout, disk: Disk) -> None:
    """Set the room aside, if there is any."""
    path = layout.reserve
    with contextlib.suppress(OSError):
        if path.stat().st_size == SIZE:
            return
    with contextlib.suppress(NoSpaceError, QuotaError):
        file = disk.open_file(path)
        try:
            disk.write(file, os.urandom(SIZE), 0, path)
        finally:
            os.close(file)


def give_up(layout: Layout, disk: Disk) -> bool:
    """Free it; whether there was any."""
    there = layout.reserve.exists()
    disk.remove(layout.reserve)
    return there
