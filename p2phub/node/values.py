"""What people and programs ask of a node, what it answers, and what it tells them on the way.

Requests go in, results come out, events (`events`) are reported while something long goes on. All
are frozen; sizes are bytes, times unix seconds, rates bytes a second. `as_json` turns any of them
into the JSON that the command line and the control API promise: the field names here *are* those
keys, so renaming one breaks the programs that read it, and adding one breaks nobody. References
(`ref`) are text as people type them, `publisher/name@revision`; inside the node they are
`formats.ids.Reference`.

This module knows shapes only. Who fills them is in the other modules of `node`; how they travel is
the gateway's.

>>> as_json(Progress(bytes_done=5, bytes_total=10, rate=2.5, sources=1))
{'event': 'progress', 'bytes_done': 5, 'bytes_total': 10, 'rate': 2.5, 'sources': 1}
>>> as_json(PublishRequest(folder=Path("model"), name="minilm"))["folder"]
'model'
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Literal

from p2phub.node.events import (
    Event,
    FileDone,
    FilesDone,
    Planned,
    Progress,
    Report,
    Resolved,
    Verifying,
    Warned,
)
from p2phub.node.status import Status

__all__ = [
    "Event",
    "FileDone",
    "FileRow",
    "FilesDone",
    "Here",
    "Hit",
    "Identity",
    "Json",
    "Kind",
    "PeerInfo",
    "Pin",
    "Planned",
    "Progress",
    "PublishRequest",
    "Published",
    "PullRequest",
    "Pulled",
    "RefInfo",
    "Removed",
    "RepoInfo",
    "RepoRow",
    "Report",
    "Resolved",
    "SearchQuery",
    "Sort",
    "SourceShare",
    "Status",
    "StepTaken",
    "Verification",
    "Verifying",
    "Warned",
    "as_json",
]

Kind = Literal["model", "dataset", "space"]
Sort = Literal["relevance", "name", "size", "updated"]
Here = Literal["complete", "partial", "none"]

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


# ---------------------------------------------------------------- requests


@dataclass(frozen=True, slots=True)
class PublishRequest:
    """Publish a folder as a new release of `name`, signed by this node's publisher."""

    folder: Path
    """The folder whose files are published, or a manifest of Ollama's; absolute when it comes over
    HTTP."""
    name: str
    """The repo, without a publisher: one can only publish as oneself."""
    message: str = ""
    """What changed, one sentence for people."""
    tag: str | None = None
    """Also point this tag at the release; None moves `main` only."""
    kind: Kind = "model"
    """What the repo holds."""
    sign_with: str | None = None
    """The name of the release key to sign with; None takes the node's own."""
    in_place: bool = False
    """Keep no copy: the files are given out from where they lie, as long as they do not change."""
    rehash: bool = False
    """Read every byte, also of files that look unchanged since they were last read."""
    seeds: tuple[str, ...] = ()
    """Web servers that have these files too, as `p2phub.protocol.seeds` writes them."""


@dataclass(frozen=True, slots=True)
class PullRequest:
    """Fetch and verify one release, or some of its files."""

    reference: str
    """What to fetch: `[publisher/]name[@revision]` or `p2p://…`."""
    to: Path | None = None
    """A folder of the caller's own, for writable copies; None gives the read-only snapshot."""
    include: tuple[str, ...] = ()
    """Globs; a file is fetched if any matches. Empty means every file (pickles left out)."""
    exclude: tuple[str, ...] = ()
    """Glob patterns; a file is left out if any matches, whatever `include` says."""


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """Look in the local catalog. Every filter that is given must hold."""

    text: str = ""
    """Words to find in names, tags and descriptions; empty lists everything."""
    task: str | None = None
    """For example `feature-extraction`, as the card says it."""
    library: str | None = None
    """For example `transformers`."""
    license: str | None = None
    """For example `apache-2.0`."""
    language: str | None = None
    """For example `en`."""
    publisher: str | None = None
    """An alias or a full publisher id."""
    max_size: int | None = None
    """Bytes; larger releases are left out."""
    sort: Sort = "relevance"
    """The order of the hits."""
    limit: int = 50
    """At most this many hits."""


# ---------------------------------------------------------------- results


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this node is."""

    peer_id: str
    publisher_id: str | None
    """None before `init` made a publisher."""
    alias: str | None
    """What this node calls its own publisher."""
    addresses: tuple[str, ...] = ()
    """Full multiaddrs, `/p2p/<peer id>` included; empty while no node runs."""


@dataclass(frozen=True, slots=True)
class PeerInfo:
    """A connected peer."""

    peer_id: str
    addresses: tuple[str, ...]
    agent: str | None = None
    """The program and version it says it runs; a claim."""
    direct: bool = False
    """Whether its data port was reached, so that bulk bytes need no libp2p stream."""


@dataclass(frozen=True, slots=True)
class Published:
    """A release that our own gate accepted and that is being announced."""

    ref: str
    commit: str
    """The first 40 hex digits of the release digest."""
    digest: str
    """SHA-256 of the release payload, hex."""
    publisher_id: str
    files: int
    bytes: int
    """Total size of the files."""
    bytes_hashed: int
    """Bytes read and hashed for this; the rest was known."""


@dataclass(frozen=True, slots=True)
class SourceShare:
    """What one source gave to a pull."""

    name: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Pulled:
    """A release whose wanted files are all here and verified."""

    ref: str
    commit: str
    path: Path
    """The folder: the snapshot, or the one that was asked for."""
    verdict: str
    bytes_total: int
    bytes_fetched: int
    """Bytes that came from sources."""
    bytes_linked: int
    """Bytes that were already here."""
    seconds: float
    sources: int
    """How many sources gave bytes."""
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
    kind: Kind = "model"
    tags: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    created: int = 0
    """Unix seconds, as the publisher says."""
    publisher_id: str = ""


@dataclass(frozen=True, slots=True)
class RefInfo:
    """A ref or tag of a repo, and the commit it names."""

    name: str
    commit: str
    tag: bool = False


@dataclass(frozen=True, slots=True)
class RepoInfo:
    """One release of a repo and what is known about the repo."""

    ref: str
    commit: str
    digest: str
    publisher_id: str
    kind: Kind
    verdict: str
    stale_since: int | None
    """Unix seconds; None while fresh."""
    created: int
    """Unix seconds, as the publisher says."""
    message: str
    files: int
    bytes: int
    here: Here
    """How much of it is on this disk."""
    path: Path | None = None
    """The snapshot, where there is one."""
    task: str | None = None
    license: str | None = None
    library: str | None = None
    languages: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    base: tuple[str, ...] = ()
    """What it was made from, as the publisher says."""
    refs: tuple[RefInfo, ...] = ()
    commits: tuple[str, ...] = ()
    """Every known commit of the repo, newest first."""


@dataclass(frozen=True, slots=True)
class RepoRow:
    """A repo held on this disk: one line of `ls`."""

    ref: str
    commit: str
    kind: Kind
    verdict: str
    here: Here
    files: int
    bytes: int
    """Total size of the release."""
    bytes_here: int
    """Verified bytes on this disk."""


@dataclass(frozen=True, slots=True)
class FileRow:
    """A file of a release: one line of `ls REF`."""

    path: str
    """Parts joined by `/`, for people."""
    size: int
    sha256: str
    """Hex; the publisher's claim until `sha256_checked`."""
    sha256_checked: bool
    """Whether this node hashed the whole file itself."""
    content: str
    """The content id, `size-hex`."""
    here: Here


@dataclass(frozen=True, slots=True)
class StepTaken:
    """One numbered step of a verification."""

    name: str
    ok: bool
    detail: str
    """What was compared; names the file where a file is wrong."""


@dataclass(frozen=True, slots=True)
class Verification:
    """What `verify` found for one release."""

    ref: str
    verdict: str
    stale_since: int | None
    """Unix seconds; None while fresh."""
    steps: tuple[StepTaken, ...]

    @property
    def ok(self) -> bool:
        """Whether every step held: the exit code of `verify` is 4 when one did not."""
        return all(step.ok for step in self.steps)


@dataclass(frozen=True, slots=True)
class Removed:
    """What `rm` gave back to the disk."""

    ref: str
    bytes_freed: int


@dataclass(frozen=True, slots=True)
class Pin:
    """An alias and the publisher it names on this machine."""

    alias: str
    publisher_id: str


def as_json(value: object) -> dict[str, Json]:
    """A value or an event as the JSON object that programs rely on; an event names itself first."""
    if not is_dataclass(value) or isinstance(value, type):
        raise TypeError(f"{value!r} is not one of the values of this module")
    head: dict[str, Json] = {}
    if isinstance(kind := getattr(value, "event", None), str):
        head["event"] = kind
    return head | {f.name: _plain(getattr(value, f.name)) for f in fields(value)}


def _plain(value: object) -> Json:
    match value:
        case None | bool() | int() | float() | str():
            return value
        case Path():
            return str(value)
        case Mapping():
            return {str(key): _plain(item) for key, item in value.items()}
        case Sequence():
            return [_plain(item) for item in value]
        case _:
            return as_json(value)
