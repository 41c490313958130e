"""What the gateway needs from a node. The real one is `node.node.Node`, the fake `testing.nodes`.

Every call raises errors of `p2phub.errors` and nothing else that a caller should expect. `report`
may be called from any thread, any number of times, until the call it was given to has returned.
"""

from collections.abc import AsyncIterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

from p2phub.airgap_results import Quarantined
from p2phub.bundle_results import BundleExported, BundleImported, InventoryMade, Sites, Swapped
from p2phub.cache_results import CacheAdopted
from p2phub.formats.ids import Kind, RepoId
from p2phub.formats.manifest import FileEntry
from p2phub.inference_results import FitReport, LoadedRow, ModelRow
from p2phub.key_results import Adopted
from p2phub.network.hub_client import Question
from p2phub.node.committing import CommitRequest, RefRequest
from p2phub.node.headers import Described
from p2phub.node.hub import Past
from p2phub.node.locate import ResolvedRelease
from p2phub.node.on_demand import Reading
from p2phub.node.parts import Named, PartHere, PartRequest
from p2phub.node.served import Served
from p2phub.node.upstream import ForeignFile, Said
from p2phub.node.values import (
    AdoptRequest,
    BundleExportRequest,
    BundleImportRequest,
    FileRow,
    FinishRequest,
    Hit,
    Identity,
    InventoryRequest,
    PeerInfo,
    Pin,
    Proposal,
    Published,
    PublishRequest,
    Pulled,
    PullRequest,
    Removed,
    RepoInfo,
    RepoRow,
    Report,
    SearchQuery,
    Status,
    SwapRequest,
    Verification,
)
from p2phub.store.discussions import Discussion, Note, NoteKind
from p2phub.store.sent_parts import InParts
from p2phub.store.uploads import Kept
from p2phub.trust_results import (
    Candidate,
    DomainLook,
    DomainSays,
    Imported,
    Profile,
    RuleSet,
    Trusted,
    TrustList,
)


class TrustApi(Protocol):
    """Whom a node trusts."""

    async def list(self) -> Sequence[Trusted]: ...

    async def add(self, alias: str, publisher_id: str) -> Pin: ...

    async def remove(self, alias: str) -> Pin: ...

    async def set_policy(
        self, who: str, policy: str | None, stale: str | None, code: str | None = None
    ) -> RuleSet: ...

    async def export_list(self) -> TrustList: ...

    async def import_list(self, text: str, *, confirmed: bool) -> Imported: ...

    async def candidates(self, alias: str) -> Sequence[Candidate]: ...

    async def check(self, who: str | None) -> Sequence[DomainLook]: ...

    async def set_profile(self, name: str | None, domain: str | None) -> Profile: ...

    async def domain(self, domain: str) -> DomainSays: ...


class OwnIdentityApi(Protocol):
    """Who a node publishes as."""

    async def adopt(self, parcel: str) -> Adopted: ...

    async def join(self, publisher_id: str) -> Adopted: ...


class ProposalsApi(Protocol):
    """Releases that wait for signatures."""

    async def list(self) -> Sequence[Proposal]: ...

    async def sign(self, commit: str, sign_with: str | None, report: Report) -> Proposal: ...

    async def fetch(self, commit: str, to: Path | None, report: Report) -> Proposal: ...

    async def drop(self, commit: str) -> Proposal: ...

    async def finish(self, request: FinishRequest, report: Report) -> Published: ...


class BundlesApi(Protocol):
    """Media that carry releases to where no network reaches."""

    async def export_to(self, request: BundleExportRequest, report: Report) -> BundleExported: ...

    async def import_from(self, request: BundleImportRequest, report: Report) -> BundleImported: ...

    async def swap(self, request: SwapRequest, report: Report) -> Swapped: ...

    async def inventory(self, request: InventoryRequest) -> InventoryMade: ...

    async def sites(self) -> Sites: ...


class QuarantineApi(Protocol):
    """What waits at the gate of a node."""

    async def waiting(self) -> Sequence[Quarantined]: ...

    async def look(self, reference: str) -> Quarantined: ...

    async def check(self, reference: str, report: Report) -> Quarantined: ...

    async def decide(self, approval: bytes) -> Quarantined: ...

    async def reject(self, reference: str, reason: str) -> Quarantined: ...

    async def allow(self, reference: str) -> Quarantined: ...


class InferenceApi(Protocol):
    """The models that a node runs.

    A model is named as a request names it: `ModelRow.id`, or any reference to the release.
    """

    def serve(self, model: str, task: str, client: str = "") -> AbstractAsyncContextManager[Served]:
        """Hold a model that can do `task` for the length of the block; loads it if need be.

        An empty `task` is whatever the model does first of all. `client`: who asks; clients take
        turns at a model that is busy.

        Raises `NotFoundError` (its remedy names the nearest ones), `UnsupportedError` for a task
        it cannot do, `UntrustedError`, `BusyError`, `NoMemoryError`, `EngineError`.
        """
        ...

    async def models(self) -> Sequence[ModelRow]:
        """All that may be asked for without anything being fetched, the loaded ones first."""
        ...

    async def loaded(self) -> Sequence[LoadedRow]: ...

    async def fit(self, reference: str) -> FitReport: ...

    async def load(
        self,
        reference: str,
        keep_alive: float | None,
        report: Report,
        adapters: Sequence[str] = (),
        task: str = "",
    ) -> LoadedRow:
        """Bring what is missing of it, and load it, with these adapters on it.

        `keep_alive`: seconds after the last request until it is unloaded; infinity: never; None:
        as node.toml says. `report` is handed what a pull reports, and `Loading`. `task`: what it
        will be asked for; what is for something else is not fetched (`UnsupportedError`).
        """
        ...

    async def unload(self, reference: str) -> LoadedRow:
        """Take it out of memory: what it was. Raises `NotFoundError`."""
        ...


class UpstreamApi(Protocol):
    """Another hub, whose repos are passed on: see `node.upstream_desk`."""

    @property
    def endpoint(self) -> str: ...

    async def means(self, repo: str) -> bool: ...

    @property
    def hop(self) -> str: ...

    async def ask(
        self, kind: Kind, repo: str, question: Question, token: str | None, via: str = ...
    ) -> Said:
        """Raises `RefusedError`, `RemoteError`, `BusyError`."""
        ...

    async def file(
        self, kind: Kind, repo: str, revision: str, path: str, token: str | None, via: str = ...
    ) -> ForeignFile | Said:
        """A file, or what the upstream says instead. Raises as `ask`."""
        ...

    def reading(
        self, file: ForeignFile, start: int, stop: int
    ) -> AbstractAsyncContextManager[Reading]: ...


class DiscussionsApi(Protocol):
    """What people of this node write about its repos: see `node.discussing`."""

    async def every(self, repo: RepoId) -> Sequence[Discussion]: ...

    async def get(self, repo: RepoId, number: int) -> Discussion | None: ...

    async def begin(
        self, repo: RepoId, least: int, title: str, author: str, *, pull_request: bool
    ) -> int:
        """The number of a new one. Raises `UsageError`."""
        ...

    async def add(
        self, repo: RepoId, number: int, kind: NoteKind, author: str, text: str, was: str = ""
    ) -> Note:
        """Raises `UsageError`."""
        ...

    async def edit(self, repo: RepoId, number: int, id: str, text: str | None) -> Note:
        """Raises `NotFoundError`, `UsageError`."""
        ...


class HubApi(Protocol):
    """Repos, for clients of a hub: see `node.hub`."""

    @property
    def upstream(self) -> UpstreamApi | None:
        """The hub that answers for names which nobody has here; None: none."""
        ...

    @property
    def discussions(self) -> DiscussionsApi: ...

    async def find(self, repo: str, revision: str | None, kind: Kind) -> ResolvedRelease:
        """Raises `NotFoundError` (`NoRevisionError` where the repo is known), `UntrustedError`."""
        ...

    async def history(self, resolved: ResolvedRelease, most: int = ...) -> Sequence[Past]:
        """The release and those before it, the newest first."""
        ...

    async def described(self, resolved: ResolvedRelease, *, fetch: bool) -> Described | None:
        """What the headers of its weights say, if they are here or shall be fetched."""
        ...

    async def readme(self, resolved: ResolvedRelease, *, fetch: bool) -> str:
        """Empty if there is none."""
        ...

    async def commit(self, request: CommitRequest) -> Published:
        """The next release of a repo of ours. Raises what `node.committing.commit` does."""
        ...

    async def set_revision(self, request: RefRequest) -> None:
        """A branch or a tag of a repo of ours. Raises what `node.committing` does."""
        ...

    async def upload(self, size: int, sha256: bytes | None, body: AsyncIterable[bytes]) -> Kept:
        """Keep a file. Raises `WrongBytesError`, `NoSpaceError`, `QuotaError`."""
        ...

    async def upload_part(self, what: InParts, number: int, body: AsyncIterable[bytes]) -> str:
        """Keep a part of a file: its tag. Raises `UsageError`, `WrongBytesError`, `NotFoundError`,
        `NoSpaceError`, `QuotaError`, `BusyError`.
        """
        ...

    async def finish_parts(self, what: InParts, tags: Mapping[int, str]) -> Kept:
        """Keep a file whose parts are here. Raises `UsageError`, `WrongBytesError`,
        `NotFoundError`, `BusyError`.
        """
        ...

    async def keep_xorb(
        self, upload: str, name: str, size: int, body: AsyncIterable[bytes]
    ) -> bool:
        """Keep a xorb; whether it is new. Raises `MalformedError`, `NoSpaceError`."""
        ...

    async def take_shard(self, upload: str, data: bytes) -> Sequence[Kept]:
        """Keep the files that a shard makes of xorbs. Raises `MalformedError`, `NotFoundError`."""
        ...

    async def uploaded(self, sha256: bytes, size: int) -> Kept | None:
        """A file that was kept, or was here before."""
        ...

    def reading(
        self, resolved: ResolvedRelease, file: FileEntry, start: int, stop: int
    ) -> AbstractAsyncContextManager[Reading]:
        """Verified bytes of a file, as they come. Raises what a pull raises."""
        ...


class NodeApi(Protocol):
    """One method per use case."""

    @property
    def identity(self) -> Identity: ...

    async def status(self) -> Status: ...

    async def peers(self) -> Sequence[PeerInfo]: ...

    async def connect(self, multiaddr: str) -> PeerInfo: ...

    async def publish(self, request: PublishRequest, report: Report) -> Published: ...

    async def pull(self, request: PullRequest, report: Report) -> Pulled: ...

    async def adopt(self, request: AdoptRequest, report: Report) -> CacheAdopted: ...

    async def resolve(self, reference: str) -> Named: ...

    async def bring_ranges(self, request: PartRequest, report: Report) -> PartHere: ...

    async def read(self, request: PartRequest) -> bytes:
        """The bytes of the wanted ranges, one after another."""
        ...

    async def search(self, query: SearchQuery) -> Sequence[Hit]: ...

    async def info(self, reference: str) -> RepoInfo: ...

    async def ls(self, reference: str | None) -> Sequence[RepoRow] | Sequence[FileRow]:
        """The repos on this disk, or the files of the one that is named."""
        ...

    async def verify(self, reference: str | None, report: Report) -> Sequence[Verification]: ...

    async def watch(self, report: Report) -> None:
        """Report each release here that is refused from now on, until cancelled."""
        ...

    async def remove(self, reference: str) -> Removed: ...

    @property
    def trust(self) -> TrustApi: ...

    @property
    def proposals(self) -> ProposalsApi: ...

    @property
    def bundles(self) -> BundlesApi: ...

    @property
    def quarantine(self) -> QuarantineApi: ...

    @property
    def own_identity(self) -> OwnIdentityApi: ...

    @property
    def inference(self) -> InferenceApi: ...

    @property
    def hub(self) -> HubApi: ...
