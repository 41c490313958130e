"""Bytes from the middle of a file, out of a whole blob or of what is here of one.

Every byte that is handed out was hashed in the buffer that it is copied from, with the whole piece
around it: a disk that rotted since the file was verified is found out here. Then the blob goes to
quarantine, or the piece of the partial does not count any more, and the caller may fetch again.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from p2phub.errors import DamagedBlobError, NotFoundError, P2PHubError
from p2phub.formats.ids import ContentId
from p2phub.formats.limits import MAX_PIECE
from p2phub.formats.pieces import PieceTable
from p2phub.formats.ranges import Range
from p2phub.store.blobs import Blobs
from p2phub.store.disk import read_into
from p2phub.store.partial import Partial
from p2phub.store.partials import Partials

Fill = Callable[[memoryview, int], int]
"""Fills a buffer from an offset of the file on; how many bytes it got."""


def read_excerpt(
    blobs: Blobs, partials: Partials, content: ContentId, ranges: Sequence[Range]
) -> bytes:
    """The bytes of these ranges, one after another.

    Raises `NotFoundError` if one of them is not here, `DamagedBlobError` if one has rotted.
    """
    table = blobs.table(content)
    if blobs.has(content):
        return _from_blob(blobs, content, table, ranges)
    if table is None or content not in partials.list():
        raise NotFoundError(f"there is nothing of {content} here")
    partial = partials.open(content, table, part=0)
    try:
        return _from_partial(partial, ranges)
    finally:
        partials.close(partial)


def _from_blob(
    blobs: Blobs, content: ContentId, table: PieceTable | None, ranges: Iterable[Range]
) -> bytes:
    with blobs.opened(content) as fd:
        if table is None:
            raise DamagedBlobError(f"the piece table of {content} is lost")
        path: Path = blobs.path(content)
        reading = _Reading(table, lambda buffer, at: read_into(fd, buffer, at, path))
        try:
            return reading.all(ranges)
        except DamagedBlobError:
            blobs.verify(content)
            raise


def _from_partial(partial: Partial, ranges: Sequence[Range]) -> bytes:
    def fill(buffer: memoryview, at: int) -> int:
        data = partial.read(at, len(buffer))
        buffer[:] = data
        return len(data)

    for start, stop in ranges:
        partial.check_here(start, stop)
    reading = _Reading(partial.table, fill)
    try:
        return reading.all(ranges)
    except DamagedBlobError:
        partial.lose(reading.index)
        raise


class _Reading:
    """One read. The last piece is kept: many ranges may lie in it."""

    def __init__(self, table: PieceTable, fill: Fill) -> None:
        self._table, self._fill = table, fill
        self._buffer = memoryview(bytearray(min(MAX_PIECE, table.size)))
        self.index = -1

    def all(self, ranges: Iterable[Range]) -> bytes:
        found = bytearray()
        for start, stop in ranges:
            first, count = self._table.pieces_covering(start, stop)
            for index in range(first, first + count):
                piece, begin = self._piece(index), self._table.offset(index)
                found += piece[max(start - begin, 0) : stop - begin]
        return bytes(found)

    def _piece(self, index: int) -> memoryview:
        piece = self._buffer[: self._table.length(index)]
        if index != self.index:
            self.index = index
            if not self._is_right(index, piece):
                raise DamagedBlobError(
                    f"piece {index} of {self._table.content_id} is not what it was",
                    remedy="read it again: what is damaged is fetched",
                )
        return piece

    def _is_right(self, index: int, piece: memoryview) -> bool:
        try:
            got = self._fill(piece, self._table.offset(index))
        except P2PHubError:
            return False  # a disk that cannot read it and wrong bytes are the same to the reader
        return self._table.check(index, piece[:got])
