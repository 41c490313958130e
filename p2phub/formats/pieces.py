"""The piece table of one file: where each piece lies, and the digest that proves it.

A file of more than 1 MiB is a row of pieces of 1 byte to 1 MiB. Its table is, for each piece in
order, the length (u32, little-endian) and the BLAKE3 digest (32 bytes); the SHA-256 of the table
and the size of the file are its content id. A smaller file has no table: it is one piece, and its
content id holds its own SHA-256. `PieceTable` hides that difference: whoever fetches, stores or
serves asks `check` and never which digest it was.

Rules it keeps, whatever the bytes it is given:
 * a table that does not hash to the content id never becomes a `PieceTable`;
 * the lengths are 1 byte … 1 MiB and sum to the size; a size of 0 has no piece;
 * at most `max_pieces(size)` pieces, checked before any memory is spent on them;
 * about 44 bytes of memory a piece: a million pieces are 44 MB.

It leaves to others where a piece is cut (`planner`) and where its bytes lie (the store).

>>> table = PieceTable.for_small(ContentId(2, sha256(b"hi")))
>>> table.check(0, b"hi"), table.check(0, b"ho")
(True, False)
>>> large = PieceTable.build([1 << 20, 5], [bytes(32), blake3(b"hello")])
>>> large.check(1, b"hello"), large.offset(1), large.size
(True, 1048576, 1048581)
>>> PieceTable.unpack(large.pack(), large.content_id) == large
True
"""

import sys
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Self

from p2phub.errors import MalformedError, WrongBytesError
from p2phub.formats.digest import Data, blake3, sha256
from p2phub.formats.ids import ContentId
from p2phub.formats.limits import (
    MANY_PIECES,
    MAX_PIECE,
    MAX_TABLE,
    MAX_TENSORS,
    MIN_CUT,
    MIN_TENSOR_INFO,
)

RECORD = 36
"""Bytes of one piece in a packed table: length and digest."""


@dataclass(frozen=True, slots=True)
class Run:
    """`count` neighbouring pieces, from piece `first` on."""

    first: int
    count: int


def max_pieces(size: int) -> int:
    """The most pieces that a file of `size` bytes may have.

    A reader of the table does not know how many tensors the file has, so it allows as many as a
    header of that file could name.

    >>> max_pieces(0), max_pieces(1 << 20), max_pieces(1 << 40)
    (0, 1, 7456540)
    """
    if size <= MAX_PIECE:
        return min(size, 1)
    planned = max(MANY_PIECES, 2 * size // MIN_CUT) + min(MAX_TENSORS, size // MIN_TENSOR_INFO)
    return min(planned, MAX_TABLE // RECORD)


def max_table_bytes(size: int) -> int:
    """The most bytes of the packed table of a file of `size` bytes; 0 where there is none."""
    return RECORD * max_pieces(size) if size > MAX_PIECE else 0


@dataclass(frozen=True, slots=True)
class PieceTable:
    """The pieces of one file. Made by `unpack`, `for_small` or `build`, which check everything."""

    content_id: ContentId
    _packed: bytes = field(repr=False)
    _bounds: "array[int]" = field(repr=False, compare=False)

    @classmethod
    def unpack(cls, data: bytes, content: ContentId) -> Self:
        """The table of `content` from its packed bytes (empty for a file of at most 1 MiB).

        Raises `WrongBytesError` if they are not the bytes that `content` names, and
        `MalformedError` if they are and yet break a rule.
        """
        if not content.has_table:
            if data:
                raise MalformedError(f"{content} is one piece and can have no piece table")
            return cls.for_small(content)
        count = _check_length(len(data), content.size)
        if sha256(data) != content.digest:
            raise WrongBytesError(f"this piece table is not the one of {content}")
        bounds = _bounds(_lengths(data))
        if len(bounds) != count + 1 or bounds[-1] != content.size:
            raise MalformedError(f"the pieces of {content} sum to {bounds[-1]} bytes")
        return cls(content, data, bounds)

    @classmethod
    def for_small(cls, content: ContentId) -> Self:
        """The table of a file of at most 1 MiB: one piece with its own SHA-256, none if empty."""
        if content.has_table:
            raise MalformedError(f"{content} has a piece table of its own; fetch it first")
        if content.size == 0:
            if content.digest != sha256(b""):
                raise MalformedError(f"{content} is not the digest of an empty file")
            return cls(content, b"", array("Q", [0]))
        packed = content.size.to_bytes(4, "little") + content.digest
        return cls(content, packed, array("Q", [0, content.size]))

    @classmethod
    def build(cls, lengths: Sequence[int], digests: Iterable[bytes]) -> Self:
        """The table of a file of more than 1 MiB, from what was planned and hashed."""
        bounds = _bounds(lengths)
        size = bounds[-1]
        if size <= MAX_PIECE:
            raise MalformedError("a file of at most 1 MiB has no piece table: its SHA-256 names it")
        _check_length(RECORD * len(lengths), size)
        joined = b"".join(
            length.to_bytes(4, "little") + digest
            for length, digest in zip(lengths, digests, strict=True)
        )
        if len(joined) != RECORD * len(lengths):
            raise MalformedError("a piece digest is not 32 bytes long")
        return cls(ContentId(size, sha256(joined)), joined, bounds)

    def pack(self) -> bytes:
        """The bytes that the content id names; empty for a file of at most 1 MiB: no table."""
        return self._packed if self.content_id.has_table else b""

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self.content_id.size

    @property
    def count(self) -> int:
        """The number of pieces."""
        return len(self._bounds) - 1

    def offset(self, index: int) -> int:
        """Where piece `index` starts in the file; `offset(count)` is the size."""
        return self._bounds[index]

    def length(self, index: int) -> int:
        """The bytes of piece `index`."""
        return self._bounds[index + 1] - self._bounds[index]

    def digest(self, index: int) -> bytes:
        """The BLAKE3 digest of piece `index`; of a file of at most 1 MiB, its SHA-256."""
        if not 0 <= index < self.count:
            raise IndexError(f"there is no piece {index} of {self.count}")
        return self._packed[RECORD * index + 4 : RECORD * (index + 1)]

    def check(self, index: int, data: Data) -> bool:
        """Whether `data` is piece `index`, to the last bit. Copies nothing."""
        digest = self.digest(index)
        if memoryview(data).nbytes != self.length(index):
            return False
        return (blake3(data) if self.content_id.has_table else sha256(data)) == digest

    def pieces_covering(self, start: int, stop: int) -> tuple[int, int]:
        """The pieces that hold the bytes [start, stop): the first, and how many.

        >>> table = PieceTable.build([1 << 20, 5, 6], [bytes(32)] * 3)
        >>> table.pieces_covering(1 << 20, (1 << 20) + 6)
        (1, 2)
        """
        if not 0 <= start <= stop <= self.size:
            raise ValueError(f"bytes {start} to {stop} are not a part of {self.size} bytes")
        if start == stop:
            return 0, 0
        first = bisect_right(self._bounds, start) - 1
        return first, bisect_left(self._bounds, stop) - first


def _check_length(packed: int, size: int) -> int:
    """How many pieces a table of `packed` bytes has, once it may have so many."""
    count, rest = divmod(packed, RECORD)
    if rest:
        raise MalformedError(f"a piece table of {packed} bytes is not made of records of {RECORD}")
    if count > max_pieces(size):
        raise MalformedError(f"{count} pieces are too many for a file of {size} bytes")
    return count


def _lengths(packed: bytes) -> "array[int]":
    words = array("I", packed)
    if sys.byteorder == "big":
        words.byteswap()
    return words[:: RECORD // 4]


def _bounds(lengths: Sequence[int]) -> "array[int]":
    """The start of every piece, and the end of the last."""
    if lengths and (min(lengths) < 1 or max(lengths) > MAX_PIECE):
        raise MalformedError(f"a piece is longer than {MAX_PIECE} bytes or empty")
    return array("Q", accumulate(lengths, initial=0))
