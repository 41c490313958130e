"""Whatever the path, the same thing is wrong with a release and the same policy lets it through."""

import json
from dataclasses import replace

import httpx
import pytest

from p2phub.errors import UntrustedError
from p2phub.formats.digest import sha256
from p2phub.formats.ids import commit_id
from p2phub.formats.manifest import Release
from p2phub.formats.publisher import Index, Page
from p2phub.gateway.server import open_gateway
from p2phub.node.inspect import Inspector
from p2phub.node.knowledge import Knowledge
from p2phub.node.parts import PartRequest
from p2phub.node.values import BundleImportRequest, PullRequest
from p2phub.store.layout import Layout
from p2phub.store.store import Store
from p2phub.trust.catalog import TrustedCatalog
from p2phub.trust.refusals import Refusal, verdict_of
from tests.scenarios.nodes import consumer, pull, quiet, settings, snapshots
from tests.scenarios.policy_paths import (
    asked_of_a_model,
    imported_by_a_process,
    offered_by_sha256,
    pulled_after_the_dht,
    pulled_by_a_process,
    pulled_from_the_web,
    refused_by_publish,
    searched,
    verified_by_a_process,
)
from tests.scenarios.policy_scene import (
    NOTHING_OLDER,
    NOW,
    ONLY_HASHING,
    Disk,
    brought,
    named_in,
    outcome,
    pulling,
    write_bundle,
)
from tests.scenarios.policy_table import (
    EXPECTED,
    LENIENT,
    RULES,
    Case,
    Outcome,
    Path,
    check,
    gaps,
    make,
)

# ---------------------------------------------------------------- in this process


async def through_the_gate(tmp_path, case: Case, rule) -> Outcome:
    catalog = TrustedCatalog(lambda _: rule)
    seen = () if case.newer is None else (case.newer.head,)
    try:
        for data in (*(each.pack() for each in seen), case.packed[0]):
            catalog.offer(data, NOW)
        for data in case.packed[1:-1]:
            catalog.offer(data, NOW)
        for notice in case.notices:
            catalog.offer(notice.pack(), NOW)
        accepted = catalog.offer(case.release, NOW)
    except Refusal as error:
        return outcome(error)
    verdict = accepted.judgement.verdict
    return Outcome(verdict.value, refused=False, decision=rule.decide(verdict))


async def from_disk(tmp_path, case: Case, rule) -> Outcome:
    disk = Disk(tmp_path, case, rule)
    try:
        found = disk.knowledge.find(case.lab.publisher, "x")
        damage = getattr(found, "damage", None)
        if damage is not None:
            raise damage
        accepted = disk.knowledge.document(case.made.release.digest, Release)
    except UntrustedError as error:
        return outcome(error)
    finally:
        disk.close()
    return Outcome(accepted.judgement.text, refused=False)


async def learnt_from_a_peer(tmp_path, case: Case, rule) -> Outcome:
    store = Store.open(Layout.of(tmp_path / "home", "store"))
    knowledge = Knowledge(store, TrustedCatalog(lambda _: rule), lambda: NOW)
    lab = case.lab
    try:
        if case.newer is not None:
            knowledge.learn_head(lab.publisher, case.newer.head.pack())
            knowledge = Knowledge(store, TrustedCatalog(lambda _: rule), lambda: NOW)
        head, index, *pages, release = case.packed
        knowledge.learn_head(lab.publisher, head)
        knowledge.learn(index, case.made.index.digest, Index)
        for page in pages:
            knowledge.learn(page, sha256(page), Page)
        for notice in case.notices:
            knowledge.learn_notice(notice.pack())
        accepted = knowledge.learn(release, case.made.release.digest, Release)
    except UntrustedError as error:
        assert store.documents.get(case.made.release.digest) is None
        return outcome(error)
    finally:
        store.close()
    return Outcome(accepted.judgement.text, refused=False)


async def verify_offline(tmp_path, case: Case, rule) -> Outcome:
    disk = Disk(tmp_path, case, rule)
    try:
        (found,) = Inspector(disk.store, disk.knowledge).verify(f"{case.lab.publisher}/x")
    finally:
        disk.close()
    return Outcome(found.verdict, refused=not found.ok)


async def told_of_what_is_here(tmp_path, case: Case, rule) -> Outcome:
    """`info` and `ls`: what is refused is listed as that. Under `enforce` what is not well signed
    cannot come here, and `ls` does not look for it."""
    disk = Disk(tmp_path, case, rule)
    try:
        inspector = Inspector(disk.store, disk.knowledge)
        (row,) = inspector.ls(None)
        try:
            info = inspector.info(f"{case.lab.publisher}/x").verdict
        except UntrustedError as error:
            info = verdict_of(error).value
    finally:
        disk.close()
    if case.notices or rule.policy != "enforce":
        assert row.verdict.startswith(info)
    return Outcome(info)


# ---------------------------------------------------------------- between nodes


async def pulled_by_name(tmp_path, case: Case, rule) -> Outcome:
    async def bring(running):
        return (await pull(running, "lab/x")).verdict

    return await brought(tmp_path, case, rule, bring)


async def pulled_by_commit(tmp_path, case: Case, rule) -> Outcome:
    async def bring(running):
        return (await pull(running, f"lab/x@{commit_id(case.made.release.digest)}")).verdict

    return await brought(tmp_path, case, rule, bring)


async def pulled_into_a_cache(tmp_path, case: Case, rule) -> Outcome:
    """The names in a Hugging Face cache are digests: what they claim is checked first."""
    cache = tmp_path / "hub"
    async with pulling(tmp_path, case, rule) as running:
        try:
            verdict = (await pull_into(running, cache)).verdict
        except UntrustedError as error:
            assert not list(cache.rglob("refs")) + list(cache.glob("*/snapshots/*"))
            return outcome(error)
        return Outcome(verdict, refused=False)


async def pull_into(running, cache):
    return await running.pull(PullRequest("lab/x", cache, layout="hf"), quiet)


async def read_in_parts(tmp_path, case: Case, rule) -> Outcome:
    async def bring(running):
        asked = PartRequest("lab/x", "config.json", ((0, 2),))
        await running.bring_ranges(asked, quiet)
        assert await running.read(asked) == b"{}"
        return (await running.resolve("lab/x")).verdict

    return await brought(tmp_path, case, rule, bring)


async def read_as_from_a_hub(tmp_path, case: Case, rule) -> Outcome:
    """As Hugging Face's clients read it, by name."""

    async def bring(running):
        resolved = await running.hub.find("lab/x", None, "model")
        for file in resolved.release.files:
            async with running.hub.reading(resolved, file, 0, file.size) as reading:
                assert sum([len(data) async for data in reading]) == file.size
        return resolved.judgement.text

    return await brought(tmp_path, case, rule, bring)


async def told_by_info(tmp_path, case: Case, rule) -> Outcome:
    """What was let in once is looked at after it was taken back."""
    async with pulling(tmp_path, case, rule) as running:
        try:
            return Outcome((await running.info("lab/x")).verdict, refused=False)
        except UntrustedError as error:
            return outcome(error)


async def verified_by_a_node(tmp_path, case: Case, rule) -> Outcome:
    """What was let in under no rule at all is verified under this one."""
    async with pulling(tmp_path, replace(case, notices=()), RULES["off"]) as running:
        await pull(running, "lab/x")
        for notice in case.notices:
            running._services.knowledge.learn_notice(notice.pack())
        await running.trust.set_policy("lab", rule.policy, rule.stale)
        (found,) = await running.verify("lab/x", quiet)
        return Outcome(found.verdict, refused=not found.ok)


async def pulled_through_the_gateway(tmp_path, case: Case, rule) -> Outcome:
    """The last line of the stream says how it ended, with the exit code of the command line."""
    async with (
        pulling(tmp_path, case, rule) as running,
        open_gateway(running, settings(GATEWAY_LISTEN="127.0.0.1:0"), tmp_path / "here") as gate,
        httpx.AsyncClient(
            base_url=gate.url, headers={"Authorization": f"Bearer {gate.token}"}, trust_env=False
        ) as client,
    ):
        body = {"reference": "lab/x"}
        answer = await client.post("/control/v1/pull", json=body, timeout=30)
        last = json.loads(answer.text.splitlines()[-1])
        info = await client.get("/control/v1/info", params={"reference": "lab/x"})
        if "error" not in last:
            told = info.json().get("verdict", last["verdict"])
            assert told.startswith(last["verdict"][:8])
            return Outcome(last["verdict"], refused=False)
        assert last["error"]["exit"] == 4, last
        read = {"reference": "lab/x", "path": "config.json", "ranges": [[0, 2]]}
        assert (await client.post("/control/v1/read", json=read)).is_error
        assert not list(snapshots(tmp_path / "here"))
        return Outcome(named_in(last["error"]["message"]), refused=True)


async def imported_from_a_bundle(tmp_path, case: Case, rule) -> Outcome:
    """A node without a network, which has seen newer heads if there are any."""
    write_bundle(tmp_path / "stick", case)
    async with consumer(tmp_path / "here", None, case.lab.publisher) as running:
        await running.trust.set_policy("lab", rule.policy, rule.stale)
        if case.newer is not None:
            knowledge = running._services.knowledge
            knowledge.learn_head(case.lab.publisher, case.newer.head.pack())
        done = await running.bundles.import_from(BundleImportRequest(tmp_path / "stick"), quiet)
        (row,) = done.releases
        if row.exit:
            assert (row.exit, row.outcome) == (4, "refused"), row
            assert not list(snapshots(tmp_path / "here"))
            return Outcome(row.verdict, refused=True, decision="refuse")
        return Outcome(row.verdict, refused=False)


TWO_RULES = ("warn", "enforce, stale refused")
"""Of every decision one: the fast paths and one slow one are tried with all."""
BY_ITS_HEAD = "under enforce it cannot come here, and search goes by the publisher's head"
BYTES_ARE_RIGHT = "nothing is wrong with its bytes, whoever signed for them"
FIRST_SIGHT = "notices are kept of publishers whose head is known, and then no record is needed"
ONLY_STALE_DIFFERS = "the same as under enforce, which is another row"
SERVES_NOTHING_OLDER = "it knows the newer head, and asks the peer for that index alone"
PATHS = (
    Path("the gate alone", through_the_gate, {"poisoned": ONLY_HASHING}),
    Path(
        "a node after a restart",
        from_disk,
        {"rolled back": NOTHING_OLDER, "poisoned": ONLY_HASHING},
    ),
    Path("what a peer sends", learnt_from_a_peer, {"poisoned": ONLY_HASHING}),
    Path(
        "info and ls",
        told_of_what_is_here,
        {"rolled back": NOTHING_OLDER, "poisoned": ONLY_HASHING},
    ),
    Path(
        "search",
        searched,
        {
            "unsigned": BY_ITS_HEAD,
            "wrong key": BY_ITS_HEAD,
            "expired key": BY_ITS_HEAD,
            "rolled back": NOTHING_OLDER,
            "poisoned": ONLY_HASHING,
        },
    ),
    Path(
        "search, where a rule lets through what is not well signed",
        searched,
        {"rolled back": NOTHING_OLDER, "poisoned": ONLY_HASHING},
        rules=LENIENT,
    ),
    Path(
        "publish, before anything is kept",
        refused_by_publish,
        {
            "rolled back": "a publisher's new index follows the newest one that it knows",
            "poisoned": "a publisher hashes its own files before it signs",
        },
        rules=("enforce",),
    ),
    Path(
        "offered by SHA-256",
        offered_by_sha256,
        dict.fromkeys(EXPECTED.keys() - {"right", "poisoned"}, BYTES_ARE_RIGHT),
    ),
    Path(
        "asked of a model",
        asked_of_a_model,
        {"rolled back": NOTHING_OLDER, "poisoned": ONLY_HASHING},
    ),
    Path("verify, offline", verify_offline, {"rolled back": NOTHING_OLDER}, tells_all=True),
    Path(
        "pull over p2p",
        pulled_by_name,
        {"rolled back": SERVES_NOTHING_OLDER, "poisoned": ONLY_HASHING},
        slow=True,
    ),
    Path(
        "pull by commit id",
        pulled_by_commit,
        {
            "rolled back": "a commit id names one release, and no head is asked",
            "poisoned": ONLY_HASHING,
        },
        slow=True,
        rules=TWO_RULES,
    ),
    Path(
        "import from a bundle",
        imported_from_a_bundle,
        {"poisoned": ONLY_HASHING},
        slow=True,
        rules=TWO_RULES,
    ),
    Path(
        "pull into a Hugging Face cache",
        pulled_into_a_cache,
        {"rolled back": SERVES_NOTHING_OLDER},
        slow=True,
        rules=TWO_RULES,
    ),
    Path(
        "ranges and tensors",
        read_in_parts,
        {"rolled back": SERVES_NOTHING_OLDER, "poisoned": ONLY_HASHING},
        slow=True,
        rules=TWO_RULES,
    ),
    Path(
        "read as from a hub",
        read_as_from_a_hub,
        {"rolled back": SERVES_NOTHING_OLDER, "poisoned": ONLY_HASHING},
        slow=True,
        rules=TWO_RULES,
    ),
    Path(
        "pull and read through the gateway",
        pulled_through_the_gateway,
        {"rolled back": SERVES_NOTHING_OLDER, "poisoned": ONLY_HASHING},
        slow=True,
        rules=TWO_RULES,
    ),
    Path(
        "verify, by a node",
        verified_by_a_node,
        {"rolled back": NOTHING_OLDER},
        slow=True,
        tells_all=True,
        rules=TWO_RULES,
    ),
    Path(
        "pull from a web seed only",
        pulled_from_the_web,
        {"rolled back": SERVES_NOTHING_OLDER, "poisoned": ONLY_HASHING},
        slow=True,
        rules=TWO_RULES,
    ),
    Path(
        "pull with the head from the DHT only",
        pulled_after_the_dht,
        {
            "revoked": FIRST_SIGHT,
            "withdrawn": FIRST_SIGHT,
            "forked": FIRST_SIGHT,
            "rolled back": "nothing newer is known of who was never heard of",
            "poisoned": ONLY_HASHING,
        },
        slow=True,
        rules=TWO_RULES,
    ),
    Path(
        "the process p2phub pull",
        pulled_by_a_process,
        {"rolled back": SERVES_NOTHING_OLDER, "poisoned": ONLY_HASHING},
        slow=True,
        rules=("enforce",),
    ),
    Path(
        "the process p2phub pull, stale refused",
        pulled_by_a_process,
        dict.fromkeys(EXPECTED.keys() - {"stale"}, ONLY_STALE_DIFFERS),
        slow=True,
        rules=("enforce, stale refused",),
    ),
    Path(
        "the process p2phub bundle import",
        imported_by_a_process,
        {"poisoned": ONLY_HASHING},
        slow=True,
        rules=("enforce",),
    ),
    Path(
        "the process p2phub bundle import, stale refused",
        imported_by_a_process,
        dict.fromkeys(EXPECTED.keys() - {"stale"}, ONLY_STALE_DIFFERS),
        slow=True,
        rules=("enforce, stale refused",),
    ),
    Path(
        "the process p2phub verify",
        verified_by_a_process,
        {"rolled back": NOTHING_OLDER},
        slow=True,
        tells_all=True,
        rules=("enforce",),
    ),
    Path(
        "the process p2phub verify, stale refused",
        verified_by_a_process,
        dict.fromkeys(EXPECTED.keys() - {"stale"}, ONLY_STALE_DIFFERS),
        slow=True,
        tells_all=True,
        rules=("enforce, stale refused",),
    ),
)


def rows():
    for path in PATHS:
        for case in EXPECTED:
            if case not in path.leaves_out:
                for rule in path.rules:
                    marks = (pytest.mark.slow,) if path.slow else ()
                    yield pytest.param(
                        path, case, rule, id=f"{path.name}-{case}-{rule}", marks=marks
                    )


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize(("path", "case", "rule"), list(rows()))
async def test_the_same_verdict_on_every_path(tmp_path, path, case, rule):
    check(path, case, rule, await path.run(tmp_path, make(case), RULES[rule]))


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name)
def test_a_path_leaves_nothing_out_without_a_reason(path):
    assert gaps(path) == []


def test_the_table_has_every_rule_for_every_case():
    assert {len(decisions) for _, decisions in EXPECTED.values()} == {len(RULES)}
