"""The header of a safetensors file: which bytes are which tensor.

8 bytes of length (little-endian), then a JSON object: tensor name → dtype, shape and the offsets
of its bytes in what follows; `__metadata__` maps text to text. Rules it keeps:
 * a duplicate key is refused, because readers disagree on which one counts;
 * the tensors cover the rest of the file without a hole or an overlap, as the format demands;
 * a known dtype and the shape give the exact number of bytes; an unknown dtype only has to be sane;
 * the header is at most 100 MB, and its commas are counted before it is parsed, so that it cannot
   unfold into far more memory than it has bytes.

>>> head = b'{"a":{"dtype":"F16","shape":[3],"data_offsets":[0,6]}}'
>>> parse(len(head).to_bytes(8, "little") + head, size=8 + len(head) + 6)
Header(format='safetensors', length=62, tensors=(Tensor(name='a', dtype='F16', shape=(3,), \
start=62, stop=68),))
>>> parse(len(head).to_bytes(8, "little") + head[:5], size=8 + len(head) + 6)
More(total=62)
"""

import json
from typing import Any, NoReturn

from p2phub.errors import MalformedError
from p2phub.formats.digest import Data
from p2phub.formats.limits import MAX_HEADER, MAX_HEADER_ITEMS
from p2phub.formats.tensors import (
    Header,
    More,
    Tensor,
    check_count,
    elements,
    in_order,
)

DTYPE_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "I16": 16, "U16": 16, "I32": 32, "U32": 32, "I64": 64, "U64": 64,
    "F64": 64, "F32": 32, "F16": 16, "BF16": 16, "C64": 64,
    "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4,
}  # fmt: skip


def is_safetensors(prefix: Data) -> bool:
    """Whether these 9 bytes could begin a safetensors file."""
    return len(prefix) >= 9 and prefix[8] == 0x7B and 2 <= _stated_length(prefix) <= MAX_HEADER


def parse(prefix: Data, size: int) -> Header | More:
    """The header of a file of `size` bytes that begins with `prefix`; `More` if it is cut short.

    Raises `MalformedError` if this is not a well-formed safetensors file.
    """
    if len(prefix) < 9:
        raise MalformedError("a file of under 9 bytes is no safetensors file")
    if not is_safetensors(prefix):
        raise MalformedError("this does not begin as a safetensors file does")
    length = 8 + _stated_length(prefix)
    if length > size:
        raise MalformedError(f"a header of {length} bytes in a file of {size} bytes")
    if len(prefix) < length:
        return More(length)
    entries = _read_json(bytes(prefix[8:length]))
    _check_metadata(entries.pop("__metadata__", {}))
    check_count(len(entries))
    tensors = in_order(
        (_tensor(name, entry, length) for name, entry in entries.items()), length, size
    )
    _check_no_holes(tensors, length, size)
    return Header("safetensors", length, tensors)


def _stated_length(prefix: Data) -> int:
    return int.from_bytes(prefix[:8], "little")


def _read_json(header: bytes) -> dict[str, Any]:
    if header.count(b",") > MAX_HEADER_ITEMS:
        raise MalformedError(f"a safetensors header of more than {MAX_HEADER_ITEMS} items")
    try:
        entries = json.loads(
            header.decode(), object_pairs_hook=_without_duplicates, parse_constant=_refuse
        )
        "".join(entries).encode()
    except (ValueError, RecursionError) as error:
        raise MalformedError(f"a safetensors header that is not proper JSON: {error}") from error
    assert isinstance(entries, dict)  # the first byte was a brace
    return entries


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) != len(pairs):
        raise MalformedError("a safetensors header names one thing twice")
    return entries


def _refuse(constant: str) -> NoReturn:
    raise MalformedError(f"{constant} is not JSON")


def _check_metadata(metadata: object) -> None:
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise MalformedError("the metadata of a safetensors file is text to text")


def _tensor(name: str, entry: object, header: int) -> Tensor:
    """The tensor that one entry of the header describes."""
    if not isinstance(entry, dict):
        raise MalformedError(f"tensor {name!r} is not described by an object")
    dtype, offsets, shape = (entry.pop(key, None) for key in ("dtype", "data_offsets", "shape"))
    if any(isinstance(value, (dict, list)) for value in entry.values()):
        raise MalformedError(f"tensor {name!r} has a nested attribute that the format lacks")
    if not isinstance(dtype, str) or not _naturals(shape) or not _naturals(offsets):
        raise MalformedError(f"tensor {name!r} lacks a proper dtype, shape or data_offsets")
    if len(offsets) != 2 or offsets[0] > offsets[1]:
        raise MalformedError(f"tensor {name!r} has the offsets {offsets}")
    bits = elements(name, shape) * DTYPE_BITS.get(dtype, 0)
    if dtype in DTYPE_BITS and bits != 8 * (offsets[1] - offsets[0]):
        raise MalformedError(f"tensor {name!r} of {dtype} {shape} does not fill its bytes")
    return Tensor(name, dtype, tuple(shape), header + offsets[0], header + offsets[1])


def _naturals(value: object) -> bool:
    return isinstance(value, list) and all(type(item) is int and item >= 0 for item in value)


def _check_no_holes(tensors: tuple[Tensor, ...], header: int, size: int) -> None:
    """Refuse bytes that belong to no tensor: they could carry anything unseen."""
    end = header
    for tensor in tensors:
        if tensor.start != end:
            raise MalformedError(f"a hole of {tensor.start - end} bytes before {tensor.name!r}")
        end = tensor.stop
    if end != size:
        raise MalformedError(f"{size - end} bytes after the last tensor")
