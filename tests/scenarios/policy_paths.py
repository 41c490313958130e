"""More ways to a release for the policy table: the catalog, a publisher's own gate, other sources
of bytes and heads, and the command line as a process.

`Hub.read` and `load_tensors` have no row: they ask the gateway for ranges, and what it answers to
that stands in its own row, what it does for it in that of ranges.
"""

from contextlib import asynccontextmanager
from types import SimpleNamespace
from unittest.mock import patch

import trio

from p2phub.errors import UntrustedError
from p2phub.formats import limits
from p2phub.formats.manifest import Release
from p2phub.formats.pieces import PieceTable
from p2phub.node import housekeeping, listing, own_index
from p2phub.node.infer import Inference
from p2phub.node.inspect import Inspector
from p2phub.node.knowledge import Knowledge
from p2phub.node.library import Library
from p2phub.node.pressure import Pressure
from p2phub.node.services import Bell
from p2phub.node.values import SearchQuery
from p2phub.store.layout import Layout
from p2phub.store.store import Store
from p2phub.testing.libraries import MemoryLibrary
from p2phub.testing.model_pools import FakePool
from p2phub.testing.samples import Sample
from p2phub.testing.strangers import Stranger
from p2phub.testing.web import WebServer
from p2phub.trust.catalog import TrustedCatalog
from p2phub.trust.envelope import unpack
from tests.scenarios.nodes import consumer, node, pull, settings, snapshots, stock
from tests.scenarios.policy_scene import (
    NOW,
    Disk,
    brought,
    named_in,
    outcome,
    write_bundle,
)
from tests.scenarios.policy_table import Case, Outcome
from tests.scenarios.processes import Home

STRANGER = bytes(31) + b"s"


# ---------------------------------------------------------------- in this process


async def searched(tmp_path, case: Case, rule) -> Outcome:
    """The column of `search`. It hides nothing: what is wrong stands beside the name."""
    disk = Disk(tmp_path, case, rule)
    try:
        (hit,) = Inspector(disk.store, disk.knowledge).search(SearchQuery("x"))
    finally:
        disk.close()
    return Outcome(hit.verdict)


async def refused_by_publish(tmp_path, case: Case, rule) -> Outcome:
    """What stands between a publisher and its own mistakes: what was taken back, a gate that
    nobody sees, and its own gate. The second knows nothing but signatures, and is the one that
    asks for any.
    """
    disk, lab, made = Disk(tmp_path, case, rule), case.lab, case.made
    papers = [*lab.roots, lab.delegation]
    disk.store.documents.put_many((each.digest, each.type, each.pack()) for each in papers)
    roots = [root.digest for root in lab.roots]
    disk.store.documents.set_own_publisher(lab.publisher, roots, lab.delegation.digest)
    signed, pages = unpack(case.release), [(b"", page) for page in made.packed[2:-1]]
    release = Release.from_payload(signed.payload)
    try:
        gates = (
            lambda: listing._require_good(disk, SimpleNamespace(seq=lab.seq), signed, release),
            lambda: own_index._rehearse([made.head, made.index], pages, [signed], NOW),
            lambda: disk.knowledge.learn_head(lab.publisher, made.head.pack()),
        )
        first, second, third = map(refusal, gates)
    finally:
        disk.close()
    assert (second is not None) is (case.name in {"unsigned", "wrong key", "expired key"})
    return second or first or third or Outcome(None, refused=False)


def refusal(gate) -> Outcome | None:
    """How a gate refused; None if it did not."""
    try:
        gate()
    except UntrustedError as error:
        return outcome(error)
    return None


async def offered_by_sha256(tmp_path, case: Case, rule) -> Outcome:
    """A node hashes what it has in the background, and offers it by what it found."""
    disk, told = Disk(tmp_path, case, rule), []
    store, library = disk.store, Library(disk.store)
    services = SimpleNamespace(
        store=store,
        on_disk=trio.to_thread.run_sync,
        announcer=SimpleNamespace(file=told.append),
        hashing_waits=Bell(),
        pressure=Pressure(trio.current_time),
    )
    files = Release.from_payload(case.made.release.payload).files
    try:
        with patch.object(limits, "MIN_BIG_FILE", 0):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(housekeeping.hash_in_background, services)
                while store.blobs.unhashed():
                    await trio.lowlevel.checkpoint()
                nursery.cancel_scope.cancel()
        offered = {file.sha256: library.content_of_sha256(file.sha256, None) for file in files}
        hashed = {store.blobs.sha256(file.content) for file in files}
    finally:
        disk.close()
    assert None not in hashed
    assert hashed >= set(told)
    if any(offered.values()) or hashed & offered.keys():
        assert all(offered[file.sha256] == file.content for file in files)
        return Outcome("verified", refused=False)
    return Outcome("corrupt", refused=True)


async def asked_of_a_model(tmp_path, case: Case, rule) -> Outcome:
    """A request for an answer: what is refused is never loaded."""
    disk, pool = Disk(tmp_path, case, rule), FakePool()
    disk.store.rules.set_rule(case.lab.publisher, rule)
    services = SimpleNamespace(
        store=disk.store,
        knowledge=disk.knowledge,
        config=settings(),
        on_disk=trio.to_thread.run_sync,
        pressure=Pressure(trio.current_time),
    )
    try:
        async with Inference(services, pool).serve(f"{case.lab.publisher}/x", "") as served:
            assert pool.specs[0].release == served.release == case.made.release.digest.hex()
            assert served.publisher == str(case.lab.publisher)
            return Outcome(served.verdict, refused=False)
    except UntrustedError as error:
        assert pool.specs == []
        return outcome(error)
    finally:
        disk.close()


# ---------------------------------------------------------------- between nodes


async def pulled_from_the_web(tmp_path, case: Case, rule) -> Outcome:
    """The peer has every document and not one file."""
    files = {
        f"/x/{'/'.join(file.path)}": case.lab.contents[file.content]
        for file in Release.from_payload(case.made.release.payload).files
    }
    case.lab.contents.clear()

    async def bring(running):
        done = await pull(running, "lab/x")
        assert [share.name for share in done.shares] == [server.host]
        return done.verdict

    with WebServer(files) as server:
        seeds = {"SWARM_WEB_SEEDS": f"{server.url}/{{name}}/{{path}}"}
        found = await brought(tmp_path, case, rule, bring, **seeds)
        assert bool(server.asked) is not found.refused
    return found


def library_without_head(case: Case) -> MemoryLibrary:
    library, lab = MemoryLibrary(), case.lab
    library.documents |= lab.documents | case.hidden
    for content, data in lab.contents.items():
        library.add(Sample(PieceTable.for_small(content), data))
    return library


@asynccontextmanager
async def head_in_the_dht_only(tmp_path, case: Case, rule):
    """A node that never heard of the publisher, whose head is nowhere but in a record."""
    lab, library = case.lab, library_without_head(case)
    async with node(tmp_path / "bystander") as bystander:
        meets = bystander.identity.addresses
        async with Stranger(STRANGER, library, bootstrap=meets).running() as stranger:
            assert await stranger.network.put_head(lab.head_key, lab.head.pack())
            assert await stranger.network.provide(lab.publisher.digest)
            assert await stranger.network.provide(case.made.release.digest)
            async with consumer(tmp_path / "here", bystander, lab.publisher) as running:
                await running.trust.set_policy("lab", rule.policy, rule.stale)
                yield running


async def pulled_after_the_dht(tmp_path, case: Case, rule) -> Outcome:
    async with head_in_the_dht_only(tmp_path, case, rule) as running:
        try:
            done = await pull(running, "lab/x")
        except UntrustedError as error:
            assert not list(snapshots(tmp_path / "here"))
            return outcome(error)
        return Outcome(done.verdict, refused=False)


# ---------------------------------------------------------------- as a process


@asynccontextmanager
async def command_line(folder, bootstrap: str = ""):
    """Runs `p2phub WORDS` in a home, in a thread; nothing outlives the block."""
    home = Home(folder, bootstrap=bootstrap)
    try:
        yield lambda *words: trio.to_thread.run_sync(lambda: home.run(*words))
    finally:
        home.reap()


def told(result, verdict: str) -> Outcome:
    """What a process told: its exit code decides."""
    assert result.code in (0, 4), result
    assert "Traceback" not in result.err
    return Outcome(verdict, refused=result.code == 4)


async def pulled_by_a_process(tmp_path, case: Case, rule) -> Outcome:
    stock(tmp_path / "there", case.lab, case.hidden)
    has_heard(tmp_path / "here", case, rule)
    async with (
        node(tmp_path / "there") as serving,
        command_line(tmp_path / "here", serving.identity.addresses[0]) as p2phub,
    ):
        result = await p2phub("pull", f"{case.lab.publisher}/x")
    assert bool(snapshots(tmp_path / "here")) is (result.code == 0)
    if result.code == 0:
        return told(result, result.last["verdict"])
    assert result.error["exit"] == result.code
    return told(result, named_in(result.error["message"]))


def has_heard(home, case: Case, rule) -> None:
    """The home of somebody with a rule, who knows the publisher and what it took back."""
    with Store.open(Layout.of(home, "store")) as store:
        store.rules.set_rule(case.lab.publisher, rule)
        knowledge = Knowledge(store, TrustedCatalog(), lambda: NOW)
        knowledge.learn_head(case.lab.publisher, case.made.head.pack())
        for notice in case.notices:
            knowledge.learn_notice(notice.pack())


async def imported_by_a_process(tmp_path, case: Case, rule) -> Outcome:
    """From a stick, by a command that meets nobody. Each release is told to have come or not; the
    exit code is that of the first that did not."""
    write_bundle(tmp_path / "stick", case)
    with Store.open(Layout.of(tmp_path / "here", "store")) as store:
        store.rules.set_rule(case.lab.publisher, rule)
        if case.newer is not None:
            knowledge = Knowledge(store, TrustedCatalog(), lambda: NOW)
            knowledge.learn_head(case.lab.publisher, case.newer.head.pack())
    async with command_line(tmp_path / "here") as p2phub:
        result = await p2phub("bundle", "import", tmp_path / "stick")
    (row,) = result.last["releases"]
    assert (row["exit"], row["outcome"] == "refused") == (result.code, result.code != 0)
    assert bool(snapshots(tmp_path / "here")) is (result.code == 0)
    return told(result, row["verdict"])


async def verified_by_a_process(tmp_path, case: Case, rule) -> Outcome:
    """What was let in once is verified where no node runs."""
    disk = Disk(tmp_path, case, rule)
    disk.store.rules.set_rule(case.lab.publisher, rule)
    disk.close()
    async with command_line(tmp_path / "home") as p2phub:
        result = await p2phub("verify", f"{case.lab.publisher}/x")
    return told(result, result.last["verdict"])
