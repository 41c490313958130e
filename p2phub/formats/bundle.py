"""What lies on a stick that crosses an air gap: packs, the index of each, and a list of contents.

A **pack** is pieces, or documents, one after another. Its **index** is a line that says what it is,
a row for each (32 bytes of digest, offset and length as u32, little-endian) sorted by digest, and
the SHA-256 of all that. A piece is found by its BLAKE3 digest, a file of one piece by its SHA-256,
a document or a piece table by the digest that it is asked for by. The **contents** are a canonical
map after such a line, and end in a SHA-256 too: the heads and notices of publishers, and which
releases are meant.

Nobody signs any of this, and nobody believes it: it says where to look. What is found there is
checked as if a peer had sent it.

Rules it keeps, whatever the bytes it is given:
 * an index is as long as its rows say, sorted, without repeats, whole to the last bit, and every
   row lies within its pack;
 * a look-up needs no memory beyond the file: a stick of a terabyte has millions of rows.

>>> made = write_index([Row(bytes(32), 0, 5), Row(bytes([1] * 32), 5, 7)])
>>> PackIndex.read(made, pack=12, longest=7).find(bytes([1] * 32)).offset
5
"""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Self

from p2phub.errors import MalformedError, NewerVersionError
from p2phub.formats import limits
from p2phub.formats.codec import decode, encode
from p2phub.formats.digest import sha256
from p2phub.formats.documents import Fields
from p2phub.formats.ids import Kind
from p2phub.formats.manifest import read_kind

INDEX: Final = b"p2phub bundle index 1\n"
CONTENTS: Final = b"p2phub bundle contents 1\n"
_ROW: Final = struct.Struct("<32sII")
ROW: Final = _ROW.size
"""Bytes of a row of an index."""
LONGEST_DOCUMENT: Final = limits.MAX_TABLE
"""Bytes of the longest thing in a pack of documents."""


@dataclass(frozen=True, slots=True)
class Row:
    """Where something lies in a pack: `length` bytes from `offset` on."""

    digest: bytes
    offset: int
    length: int


class PackIndex:
    """The index of one pack, as `read` has checked it."""

    def __init__(self, rows: memoryview) -> None:
        self._rows = rows

    @classmethod
    def read(cls, data: bytes, *, pack: int, longest: int) -> Self:
        """The index of a pack of `pack` bytes, in which nothing is longer than `longest`.

        Raises `MalformedError`.
        """
        rows = memoryview(data)[len(INDEX) : -limits.DIGEST]
        count, rest = divmod(len(rows), _ROW.size)
        if not data.startswith(INDEX) or rest or len(data) < len(INDEX) + limits.DIGEST:
            raise MalformedError("this is no index of a pack")
        if count > limits.MAX_PACK_ROWS:
            raise MalformedError(f"an index of {count} rows; {limits.MAX_PACK_ROWS} is the most")
        if sha256(data[: -limits.DIGEST]) != data[-limits.DIGEST :]:
            raise MalformedError("this index is not what was written")
        last = b""
        for digest, offset, length in _ROW.iter_unpack(rows):
            if digest <= last:
                raise MalformedError("an index that is not sorted, or has something twice")
            if not 0 < length <= longest or offset + length > pack:
                raise MalformedError("an index that names bytes which are not in its pack")
            last = digest
        return cls(rows)

    def __len__(self) -> int:
        return len(self._rows) // _ROW.size

    def __iter__(self) -> Iterator[Row]:
        return (Row(*fields) for fields in _ROW.iter_unpack(self._rows))

    def find(self, digest: bytes) -> Row | None:
        """Where something lies; None if it is not in this pack."""
        low, high = 0, len(self)
        while low < high:
            middle = (low + high) // 2
            found = Row(*_ROW.unpack_from(self._rows, middle * _ROW.size))
            if found.digest == digest:
                return found
            low, high = (middle + 1, high) if found.digest < digest else (low, middle)
        return None


def write_index(rows: Iterable[Row]) -> bytes:
    """The index of a pack with these rows, in any order, none twice."""
    ordered = sorted(rows, key=lambda row: row.digest)
    packed = b"".join(_ROW.pack(row.digest, row.offset, row.length) for row in ordered)
    data = INDEX + packed
    return data + sha256(data)


@dataclass(frozen=True, slots=True)
class Meant:
    """A release that a bundle carries, as who wrote it says."""

    publisher: bytes
    name: str
    kind: Kind
    digest: bytes
    size: int
    """Bytes of its files."""

    @classmethod
    def read(cls, fields: Fields) -> Self:
        meant = cls(
            fields.digest("publisher"),
            fields.name(),
            read_kind(fields),
            fields.digest("digest"),
            fields.number("size"),
        )
        _refuse_more(fields)
        return meant


@dataclass(frozen=True, slots=True)
class Contents:
    """What one export put on a stick. `made`: when, in unix seconds.

    A `part` of several holds every document, and some of the pieces. Made for sites that have
    something already, it holds what any of them lacks. Neither is whole by itself.
    """

    made: int
    heads: tuple[bytes, ...] = ()
    """The newest head of each publisher, packed."""
    notices: tuple[bytes, ...] = ()
    """What publishers took back: revocations, withdrawals and fork proofs, packed."""
    releases: tuple[Meant, ...] = ()
    site: bytes = b""
    """Who made it: the public key of a node, 32 bytes; empty where it is not told."""
    sites: tuple[bytes, ...] = ()
    """Whom it is for, by their keys, sorted: what all of them have is left out. None: anybody."""
    part: int = 1
    """Which of the media this is, from 1."""
    parts: int = 1
    """How many media one export was split over."""

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The contents that `data` spells. Raises `MalformedError` or `NewerVersionError`."""
        if len(data) > limits.MAX_CONTENTS or not data.startswith(CONTENTS):
            raise MalformedError("this is no list of what a bundle holds")
        if sha256(data[: -limits.DIGEST]) != data[-limits.DIGEST :]:
            raise MalformedError("this list is not what was written")
        told = decode(data[len(CONTENTS) : -limits.DIGEST], limit=limits.MAX_CONTENTS)
        fields = Fields(told, "this bundle")
        contents = cls(
            fields.time("made"),
            _packed(fields, "heads", limits.MAX_BUNDLE_HEADS, limits.MAX_HEAD),
            _packed(fields, "notices", limits.MAX_BUNDLE_NOTICES, limits.MAX_TOLD_DOCUMENT),
            tuple(
                map(
                    Meant.read,
                    fields.parts("releases", limits.MAX_BUNDLE_RELEASES, optional=True),
                )
            ),
            fields.data("site", limits.KEY, limits.KEY, default=b""),
            fields.keys("sites", limits.MAX_SITES) if fields.has("sites") else (),
            fields.number("part", 1, limits.MAX_PARTS, default=1),
            fields.number("parts", 1, limits.MAX_PARTS, default=1),
        )
        if contents.part > contents.parts:
            raise MalformedError("this bundle says it is a later part than there are")
        _refuse_more(fields)
        return contents

    def to_bytes(self) -> bytes:
        """The file. Raises `MalformedError` if nobody would read it."""
        told = {
            "made": self.made,
            "heads": self.heads or None,
            "notices": self.notices or None,
            "releases": [_written(each) for each in self.releases] or None,
            "site": self.site or None,
            "sites": self.sites or None,
            "part": self.part if self.part > 1 else None,
            "parts": self.parts if self.parts > 1 else None,
        }
        data = CONTENTS + encode({name: value for name, value in told.items() if value is not None})
        data += sha256(data)
        self.from_bytes(data)
        return data


def _written(meant: Meant) -> dict[str, bytes | str | int]:
    return {
        "publisher": meant.publisher,
        "name": meant.name,
        "kind": meant.kind,
        "digest": meant.digest,
        "size": meant.size,
    }


def _packed(fields: Fields, name: str, count: int, limit: int) -> tuple[bytes, ...]:
    return fields.data_list(name, count, limit) if fields.has(name) else ()


def _refuse_more(fields: Fields) -> None:
    if fields.rest():
        raise NewerVersionError(
            f"a newer p2phub wrote this bundle (it has: {', '.join(sorted(fields.rest()))})",
            remedy="Update p2phub, then try again.",
        )
