"""The parts of the Xet protocol (1.1) in which Hugging Face's clients upload: xorbs and shards.

A xorb is a run of chunks, each with a header of 8 bytes; a shard says of which chunks of which
xorbs files are made. Both are a stranger's bytes: every length is checked before memory is spent.
What a file then is tells its own SHA-256, so hashes in them decide nothing here; they are names.

    xorb    chunks: u8 version 0, u24 length as stored, u8 scheme, u24 length, the stored bytes;
            after them perhaps a footer that begins with XETBLOB
    shard   a header of 48 bytes, then records of 48: for each file its hash, u32 flags, u32 count;
            `count` segments (xorb, u32 flags, u32 bytes, u32 first chunk, u32 end); as many records
            again if bit 31 of the flags is set; one more if bit 30 is; an end of 32 times 0xff

All numbers are little-endian. Source: https://huggingface.co/docs/xet (specification 1.1.0), and
the implementation in xet-core 1.6.

>>> hash_text(bytes(range(32)))[:20]
'07060504030201000f0e'
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import lz4.frame

from p2phub.errors import MalformedError

MAX_XORB: Final = 68 << 20
"""Bytes of a xorb as it is sent; clients fill them to 64 MiB and a little."""
MAX_SHARD: Final = 64 << 20
MAX_CHUNK: Final = 1 << 20
"""Bytes of a chunk; clients cut at 128 KiB at most."""
_HEADER: Final = 8
_RECORD: Final = 48
_TAG: Final = b"HFRepoMetaData"
_FOOTER: Final = b"XETBLOB"
_END: Final = b"\xff" * 32
_VERIFIED: Final = 1 << 31
_WITH_SHA256: Final = 1 << 30


@dataclass(frozen=True, slots=True)
class Chunk:
    """Where the stored bytes of a chunk lie in its xorb, and how they become the chunk."""

    start: int
    stored: int
    scheme: int
    length: int


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of chunks of a xorb that is part of a file."""

    xorb: str
    first: int
    end: int
    size: int
    """Bytes of these chunks together."""


@dataclass(frozen=True, slots=True)
class XetFile:
    """A file, as the parts that it is made of."""

    segments: tuple[Segment, ...]

    @property
    def size(self) -> int:
        return sum(segment.size for segment in self.segments)


def hash_text(raw: bytes) -> str:
    """A hash of 32 bytes as paths have it: four little-endian numbers, 16 digits each."""
    words = (raw[at : at + 8][::-1].hex() for at in range(0, 32, 8))
    return "".join(words)


def is_hash(text: str) -> bool:
    """Whether a text can be the name of a xorb."""
    return len(text) == 64 and all(each in "0123456789abcdef" for each in text)


def chunks_of(head: bytes, at: int) -> Chunk | None:
    """The chunk whose header begins at `at` of a xorb; None where the chunks end.

    `head`: the 8 bytes there, fewer at the end. Raises `MalformedError`.
    """
    if not head or head.startswith(_FOOTER):
        return None
    if len(head) < _HEADER or head[0] != 0:
        raise MalformedError("a xorb that does not consist of chunks")
    stored, scheme = int.from_bytes(head[1:4], "little"), head[4]
    length = int.from_bytes(head[5:8], "little")
    if not (0 < length <= MAX_CHUNK and 0 < stored <= 2 * MAX_CHUNK and scheme in (0, 1, 2)):
        raise MalformedError(f"a chunk of {length} bytes, stored by scheme {scheme} in {stored}")
    return Chunk(at + _HEADER, stored, scheme, length)


def unpacked(chunk: Chunk, stored: bytes) -> bytes:
    """The bytes of a chunk. Raises `MalformedError`.

    >>> unpacked(Chunk(0, 2, 0, 2), b"hi")
    b'hi'
    """
    data = stored
    if chunk.scheme != 0:
        try:
            data = lz4.frame.LZ4FrameDecompressor().decompress(stored, max_length=chunk.length + 1)
        except (RuntimeError, EOFError) as error:
            raise MalformedError(f"a chunk that is no LZ4 frame: {error}") from None
    if len(stored) != chunk.stored or len(data) != chunk.length:
        raise MalformedError("a chunk that is of another length than its header says")
    return _ungrouped(data) if chunk.scheme == 2 else data


def _ungrouped(data: bytes) -> bytes:
    """Undo the grouping of bytes: every first of four, then every second, …"""
    out, at = bytearray(len(data)), 0
    for lane in range(4):
        count = (len(data) + 3 - lane) // 4
        out[lane::4] = data[at : at + count]
        at += count
    return bytes(out)


def files_of(shard: bytes) -> Iterator[XetFile]:
    """The files that a shard describes. Raises `MalformedError`."""
    if not shard.startswith(_TAG) or len(shard) < _RECORD:
        raise MalformedError("a shard that does not begin as one")
    at = _RECORD
    while True:
        head = _record(shard, at)
        if head[:32] == _END:
            return
        flags, count = (int.from_bytes(head[n : n + 4], "little") for n in (32, 36))
        at += _RECORD
        if count > (len(shard) - at) // _RECORD:
            raise MalformedError(f"a file of {count} segments in a shard of {len(shard)} bytes")
        yield XetFile(tuple(_segment(_record(shard, at + n * _RECORD)) for n in range(count)))
        more = count * bool(flags & _VERIFIED) + bool(flags & _WITH_SHA256)
        at += (count + more) * _RECORD


def _record(shard: bytes, at: int) -> bytes:
    found = shard[at : at + _RECORD]
    if len(found) < _RECORD:
        raise MalformedError("a shard that ends too early")
    return found


def _segment(record: bytes) -> Segment:
    size, first, end = (int.from_bytes(record[n : n + 4], "little") for n in (36, 40, 44))
    if first >= end:
        raise MalformedError("a part of a file without chunks")
    return Segment(hash_text(record[:32]), first, end, size)
