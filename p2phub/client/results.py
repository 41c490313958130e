"""What a node answers, as frozen dataclasses. Sizes are bytes, times unix seconds, rates bytes/s.

The node's own values are not imported here: the client talks to nodes of other versions, so a key
it does not know is skipped, and one that an older node does not send takes its default.

>>> read(Pin, {"alias": "lab", "publisher_id": "b" * 52, "added_later": 1}).alias
'lab'
"""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

from p2phub.errors import GarbageError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a node is."""

    peer_id: str
    publisher_id: str | None = None
    alias: str | None = None
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Status:
    """What a node is doing now."""

    peers: int
    repos: int
    bytes: int
    """Of all files held."""
    transfers: int
    up_rate: float
    down_rate: float
    announce_lag: float
    """Seconds that the oldest announcement not yet made has waited."""
    peer_id: str = ""
    data_address: str | None = None
    host_restarts: int = 0
    up_limit: int = 0
    """Bytes a second that may be sent now; 0 is no limit."""
    down_limit: int = 0
    """Bytes a second that may be fetched now; 0 is no limit."""
    up_limit_per_peer: int = 0
    """Bytes a second that may be sent to one peer now; 0 is no limit."""
    down_limit_per_peer: int = 0
    """Bytes a second that may be fetched from one source now; 0 is no limit."""
    uptime: float = 0.0
    """Seconds."""


@dataclass(frozen=True, slots=True)
class PeerInfo:
    """A connected peer."""

    peer_id: str
    addresses: tuple[str, ...] = ()
    agent: str | None = None
    direct: bool = False
    """Whether bulk bytes need no libp2p stream."""


@dataclass(frozen=True, slots=True)
class Published:
    """A release that is signed and being announced."""

    ref: str
    commit: str
    digest: str
    publisher_id: str
    files: int
    bytes: int
    bytes_hashed: int


@dataclass(frozen=True, slots=True)
class SourceShare:
    """What one source gave to a pull."""

    name: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Pulled:
    """A release whose wanted files are here and verified."""

    ref: str
    commit: str
    path: Path
    verdict: str
    bytes_total: int
    bytes_fetched: int
    bytes_linked: int
    seconds: float
    sources: int
    shares: tuple[SourceShare, ...] = ()


@dataclass(frozen=True, slots=True)
class Hit:
    """One repo that a search found."""

    ref: str
    commit: str
    task: str | None
    license: str | None
    library: str | None
    bytes: int
    verdict: str
    kind: str = "model"
    tags: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    created: int = 0
    publisher_id: str = ""


@dataclass(frozen=True, slots=True)
class RefInfo:
    """A ref or tag, and the commit it names."""

    name: str
    commit: str
    tag: bool = False


@dataclass(frozen=True, slots=True)
class RepoInfo:
    """One release, and what is known about its repo."""

    ref: str
    commit: str
    digest: str
    publisher_id: str
    kind: str
    verdict: str
    stale_since: int | None
    created: int
    message: str
    files: int
    bytes: int
    here: str
    """`complete`, `partial` or `none`."""
    path: Path | None = None
    task: str | None = None
    license: str | None = None
    library: str | None = None
    languages: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    base: tuple[str, ...] = ()
    refs: tuple[RefInfo, ...] = ()
    commits: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RepoRow:
    """A repo held on the node's disk."""

    ref: str
    commit: str
    kind: str
    verdict: str
    here: str
    files: int
    bytes: int
    bytes_here: int


@dataclass(frozen=True, slots=True)
class Named:
    """Which release a reference names now."""

    ref: str
    commit: str
    publisher_id: str = ""
    verdict: str = ""


@dataclass(frozen=True, slots=True)
class PartHere:
    """The pieces that hold some byte ranges of a file are on the node's disk."""

    ref: str
    commit: str
    path: str
    size: int
    """Bytes of the whole file."""
    bytes_fetched: int = 0
    bytes_linked: int = 0


@dataclass(frozen=True, slots=True)
class FileRow:
    """A file of a release."""

    path: str
    size: int
    sha256: str
    """Hex; a claim of the publisher until `sha256_checked`."""
    sha256_checked: bool
    content: str
    here: str


@dataclass(frozen=True, slots=True)
class StepTaken:
    """One numbered step of a verification."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Verification:
    """What `verify` found for one release."""

    ref: str
    verdict: str
    stale_since: int | None
    steps: tuple[StepTaken, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether every step held."""
        return all(step.ok for step in self.steps)


@dataclass(frozen=True, slots=True)
class Removed:
    """What dropping a release gave back."""

    ref: str
    bytes_freed: int


@dataclass(frozen=True, slots=True)
class Pin:
    """An alias and the publisher it names."""

    alias: str
    publisher_id: str


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a pull or a publication is."""

    bytes_done: int
    bytes_total: int
    rate: float = 0.0
    sources: int = 0


def read(shape: type[T], data: object) -> T:
    """`data` as the dataclass `shape`. Raises `GarbageError` if a key is missing."""
    if not isinstance(data, Mapping):
        raise GarbageError(f"a node answered with something that is no {shape.__name__}")
    hints, values = get_type_hints(shape), dict[str, Any]()
    for each in fields(cast(Any, shape)):
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
    if get_origin(hint) is tuple and isinstance(value, list):
        item: Any = get_args(hint)[0]
        return tuple(read_list(item, value)) if _is_shape(item) else tuple(value)
    return value


def _is_shape(hint: object) -> bool:
    return isinstance(hint, type) and is_dataclass(hint)
