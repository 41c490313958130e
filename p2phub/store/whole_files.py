"""Files that come whole, because nobody has their piece table: checked when the last byte is here.

Where a file is cut follows from its bytes (`formats/planner`), so it tells its own table: it lies
in `temp/` until all has come, is planned and hashed as its publisher did it, and becomes a blob if
that gives the content id which was signed. Before, nothing of it is used or given to anybody; what
was not kept when a process ends is gone.
"""

import itertools
import os
from pathlib import Path

from p2phub.errors import WrongBytesError
from p2phub.formats.digest import sha256
from p2phub.formats.ids import ContentId
from p2phub.formats.limits import MAX_PIECE
from p2phub.formats.pieces import PieceTable
from p2phub.store.blobs import Blobs
from p2phub.store.disk import READ_ONLY, Disk
from p2phub.store.ingest import ingest
from p2phub.store.layout import Layout
from p2phub.store.space import Space


class WholeFile:
    """A file on its way here, at `path`. Thread-safe. Made by `WholeFiles.begin`."""

    def __init__(self, content: ContentId, path: Path, disk: Disk, blobs: Blobs) -> None:
        self.content, self.path = content, path
        self.steps = steps_of(content.size)
        """A table of the same size, for who fetches: its digests say nothing."""
        self._disk, self._blobs = disk, blobs
        self._fd = disk.create(path, READ_ONLY)

    def accept(self, index: int, piece: memoryview) -> None:
        """Write a step as it comes. Raises `NoSpaceError`."""
        self._disk.write(self._fd, piece, self.steps.offset(index), self.path)

    def keep(self) -> None:
        """Make a blob of it. Raises `WrongBytesError` if it is not the file that was signed."""
        found = ingest(self.path, None, self._disk)
        if found.content != self.content:
            raise WrongBytesError(f"the bytes for {self.content} are not that file")
        self._blobs.adopt(self.path, self.content, found.table, found.sha256)

    def close(self) -> None:
        """Remove what was not kept."""
        os.close(self._fd)
        self._disk.remove(self.path)


class WholeFiles:
    """Begins and ends files that come whole."""

    def __init__(self, layout: Layout, disk: Disk, blobs: Blobs, space: Space) -> None:
        self._layout, self._disk, self._blobs, self._space = layout, disk, blobs, space
        self._numbers = itertools.count()

    def begin(self, content: ContentId) -> WholeFile:
        """A place for a file of more than 1 MiB. Raises `NoSpaceError`, `QuotaError`."""
        path = self._layout.temp / f"whole-{os.getpid()}-{next(self._numbers)}"
        self._space.claim(path, content.size, path)
        try:
            return WholeFile(content, path, self._disk, self._blobs)
        except BaseException:
            self._space.release(path)
            raise

    def end(self, file: WholeFile) -> None:
        """Forget a file, kept or not."""
        try:
            file.close()
        finally:
            self._space.release(file.path)


def steps_of(size: int) -> PieceTable:
    """A table of a file of this size, of which the digests say nothing.

    >>> steps_of(MAX_PIECE + 5).count
    2
    """
    if size <= MAX_PIECE:
        return PieceTable.for_small(ContentId(size, sha256(b"") if not size else bytes(32)))
    full, rest = divmod(size, MAX_PIECE)
    lengths = [MAX_PIECE] * full + [rest] * bool(rest)
    return PieceTable.build(lengths, [bytes(32)] * len(lengths))
