"""What people and programs ask of a node, what it answers, and what it tells them on the way.

Requests go in, results (`p2phub/results.py`) come out, events (`events`) are reported while
something long goes on. All are frozen; sizes are bytes, times unix seconds, rates bytes a second.
`as_json` turns any of them into the JSON that the command line and the control API promise: the
field names *are* those keys, so renaming one breaks the programs that read it, and adding one
breaks nobody. References (`ref`) are text as people type them, `publisher/name@revision`; inside
the node they are `formats.ids.Reference`.

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
    ReleaseWithdrawn,
    Report,
    Resolved,
    Verifying,
    Warned,
)
from p2phub.results import (
    FileRow,
    Here,
    Hit,
    Identity,
    Kind,
    MadeFrom,
    PeerInfo,
    Pending,
    Pin,
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
    "AdoptRequest",
    "BundleExportRequest",
    "BundleImportRequest",
    "Event",
    "FileDone",
    "FileRow",
    "FilesDone",
    "FinishRequest",
    "Here",
    "Hit",
    "Identity",
    "Json",
    "Kind",
    "MadeFrom",
    "PeerInfo",
    "Pending",
    "Pin",
    "Planned",
    "Progress",
    "Proposal",
    "PublishRequest",
    "Published",
    "PullRequest",
    "Pulled",
    "QuarantineDecision",
    "QuarantineQuery",
    "QuarantineRejection",
    "RefInfo",
    "ReleaseWithdrawn",
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

Sort = Literal["relevance", "name", "size", "updated"]

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
    """Web servers that have these files too, as `p2phub.protocol.seeds` writes them. Without any,
    those of the last release stay; `none` takes them away."""
    oms: bool = False
    """Add a `model.sig` about all the files: a signature of OpenSSF Model Signing."""
    prepare: Path | None = None
    """Sign nothing: write the release to this file, to be signed elsewhere; absolute over HTTP."""
    proposal_file: Path | None = None
    """Where a release that others must sign is written: a file, or a folder in which it gets a name
    of its own; absolute over HTTP. None writes no file."""
    base: str | None = None
    """The release that this one was made from: a reference, of which the digest is signed."""
    relation: str | None = None
    """How it was made from `base`: adapter, finetune, merge or quantized. None: adapter for a
    folder with `adapter_config.json`, else finetune."""


@dataclass(frozen=True, slots=True)
class FinishRequest:
    """List a release that was prepared or proposed here, once enough keys have signed it."""

    file: Path
    """The parcel with the release; absolute over HTTP."""
    tag: str | None = None
    """Also point this tag at the release; None: the one that was asked for when it was made."""
    sign_with: str | None = None
    """The name of the release key that signs the index; None takes the node's own."""


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
    layout: Literal["folder", "hf", "oci", "ollama"] = "folder"
    """`hf`: `to` is a cache of Hugging Face's tools, which gets links to this store; `oci`: an OCI
    image layout, with copies; `ollama`: a folder of Ollama's models, with links or clones."""


@dataclass(frozen=True, slots=True)
class AdoptRequest:
    """Use the files of a Hugging Face cache, and give them out, from where they lie."""

    cache: Path
    """The folder of the cache; absolute when it comes over HTTP."""
    include: tuple[str, ...] = ()
    """Globs; a repo (`org/name`) is looked at if any matches. Empty means every repo."""
    exclude: tuple[str, ...] = ()
    """Globs; a repo is left out if any matches, whatever `include` says."""
    dry_run: bool = False
    """Only look: read and compare everything, use nothing."""
    forget: bool = False
    """The other way round: use these files no more, but those that a release here needs."""


@dataclass(frozen=True, slots=True)
class BundleExportRequest:
    """Put releases into a bundle, to be carried to where no network reaches."""

    references: tuple[str, ...]
    """`[publisher/]name[@revision]` or `p2p://…`; each must be here with all its files. None with
    `since`: whatever that site lacks."""
    to: Path
    """The folder on the medium, or a file `….tar` that is not there yet; absolute over HTTP."""
    since: Path | None = None
    """The inventory of the site that it is for, which has something already; absolute over HTTP."""
    size_limit: int | None = None
    """Bytes that one medium may take; None: what is free there."""
    part: int = 1
    """Which of the media this is, where it takes several."""
    recipients: tuple[str, ...] = ()
    """`age1…`: whom it is sealed to, besides this node; none: it is not sealed."""
    seal: bool = False
    """Seal it to the site of `since`."""


@dataclass(frozen=True, slots=True)
class BundleImportRequest:
    """Take what is in a bundle."""

    path: Path
    """The folder or file that the export was told; absolute when it comes over HTTP."""
    identities: tuple[Path, ...] = ()
    """Files with identities of age that open it, besides this node's; absolute over HTTP."""


@dataclass(frozen=True, slots=True)
class SwapRequest:
    """Take what is on a medium, and give what the other sites that it visits lack."""

    path: Path
    """The folder on the medium; absolute when it comes over HTTP."""
    wants: tuple[str, ...] = ()
    """`[publisher/]name` of the only repos to take and to ask for; empty: whatever there is."""
    name: str = ""
    """What this site calls itself to the others."""
    inventories: tuple[Path, ...] = ()
    """Of other sites, which came another way; absolute over HTTP."""
    size_limit: int | None = None
    """Bytes that may be added; None: what is free there."""
    to_anybody: bool = False
    """Give everything, for a site that has left no inventory."""
    seal: bool = False
    """Seal what is given to the sites that it is for."""


@dataclass(frozen=True, slots=True)
class InventoryRequest:
    """Say what this site has and wants."""

    wants: tuple[str, ...] = ()
    """`[publisher/]name` of the only repos to ask for; empty: whatever there is."""
    name: str = ""
    """What this site calls itself to the others."""


@dataclass(frozen=True, slots=True)
class QuarantineQuery:
    """One release that waits at the gate."""

    reference: str
    """`[publisher/]name[@revision]`, or the beginning of its commit."""


@dataclass(frozen=True, slots=True)
class QuarantineDecision:
    """What an approver signed."""

    approval: str
    """The packed envelope, in base64."""


@dataclass(frozen=True, slots=True)
class QuarantineRejection:
    """Keep a release out."""

    reference: str
    reason: str


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
    min_params: int | None = None
    """Parameters; smaller models are left out, and those that do not say how many they have."""
    max_params: int | None = None
    """Parameters; larger models are left out, and those that do not say how many they have."""
    kind: Kind | None = None
    """Only models, datasets or spaces."""
    tags: tuple[str, ...] = ()
    """Each must be one of its tags or languages, its task or its library."""
    sort: Sort = "relevance"
    """The order of the hits."""
    limit: int = 50
    """At most this many hits."""


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
