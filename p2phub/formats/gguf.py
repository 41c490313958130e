"""The header of a GGUF file (versions 2 and 3, little-endian): which bytes are which tensor.

Magic, version, two counts, key-value pairs, tensor infos; then the tensors, each at a multiple of
`general.alignment`. The values are stepped over, not kept: of all keys only the alignment matters
here. Rules it keeps:
 * every count and length is checked against what the header may still hold before it is believed;
 * a key or a tensor name that comes twice is refused, because readers disagree on which counts;
 * a tensor of a known type has exactly the bytes that its shape needs; of an unknown type it ends
   where the next one starts. Bytes between tensors are padding and belong to nobody.

The header is said to end where the data may start, so that its padding is part of it.

>>> head = b"GGUF" + struct.pack("<IQQ", 3, 1, 0)
>>> info = struct.pack("<Q", 1) + b"a" + struct.pack("<IQIQ", 1, 5, 0, 0)
>>> parse(head + info + bytes(7), size=64 + 20)
Header(format='gguf', length=64, tensors=(Tensor(name='a', dtype='F32', shape=(5,), start=64, \
stop=84),))
>>> parse(head, size=64 + 20)
More(total=84)
"""

import struct
from typing import Final

from p2phub.errors import MalformedError
from p2phub.formats.digest import Data
from p2phub.formats.limits import (
    MAX_ALIGNMENT,
    MAX_ARRAY_DEPTH,
    MAX_DIMENSIONS,
    MAX_HEADER,
    MAX_METADATA,
    MAX_TENSOR_NAME,
    MIB,
    MIN_TENSOR_INFO,
)
from p2phub.formats.tensors import (
    Header,
    More,
    Tensor,
    check_count,
    elements,
    in_order,
)

MAGIC: Final = b"GGUF"
_VERSIONS = (2, 3)
_DEFAULT_ALIGNMENT = 32
_STEP = 4 * MIB
"""How much more is asked for when a header turns out to be longer than what was given."""

_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")
_TEXT, _ARRAY, _UINT32 = 8, 9, 4
_FIXED = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Value type → bytes, of the types that all have one length."""

TYPES = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22), 7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34),
    10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110), 12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210), 15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66), 17: ("IQ2_XS", 256, 74), 18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50), 20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82), 23: ("IQ4_XS", 256, 136), 24: ("I8", 1, 1), 25: ("I16", 1, 2),
    26: ("I32", 1, 4), 27: ("I64", 1, 8), 28: ("F64", 1, 8), 29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2), 34: ("TQ1_0", 256, 54), 35: ("TQ2_0", 256, 66), 39: ("MXFP4", 32, 17),
}  # fmt: skip
"""ggml type → name, elements of a block, bytes of a block. What forks number differently is left
out: such a tensor ends where the next one starts."""


def is_gguf(prefix: Data) -> bool:
    return bytes(prefix[:4]) == MAGIC


def parse(prefix: Data, size: int) -> Header | More:
    """The header of a file of `size` bytes that begins with `prefix`; `More` if it is cut short.

    Raises `MalformedError` if this is not a well-formed GGUF file.
    """
    reader = Reader(prefix, min(size, MAX_HEADER))
    try:
        return _parse(reader, size)
    except CutShortError as short:
        wanted = max(short.total, len(prefix) + max(_STEP, len(prefix) // 2))
        return More(min(wanted, reader.limit))


class CutShortError(Exception):
    """The header goes on after what was given, up to byte `total` at least."""

    def __init__(self, total: int) -> None:
        super().__init__(total)
        self.total = total


class Reader:
    """A place in the header, which moves forward only."""

    def __init__(self, data: Data, limit: int) -> None:
        self.data, self.limit = memoryview(data), limit
        self.at = 0

    def skip(self, length: int) -> int:
        """Step over `length` bytes; where they start."""
        start, end = self.at, self.at + length
        if end > self.limit:
            raise MalformedError("a GGUF header that goes on beyond its file or its limit")
        if end > len(self.data):
            raise CutShortError(end)
        self.at = end
        return start

    def u32(self) -> int:
        value: int = _U32.unpack_from(self.data, self.skip(4))[0]
        return value

    def u64(self) -> int:
        value: int = _U64.unpack_from(self.data, self.skip(8))[0]
        return value

    def count(self, at_least: int) -> int:
        """A number of things that take `at_least` bytes each, once the header may hold them."""
        count = self.u64()
        if self.at + count * at_least > self.limit:
            raise MalformedError(f"a GGUF header that promises {count} things it cannot hold")
        return count

    def text(self) -> str:
        length = self.u64()
        if length > MAX_TENSOR_NAME:
            raise MalformedError(f"a name of {length} bytes in a GGUF header")
        start = self.skip(length)
        try:
            return str(self.data[start : self.at], "utf-8")
        except UnicodeDecodeError as error:
            raise MalformedError("a name in a GGUF header is not UTF-8") from error

    def skip_texts(self, count: int) -> None:
        """Step over texts: a vocabulary has hundreds of thousands, so this loop is a tight one."""
        unpack, data, at = _U64.unpack_from, self.data, self.at
        last = len(data) - 8
        for _ in range(count):
            if at > last:
                break
            at += 8 + unpack(data, at)[0]
        else:
            self.skip(at - self.at)
            return
        self.skip(at + 8 - self.at)


def _parse(reader: Reader, size: int) -> Header:
    if bytes(reader.data[reader.skip(4) : 4]) != MAGIC:
        raise MalformedError("this does not begin as a GGUF file does")
    version = reader.u32()
    if version not in _VERSIONS:
        raise MalformedError(f"GGUF version {version} is not known here")
    tensor_count, pair_count = reader.count(MIN_TENSOR_INFO), reader.count(13)
    check_count(tensor_count)
    if pair_count > MAX_METADATA:
        raise MalformedError(f"{pair_count} metadata keys; {MAX_METADATA} is the most")
    alignment = _alignment(reader, pair_count)
    infos = [_info(reader) for _ in range(tensor_count)]
    if len({name for name, _, _, _ in infos}) != tensor_count:
        raise MalformedError("a GGUF header names one tensor twice")
    start = min(reader.at + -reader.at % alignment, reader.limit)
    reader.skip(start - reader.at)
    tensors = _tensors(infos, start, size, alignment)
    return Header("gguf", start, in_order(tensors, start, size))


def _alignment(reader: Reader, pairs: int) -> int:
    """Step over the key-value pairs; what they say of the alignment."""
    alignment, keys = _DEFAULT_ALIGNMENT, set()
    for _ in range(pairs):
        key, kind, start = reader.text(), reader.u32(), reader.at
        keys.add(key)
        skip_value(reader, kind, 0)
        if key != "general.alignment":
            continue
        if kind != _UINT32:
            raise MalformedError("general.alignment is not a u32")
        alignment = _U32.unpack_from(reader.data, start)[0]
    if len(keys) != pairs:
        raise MalformedError("a GGUF header gives one key twice")
    if alignment not in range(1, MAX_ALIGNMENT + 1) or alignment & (alignment - 1):
        raise MalformedError(f"{alignment} bytes is no alignment")
    return alignment


def skip_value(reader: Reader, kind: int, depth: int) -> None:
    if kind in _FIXED:
        reader.skip(_FIXED[kind])
    elif kind == _TEXT:
        reader.skip(reader.u64())
    elif kind == _ARRAY:
        _skip_array(reader, depth + 1)
    else:
        raise MalformedError(f"there is no GGUF value type {kind}")


def _skip_array(reader: Reader, depth: int) -> None:
    if depth > MAX_ARRAY_DEPTH:
        raise MalformedError(f"GGUF arrays more than {MAX_ARRAY_DEPTH} deep")
    kind = reader.u32()
    if kind in _FIXED:
        reader.skip(_FIXED[kind] * reader.u64())
    elif kind == _TEXT:
        reader.skip_texts(reader.count(8))
    else:
        for _ in range(reader.count(12)):
            skip_value(reader, kind, depth)


_Info = tuple[str, int, tuple[int, ...], int]
"""Name, ggml type, shape, offset."""


def _info(reader: Reader) -> _Info:
    name, dimensions = reader.text(), reader.u32()
    if dimensions > MAX_DIMENSIONS:
        raise MalformedError(f"tensor {name!r} has {dimensions} dimensions")
    shape = tuple(reader.u64() for _ in range(dimensions))
    return name, reader.u32(), shape, reader.u64()


def _tensors(infos: list[_Info], base: int, size: int, alignment: int) -> list[Tensor]:
    """The tensors of these infos, each with the bytes it has in the file."""
    starts = sorted({base + offset for _, _, _, offset in infos})
    next_start = dict(zip(starts, [*starts[1:], size], strict=False))
    tensors = []
    for name, kind, shape, offset in infos:
        if offset % alignment:
            raise MalformedError(f"tensor {name!r} is not aligned to {alignment} bytes")
        count = elements(name, shape)
        dtype, block, block_bytes = TYPES.get(kind, (f"type {kind}", 1, 0))
        if count % block or (shape and shape[0] % block):
            raise MalformedError(f"tensor {name!r} of {dtype} is not made of whole blocks")
        start = base + offset
        stop = start + count // block * block_bytes if kind in TYPES else next_start[start]
        tensors.append(Tensor(name, dtype, shape, start, stop))
    return tensors
