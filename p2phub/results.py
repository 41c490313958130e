"""What a node answers, as frozen dataclasses: the same for the node, its gateway and its clients.

Sizes are bytes, times unix seconds, rates bytes a second. The field names *are* the keys of the
JSON that programs rely on: renaming one breaks them, and adding one breaks nobody. References
(`ref`) are text as people type them, `publisher/name@revision`.

A field that an older node may not send has a default; `client/results.py` reads answers by that.
Requests, and what is told while something long goes on, are in `node/values.py`.

>>> Verification("lab/x@main", "verified", None, (StepTaken("digest", True, "as signed"),)).ok
True
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

Kind = Literal["model", "dataset", "space"]
Here = Literal["complete", "partial", "none"]


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this node is."""

    peer_id: str
    publisher_id: str | None = None
    """None before `init` made a publisher."""
    alias: str | None = None
    """What this node calls its own publisher."""
    addresses: tuple[str, ...] = ()
    """Full multiaddrs, `/p2p/<peer id>` included; empty while no node runs."""
    name: str | None = None
    """What its publisher calls itself, signed for all to see."""
    domain: str | None = None
    """The domain that its publisher claims."""
    recipient: str | None = None
    """`age1…`: what others seal bundles to that only this node opens."""


@dataclass(frozen=True, slots=True)
class Status:
    """What the node is doing now."""

    peers: int
    """Peers connected."""
    repos: int
    """Repos held on this disk, whole or in part."""
    bytes: int
    """Bytes of all blobs held."""
    transfers: int
    """Pulls and uploads going on."""
    up_rate: float
    """Bytes a second sent, averaged over the last seconds."""
    down_rate: float
    """Bytes a second received, averaged over the last seconds."""
    announce_lag: float
    """Seconds that the oldest announcement not yet in the DHT has waited; 0 when none waits."""
    peer_id: str = ""
    data_address: str | None = None
    """`host:port` of the data plane; None when it does not listen."""
    host_restarts: int = 0
    """How often the libp2p host had to be started again."""
    up_limit: int = 0
    """Bytes a second that may be sent now; 0 is no limit."""
    down_limit: int = 0
    """Bytes a second that may be fetched now; 0 is no limit."""
    up_limit_per_peer: int = 0
    """Bytes a second that may be sent to one peer now; 0 is no limit."""
    down_limit_per_peer: int = 0
    """Bytes a second that may be fetched from one source now; 0 is no limit."""
    uptime: float = 0.0
    """Seconds since the node was ready."""


@dataclass(frozen=True, slots=True)
class PeerInfo:
    """A connected peer."""

    peer_id: str
    addresses: tuple[str, ...] = ()
    agent: str | None = None
    """The program and version it says it runs; a claim."""
    direct: bool = False
    """Whether its data port was reached, so that bulk bytes need no libp2p stream."""


@dataclass(frozen=True, slots=True)
class Pending:
    """What a release lacks until it is listed."""

    signatures: int
    """Those that count."""
    needed: int
    """Signatures that it takes."""
    file: str | None = None
    """Where the release was written to, for others to sign; None if it was not."""


@dataclass(frozen=True, slots=True)
class Published:
    """A release that our own gate accepted and that is being announced; or, where `pending` says
    so, one that waits for signatures, and of which nobody is told yet.
    """

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
    pending: Pending | None = None
    """None: it is what its refs name."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A release of our own publisher that waits for signatures."""

    ref: str
    """With its commit: no ref names it yet."""
    commit: str
    digest: str
    """SHA-256 of the release payload, hex."""
    signatures: int
    """Those that count."""
    needed: int
    """Signatures that it takes."""
    signed_by: tuple[str, ...]
    """The public keys whose signatures count, hex."""
    since: int
    """Unix seconds: when it came to this disk."""
    files: int
    bytes: int
    """Total size of the files."""
    here: bool
    """Whether all of its files are on this disk."""
    message: str = ""
    tag: str | None = None
    """The tag that is to name it."""
    listed: bool = False
    """Whether enough have signed and it was listed just now."""


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
    parameters: int | None = None
    """Numbers in its tensors, as the publisher counted them; None where it does not say."""


@dataclass(frozen=True, slots=True)
class RefInfo:
    """A ref or tag of a repo, and the commit it names."""

    name: str
    commit: str
    tag: bool = False


@dataclass(frozen=True, slots=True)
class MadeFrom:
    """What a release was made from: another release, or a repo of another hub."""

    relation: str
    """adapter, finetune, merge, quantized, or another word."""
    release: str | None = None
    """The digest of that release, in hex."""
    ref: str | None = None
    """What it is called here; None if nobody told of it yet."""
    upstream: str | None = None
    revision: str | None = None


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
    """What it was made from, as its card says."""
    lineage: tuple[MadeFrom, ...] = ()
    """What it was made from, as its publisher signed it."""
    refs: tuple[RefInfo, ...] = ()
    commits: tuple[str, ...] = ()
    """Every known commit of the repo, newest first."""
    publisher_name: str | None = None
    """What the publisher calls itself: its own word, like its domain."""
    domain: str | None = None
    domain_result: str | None = None
    """How the domain vouches for it (https, dns), or contradicted, unreachable; None: not asked."""
    domain_checked: int | None = None
    """When it was asked last: unix seconds."""
    domain_proved: int | None = None
    """When the domain vouched for it last: unix seconds."""
    copy_of: str | None = None
    """The repo of another hub that its signer copied, and the commit there."""


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
    number: int = 0
    """Its place among the steps of this verification, from 1 on."""


@dataclass(frozen=True, slots=True)
class Verification:
    """What `verify` found for one release."""

    ref: str
    verdict: str
    stale_since: int | None
    """Unix seconds; None while fresh."""
    steps: tuple[StepTaken, ...] = ()
    publisher_id: str = ""
    commit: str = ""
    signed_by: tuple[str, ...] = ()
    """The release keys whose signatures on it verify, in hex."""
    created: int | None = None
    """When its signer dated the release: unix seconds."""
    heard: int | None = None
    """When this machine last took a head of its publisher."""
    as_of: int | None = None
    """When its publisher signed the newest list of its releases that is known here, which may have
    come on an old medium: unix seconds by its clock."""
    fresh_until: int | None = None
    """Until when that head is fresh; None: it always is, or there is none."""

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


@dataclass(frozen=True, slots=True)
class PartHere:
    """The pieces that hold the wanted ranges are on this disk, verified."""

    ref: str
    commit: str
    path: str
    size: int
    """Bytes of the whole file."""
    bytes_fetched: int = 0
    """What sources had to give: whole pieces."""
    bytes_linked: int = 0
    """What other files on this disk had."""


@dataclass(frozen=True, slots=True)
class Named:
    """Which release a reference names now."""

    ref: str
    commit: str
    publisher_id: str = ""
    verdict: str = ""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far it is; sent a few times a second at most."""

    event: ClassVar[str] = "progress"
    bytes_done: int
    bytes_total: int
    rate: float = 0.0
    """Bytes a second, over the last seconds."""
    sources: int = 0
    """Sources in use now; 0 for work on this disk only."""
