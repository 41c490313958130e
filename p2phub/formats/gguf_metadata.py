"""What a GGUF file says of its model: the key-value pairs of its header.

`gguf` steps over them; here they are read, for whoever has to know the architecture or the length
of the context. Rules it keeps:
 * short values only: a text of up to 64 KiB, and an array of numbers as long as a model has layers;
 * of any other array only its length is kept, which is what a vocabulary is asked for.

>>> pair = struct.pack("<Q", 9) + b"llama.dim" + struct.pack("<II", 4, 7)
>>> read(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + pair, size=64)
{'llama.dim': 7}
"""

import struct
from collections.abc import Mapping
from typing import Final

from p2phub.errors import MalformedError
from p2phub.formats.digest import Data
from p2phub.formats.gguf import MAGIC, CutShortError, Reader, skip_value
from p2phub.formats.limits import MAX_HEADER, MAX_METADATA
from p2phub.formats.tensors import More

Value = str | int | float | bool | tuple[int | float | bool, ...]
MAX_TEXT: Final = 64 << 10
"""Bytes of a text that is kept."""
MAX_ARRAY: Final = 1024
"""Numbers of an array that is kept; of a longer one, and of one of texts, its length is."""
_TEXT, _ARRAY = 8, 9
_NUMBERS: Final = {
    0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d",
}  # fmt: skip


def read(prefix: Data, size: int) -> Mapping[str, Value] | More:
    """The pairs of a file of `size` bytes that begins with `prefix`; `More` if it is cut short.

    Raises `MalformedError` if this is not a well-formed GGUF file.
    """
    reader = Reader(prefix, min(size, MAX_HEADER))
    try:
        return _read(reader)
    except CutShortError as short:
        return More(min(max(short.total, 2 * len(prefix)), reader.limit))


def _read(reader: Reader) -> dict[str, Value]:
    if bytes(reader.data[reader.skip(4) : 4]) != MAGIC:
        raise MalformedError("this does not begin as a GGUF file does")
    reader.skip(4 + 8)
    pairs = reader.count(13)
    if pairs > MAX_METADATA:
        raise MalformedError(f"{pairs} metadata keys; {MAX_METADATA} is the most")
    found: dict[str, Value] = {}
    for _ in range(pairs):
        key, kind = reader.text(), reader.u32()
        value = _value(reader, kind)
        if value is not None:
            found[key] = value
    return found


def _value(reader: Reader, kind: int) -> Value | None:
    start = reader.at
    if kind == _ARRAY:
        return _array(reader, start)
    skip_value(reader, kind, 0)
    if kind in _NUMBERS:
        number: int | float | bool = struct.unpack_from("<" + _NUMBERS[kind], reader.data, start)[0]
        return number
    if reader.at - start - 8 > MAX_TEXT:
        return None
    return str(reader.data[start + 8 : reader.at], "utf-8", "replace")


def _array(reader: Reader, start: int) -> Value:
    kind, count = reader.u32(), reader.u64()
    reader.at = start
    skip_value(reader, _ARRAY, 0)
    if kind not in _NUMBERS or count > MAX_ARRAY:
        return count
    return struct.unpack_from(f"<{count}{_NUMBERS[kind]}", reader.data, start + 12)
