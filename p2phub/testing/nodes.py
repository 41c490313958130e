"""A node without disk or network: what the gateway, the client and the command line are tested on.

`FakeNode` knows one release, answers every use case from memory, and can be told to fail (`fails`),
to work until it is let go (`hold`), or to report given events. It keeps what it was asked.
"""

import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path

import trio

from p2phub.bundle_results import (
    BundleExported,
    BundleImported,
    BundleRelease,
    InventoryMade,
    ReceiptRow,
    SiteRow,
    Sites,
    Swapped,
)
from p2phub.cache_results import CacheAdopted
from p2phub.errors import NotFoundError, P2PHubError
from p2phub.formats.armor import as_lines
from p2phub.key_results import Adopted
from p2phub.node.parts import Named, PartHere, PartRequest
from p2phub.node.values import (
    AdoptRequest,
    BundleExportRequest,
    BundleImportRequest,
    Event,
    FileDone,
    FileRow,
    FinishRequest,
    Hit,
    Identity,
    InventoryRequest,
    PeerInfo,
    Planned,
    Progress,
    Proposal,
    Published,
    PublishRequest,
    Pulled,
    PullRequest,
    RefInfo,
    Removed,
    RepoInfo,
    RepoRow,
    Report,
    Resolved,
    SearchQuery,
    SourceShare,
    Status,
    StepTaken,
    SwapRequest,
    Verification,
    Verifying,
)
from p2phub.testing.hubs import FakeHub
from p2phub.testing.inference import FakeInference
from p2phub.testing.publishers import FakePublisher
from p2phub.testing.quarantines import FakeQuarantine
from p2phub.testing.trusting import FakeTrust

PUBLISHER = "b" * 52
PEER = "12D3KooWFakeFakeFakeFakeFakeFakeFakeFakeFakeFakeFake"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
REF = "lab/minilm"
SIZE = 1000
FILE = bytes(range(250)) * 4
"""What its one file is read as."""
EVENTS: tuple[Event, ...] = (
    Resolved(f"{REF}@main", COMMIT, PUBLISHER, "verified"),
    Planned(files=1, bytes_total=SIZE, bytes_linked=0, bytes_to_fetch=SIZE),
    Progress(bytes_done=SIZE, bytes_total=SIZE, rate=500.0, sources=1),
    FileDone("model.safetensors", SIZE),
)


class FakeNode:
    """Answers like a node that holds `lab/minilm`, whole and verified."""

    def __init__(self, snapshot: Path = Path("/snapshots/minilm")) -> None:
        self.snapshot = snapshot
        self.identity = Identity(PEER, PUBLISHER, "lab", (f"/ip4/127.0.0.1/tcp/4042/p2p/{PEER}",))
        self.asked: list[object] = []
        """Every request, in order."""
        self.fails: BaseException | None = None
        """Raised by the next calls, as long as it is set."""
        self.events: Sequence[Event] = EVENTS
        self.hold = trio.Event()
        """Long work waits for this; it is set unless a test replaces it."""
        self.hold.set()
        self.working = trio.Event()
        """Set when long work has begun."""
        self.cancelled = trio.Event()
        """Set when long work was cancelled."""
        self.gave_up = threading.Event()
        """The same, for a test in another thread."""
        self.pins = {"lab": PUBLISHER}
        self.verdict = "verified"
        self.trust = FakeTrust(self._ask, self.pins)
        self.proposals = FakeProposals(self._ask, self._work)
        self.bundles = FakeBundles(self._work)
        self.quarantine = FakeQuarantine(self._ask)
        self.own_identity = FakeOwnIdentity(self._ask)
        self.inference = FakeInference()
        self.hub = FakeHub(FakePublisher(1), {"README.md": b"# MiniLM", "model.safetensors": FILE})

    async def _ask(self, request: object) -> None:
        await trio.lowlevel.checkpoint()
        self.asked.append(request)
        if self.fails is not None:
            raise self.fails

    async def _work(self, request: object, report: Report) -> None:
        self.working.set()
        for event in self.events:
            report(event)
        try:
            await self.hold.wait()
        except trio.Cancelled:
            self.cancelled.set()
            self.gave_up.set()
            raise
        await self._ask(request)

    def _known(self, reference: str) -> None:
        if reference.partition("@")[0] != REF:
            raise NotFoundError(
                f"there is no {reference} here", remedy="Try `p2phub search` to see what there is."
            )

    async def status(self) -> Status:
        await self._ask("status")
        return Status(1, 1, SIZE, 0, 0.0, 0.0, 0.0, peer_id=PEER)

    async def peers(self) -> Sequence[PeerInfo]:
        await self._ask("peers")
        return (PeerInfo("12D3KooWOther", ("/ip4/127.0.0.1/tcp/5000",), "p2phub/0.1", True),)

    async def connect(self, multiaddr: str) -> PeerInfo:
        await self._ask(multiaddr)
        address, _, peer = multiaddr.partition("/p2p/")
        return PeerInfo(peer, (address,))

    async def publish(self, request: PublishRequest, report: Report) -> Published:
        await self._work(request, report)
        ref = f"lab/{request.name}@main"
        return Published(ref, COMMIT, COMMIT + "89" * 12, PUBLISHER, 1, SIZE, SIZE)

    async def pull(self, request: PullRequest, report: Report) -> Pulled:
        await self._work(request, report)
        self._known(request.reference)
        path = request.to or self.snapshot
        shares = (SourceShare("12D3KooWOther", SIZE),)
        ref = f"{REF}@main"
        return Pulled(ref, COMMIT, path, self.verdict, SIZE, SIZE, 0, 0.5, 1, shares)

    async def adopt(self, request: AdoptRequest, report: Report) -> CacheAdopted:
        await self._work(request, report)
        adopted = 0 if request.dry_run else 1
        return CacheAdopted(request.cache, 1, 2, 2 * SIZE, adopted, adopted * SIZE, 1)

    async def resolve(self, reference: str) -> Named:
        await self._ask(reference)
        self._known(reference)
        return Named(f"{REF}@main", COMMIT, PUBLISHER, self.verdict)

    async def bring_ranges(self, request: PartRequest, report: Report) -> PartHere:
        await self._work(request, report)
        self._known(request.reference)
        wanted = sum(stop - start for start, stop in request.ranges)
        return PartHere(f"{REF}@main", COMMIT, request.path, SIZE, wanted, 0)

    async def read(self, request: PartRequest) -> bytes:
        await self._ask(request)
        self._known(request.reference)
        return b"".join(FILE[start:stop] for start, stop in request.ranges)

    async def search(self, query: SearchQuery) -> Sequence[Hit]:
        await self._ask(query)
        task = "feature-extraction"
        hit = Hit(REF, COMMIT, task, "apache-2.0", "sentence-transformers", SIZE, self.verdict)
        return (hit,) if query.text in REF and query.task in (None, task) else ()

    async def info(self, reference: str) -> RepoInfo:
        await self._ask(reference)
        self._known(reference)
        return RepoInfo(
            ref=f"{REF}@main",
            commit=COMMIT,
            digest=COMMIT + "89" * 12,
            publisher_id=PUBLISHER,
            kind="model",
            verdict=self.verdict,
            stale_since=None,
            created=1_700_000_000,
            message="first",
            files=1,
            bytes=SIZE,
            here="complete",
            path=self.snapshot,
            refs=(RefInfo("main", COMMIT),),
            commits=(COMMIT,),
        )

    async def ls(self, reference: str | None) -> Sequence[RepoRow] | Sequence[FileRow]:
        await self._ask(reference)
        if reference is None:
            return (RepoRow(REF, COMMIT, "model", self.verdict, "complete", 1, SIZE, SIZE),)
        self._known(reference)
        digest = "cd" * 32
        file = FileRow("model.safetensors", SIZE, digest, True, f"{SIZE}-{digest}", "complete")
        return (file,)

    async def verify(self, reference: str | None, report: Report) -> Sequence[Verification]:
        report(Verifying(reference or REF, "model.safetensors"))
        await self._work(reference, report)
        self._known(reference or REF)
        good = self.verdict == "verified"
        said = "1 file" if good else "model.safetensors: piece 0 is wrong"
        step = StepTaken("files", good, said, 1)
        found = Verification(
            f"{REF}@main",
            self.verdict,
            None,
            (step,),
            publisher_id=PUBLISHER,
            commit=COMMIT,
            signed_by=("ab" * 32,),
            created=1_700_000_000,
            heard=1_700_000_100,
            fresh_until=1_700_000_200,
        )
        return (found,)

    async def watch(self, report: Report) -> None:
        await self._work("watch", report)

    async def remove(self, reference: str) -> Removed:
        await self._ask(reference)
        self._known(reference)
        return Removed(reference, SIZE)


class FakeBundles:
    """Bundles in which all is that is asked for; `refuses`: what its release is refused with."""

    def __init__(self, work: Callable[[object, Report], Awaitable[None]]) -> None:
        self._work = work
        self.refuses: P2PHubError | None = None
        self.parts = 1

    async def export_to(self, request: BundleExportRequest, report: Report) -> BundleExported:
        await self._work(request, report)
        limit = request.size_limit
        row = self._row("exported")
        return BundleExported(request.to, (row,), SIZE, SIZE, 0.5, request.part, self.parts, limit)

    async def import_from(self, request: BundleImportRequest, report: Report) -> BundleImported:
        await self._work(request, report)
        row, error = self._row("came"), self.refuses
        if error is None:
            return BundleImported(request.path, (row,), 1, 0, SIZE, 0.5)
        row = replace(row, outcome="refused", reason=error.message, exit=error.exit)
        return BundleImported(request.path, (row,), 1, 0, 0, 0.5, exit=error.exit)

    async def swap(self, request: SwapRequest, report: Report) -> Swapped:
        await self._work(request, report)
        came, gave = self._row("came"), replace(self._row("given"), sites=("the lab",))
        site = SiteRow(PEER, "the lab", 1_700_000_000, 3, None)
        return Swapped(request.path, PEER, (came,), (gave,), (), (site,), 1, 1, SIZE, SIZE, 0, 0.5)

    async def inventory(self, request: InventoryRequest) -> InventoryMade:
        return InventoryMade(
            PEER, 1, 1_700_000_000, 3, 200, as_lines(b"said", "INVENTORY"), ("P2PHUB:INVENTORY",)
        )

    async def sites(self) -> Sites:
        site = SiteRow(PEER, "the lab", 1_700_000_000, 3, None)
        receipt = ReceiptRow(PEER, PEER, 1_700_000_000, (COMMIT,), SIZE, "00" * 32)
        return Sites((site,), (receipt,))

    def _row(self, outcome: str) -> BundleRelease:
        ref = f"{PUBLISHER}/minilm@{COMMIT}"
        return BundleRelease(ref, COMMIT, PUBLISHER, "minilm", "model", SIZE, outcome, "verified")


class FakeProposals:
    """One release of a `FakeNode` that waits for a second signature."""

    def __init__(
        self,
        ask: Callable[[object], Awaitable[None]],
        work: Callable[[object, Report], Awaitable[None]],
    ) -> None:
        self._ask, self._work = ask, work

    async def list(self) -> Sequence[Proposal]:
        await self._ask("proposals")
        return (self._row(1),)

    async def sign(self, commit: str, sign_with: str | None, report: Report) -> Proposal:
        await self._work((commit, sign_with), report)
        return self._row(2)

    async def fetch(self, commit: str, to: Path | None, report: Report) -> Proposal:
        await self._work((commit, to), report)
        return self._row(1)

    async def drop(self, commit: str) -> Proposal:
        await self._ask(commit)
        return self._row(1)

    async def finish(self, request: FinishRequest, report: Report) -> Published:
        await self._work(request, report)
        ref = f"{REF}@{request.tag or 'main'}"
        return Published(ref, COMMIT, COMMIT + "89" * 12, PUBLISHER, 1, SIZE, 0)

    def _row(self, signatures: int) -> Proposal:
        ref, digest, keys = f"{REF}@{COMMIT}", COMMIT + "89" * 12, ("ab" * 32,) * signatures
        listed = signatures == 2
        return Proposal(
            ref, COMMIT, digest, signatures, 2, keys, 1_700_000_000, 1, SIZE, True, listed=listed
        )


class FakeOwnIdentity:
    """Takes every change of the identity of a `FakeNode`."""

    def __init__(self, ask: Callable[[object], Awaitable[None]]) -> None:
        self._ask = ask

    async def adopt(self, parcel: str) -> Adopted:
        await self._ask(parcel)
        return Adopted(PUBLISHER, 1, 2, "ef" * 32, 3)

    async def join(self, publisher_id: str) -> Adopted:
        await self._ask(publisher_id)
        return Adopted(publisher_id, 1, 2, "ef" * 32, 3)


def failing(error: P2PHubError) -> FakeNode:
    """A node that answers everything with `error`."""
    node = FakeNode()
    node.fails = error
    return node
