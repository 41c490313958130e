"""Canonical msgpack: one value, one spelling.

Maps have text keys in ascending order, integers and lengths are as short as they can be, text is in
Unicode's NFC, bytes are bin; there are no floats, no extension types and no duplicate keys, and
nothing is nested deeper than `MAX_DEPTH`. `decode` accepts bytes only if encoding the value again
gives the same bytes, so that a digest of the bytes is a digest of the value. `encode` sorts keys
and normalises text by itself. What a value means is the business of `p2phub.formats.documents` and
`messages`.

>>> encode({"b": 1, "a": [b"x", True]})
b'\\x82\\xa1a\\x92\\xc4\\x01x\\xc3\\xa1b\\x01'
>>> decode(encode({"a": -1}), limit=100)
{'a': -1}
>>> decode(b"\\xcc\\x01", limit=100)
Traceback (most recent call last):
...
p2phub.errors.MalformedError: not canonical: the same value has a shorter spelling
"""

from collections.abc import Mapping, Sequence
from typing import Any
from unicodedata import is_normalized, normalize

import msgpack

from p2phub.errors import MalformedError
from p2phub.formats.limits import MAX_DEPTH, MAX_ITEMS, MAX_LIST

Value = None | bool | int | str | bytes | Sequence["Value"] | Mapping[str, "Value"]
"""What canonical msgpack can say. `decode` gives `list` and `dict`; `encode` takes tuples too."""


def encode(value: Value) -> bytes:
    """The one spelling of `value`. Raises `MalformedError` for what has none, such as a float."""
    try:
        packed = msgpack.packb(_canonical(value, 0), use_bin_type=True)
    except (OverflowError, ValueError) as error:
        raise MalformedError(f"this cannot be written in msgpack: {error}") from error
    assert isinstance(packed, bytes)
    return packed


def decode(data: bytes, *, limit: int) -> Value:
    """The value that `data`, at most `limit` bytes, spells.

    Raises `MalformedError` for anything that is not canonical.
    """
    if len(data) > limit:
        raise MalformedError(f"{len(data)} bytes, where at most {limit} are allowed")
    counter = _Counter()
    longest = min(len(data), MAX_LIST)
    try:
        value = msgpack.unpackb(
            data,
            raw=False,
            strict_map_key=True,
            object_pairs_hook=counter.finish_map,
            list_hook=counter.finish_list,
            max_array_len=longest,
            max_map_len=longest,
            max_str_len=len(data),
            max_bin_len=len(data),
            max_ext_len=0,
        )
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise MalformedError(f"not msgpack: {str(error) or type(error).__name__}") from error
    _check(value, 0)
    if msgpack.packb(value, use_bin_type=True) != data:
        raise MalformedError("not canonical: the same value has a shorter spelling")
    checked: Value = value
    return checked


class _Counter:
    """Called by msgpack for each finished map and list, so that too many items stop it halfway."""

    def __init__(self) -> None:
        self._items = 0

    def _count(self, items: int) -> None:
        self._items += items + 1
        if self._items > MAX_ITEMS:
            raise MalformedError(f"more than {MAX_ITEMS} items in one document")

    def finish_list(self, items: list[Any]) -> list[Any]:
        self._count(len(items))
        return items

    def finish_map(self, pairs: list[tuple[Any, Any]]) -> dict[str, Any]:
        self._count(len(pairs))
        last: str | None = None
        for key, _ in pairs:
            if not isinstance(key, str):
                raise MalformedError("a map key that is not text")
            if last is not None and key <= last:
                raise MalformedError(f"map keys out of order or twice: {last!r}, then {key!r}")
            last = key
        return dict(pairs)


def _check(value: object, depth: int) -> None:
    """Refuse what msgpack can say and canonical msgpack cannot."""
    if isinstance(value, str):
        if not value.isascii() and not is_normalized("NFC", value):
            raise MalformedError(f"text that is not in NFC: {value[:40]!r}")
    elif isinstance(value, dict):
        _check_depth(depth)
        for key, item in value.items():
            _check(key, depth)
            _check(item, depth + 1)
    elif isinstance(value, list):
        _check_depth(depth)
        for item in value:
            _check(item, depth + 1)
    elif not (value is None or isinstance(value, bytes | int)):
        raise MalformedError(
            f"a value of a kind that documents do not have: {type(value).__name__}"
        )


def _canonical(value: object, depth: int) -> object:
    """`value` with sorted keys and text in NFC."""
    if isinstance(value, str):
        return value if value.isascii() else normalize("NFC", value)
    if isinstance(value, bytes | int) or value is None:
        return value
    if isinstance(value, Mapping):
        _check_depth(depth)
        return _canonical_map(value, depth)
    if isinstance(value, list | tuple):
        _check_depth(depth)
        return [_canonical(item, depth + 1) for item in value]
    raise MalformedError(f"a value of a kind that documents do not have: {type(value).__name__}")


def _canonical_map(value: Mapping[Any, Any], depth: int) -> dict[str, object]:
    result: dict[str, object] = {}
    for key in value:
        if not isinstance(key, str):
            raise MalformedError(f"a map key that is not text: {key!r}")
        normal = key if key.isascii() else normalize("NFC", key)
        if normal in result:
            raise MalformedError(f"two map keys that are one in NFC: {normal!r}")
        result[normal] = _canonical(value[key], depth + 1)
    return dict(sorted(result.items()))


def _check_depth(depth: int) -> None:
    if depth >= MAX_DEPTH:
        raise MalformedError(f"nested more than {MAX_DEPTH} deep")
