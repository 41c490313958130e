"""Files that this node makes itself, from bytes in memory: a blob like any other.

Written aside in the store, read again as any file that is published (so that it is cut and hashed
in the one way there is), then adopted. What did not become a blob is removed.
"""

import itertools
import os

from p2phub.store.blobs import Blobs
from p2phub.store.disk import PRIVATE, Disk
from p2phub.store.ingest import Ingested, ingest
from p2phub.store.layout import Layout

_NUMBERS = itertools.count()


def keep_made(data: bytes, layout: Layout, disk: Disk, blobs: Blobs) -> Ingested:
    """A blob of these bytes, and what they are. Raises `NoSpaceError`, `RefusedError`."""
    path = layout.temp / f"made-{os.getpid()}-{next(_NUMBERS)}"
    fd = disk.create(path, PRIVATE)
    try:
        disk.write(fd, memoryview(data), 0, path)
        found = ingest(path, None, disk)
        blobs.adopt(path, found.content, found.table, found.sha256)
    finally:
        os.close(fd)
        disk.remove(path)
    return found
