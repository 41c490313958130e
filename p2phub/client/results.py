"""What a node answers, read from JSON into the values of `p2phub/results.py`.

The node may be of another version: a key that is not known here is skipped, and one that an older
node does not send takes its default.

>>> read(Pin, {"alias": "lab", "publisher_id": "b" * 52, "added_later": 1}).alias
'lab'
"""

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

from p2phub.errors import GarbageError
from p2phub.results import (
    FileRow,
    Hit,
    Identity,
    Named,
    PartHere,
    PeerInfo,
    Pending,
    Pin,
    Progress,
    Proposal,
    Published,
    Pulled,
    RefInfo,
    Removed,
    RepoInfo,
    RepoRow,
    SourceShare,
    Status,
    StepTaken,
    Verification,
)

__all__ = [
    "FileRow",
    "Hit",
    "Identity",
    "Named",
    "PartHere",
    "PeerInfo",
    "Pending",
    "Pin",
    "Progress",
    "Proposal",
    "Published",
    "Pulled",
    "RefInfo",
    "Removed",
    "RepoInfo",
    "RepoRow",
    "SourceShare",
    "Status",
    "StepTaken",
    "Verification",
    "read",
    "read_list",
]

T = TypeVar("T")


def read(shape: type[T], data: object) -> T:
    """`data` as the dataclass `shape`. Raises `GarbageError` if a key is missing."""
    if not isinstance(data, Mapping):
        raise GarbageError(f"a node answered with something that is no {shape.__name__}")
    wanted, values = cast(Any, shape), dict[str, Any]()
    hints = _hints(wanted)
    for each in fields(wanted):
        if each.name in data:
            values[each.name] = _value(hints[each.name], data[each.name])
        elif each.default is MISSING:
            raise GarbageError(f'a node answered with a {shape.__name__} without "{each.name}"')
    return shape(**values)


def read_list(shape: type[T], data: object) -> list[T]:
    """A list of `shape`. Raises `GarbageError`."""
    if not isinstance(data, list):
        raise GarbageError(f"a node answered with something that is no list of {shape.__name__}")
    return [read(shape, each) for each in data]


def _value(hint: Any, value: Any) -> object:
    if hint is Path or (Path in get_args(hint) and value is not None):
        return Path(str(value))
    part = next((each for each in get_args(hint) if _is_shape(each)), None)
    if part is not None and isinstance(value, Mapping):
        return read(part, value)
    if get_origin(hint) is tuple and isinstance(value, list):
        item: Any = get_args(hint)[0]
        return tuple(read_list(item, value)) if _is_shape(item) else tuple(value)
    return value


@cache
def _hints(shape: type) -> Mapping[str, Any]:
    return get_type_hints(shape)


def _is_shape(hint: object) -> bool:
    return isinstance(hint, type) and is_dataclass(hint)
