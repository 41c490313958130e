"""Files cut into pieces of one length, and places to put them: what the tests of sources stand on.

>>> sample = make_sample(2_000_000, piece=1_000_000)
>>> sample.table.count, sample.table.check(1, sample.piece(1))
(2, True)
>>> sink = MemorySink(sample.table)
>>> sink.accept(0, memoryview(sample.piece(1)))
Traceback (most recent call last):
...
p2phub.errors.WrongBytesError: piece 0 is wrong
"""

import threading
from functools import cached_property

from p2phub.errors import NoSpaceError, WrongBytesError
from p2phub.formats.digest import blake3, sha256
from p2phub.formats.ids import ContentId
from p2phub.formats.limits import MAX_PIECE
from p2phub.formats.pieces import PieceTable, Run
from p2phub.testing.files import random_bytes


class Sample:
    """A file with its table."""

    def __init__(self, table: PieceTable, data: bytes) -> None:
        self.table, self.data = table, data

    @property
    def content(self) -> ContentId:
        return self.table.content_id

    @property
    def all(self) -> Run:
        """Every piece."""
        return Run(0, self.table.count)

    def piece(self, index: int) -> bytes:
        start = self.table.offset(index)
        return self.data[start : start + self.table.length(index)]


class _Made(Sample):
    """One that is made when a test first looks at it: modules make theirs when they are imported,
    and every process of a run imports all of them."""

    def __init__(self, size: int, seed: int | str, piece: int) -> None:
        self._size, self._seed, self._piece = size, seed, piece

    @cached_property
    def data(self) -> bytes:  # type: ignore[override]
        return random_bytes(self._seed, self._size)

    @cached_property
    def table(self) -> PieceTable:  # type: ignore[override]
        data, piece = self.data, self._piece
        if self._size <= MAX_PIECE:
            return PieceTable.for_small(ContentId(self._size, sha256(data)))
        parts = [data[start : start + piece] for start in range(0, self._size, piece)]
        return PieceTable.build([len(part) for part in parts], map(blake3, parts))


def make_sample(size: int, *, seed: int | str = 0, piece: int = 64 * 1024) -> Sample:
    """A file of `size` bytes; over 1 MiB it is cut every `piece` bytes."""
    return _Made(size, seed, piece)


class MemorySink:
    """Checks and keeps pieces in memory. `order` says in which order they came."""

    def __init__(self, table: PieceTable) -> None:
        self._table = table
        self._lock = threading.Lock()
        self.room = table.count
        """How many pieces fit."""
        self.pieces: dict[int, bytes] = {}
        self.order: list[int] = []

    def accept(self, index: int, data: memoryview) -> None:
        if not (0 <= index < self._table.count and self._table.check(index, data)):
            raise WrongBytesError(f"piece {index} is wrong")
        with self._lock:
            if index not in self.pieces and len(self.pieces) >= self.room:
                raise NoSpaceError("the disk is full")
            self.pieces[index] = bytes(data)
            self.order.append(index)

    @property
    def data(self) -> bytes:
        """What came, in the order of the file."""
        return b"".join(self.pieces[index] for index in sorted(self.pieces))


class FullSink(MemorySink):
    """A disk that is full after `room` pieces."""

    def __init__(self, table: PieceTable, room: int = 3) -> None:
        super().__init__(table)
        self.room = room
