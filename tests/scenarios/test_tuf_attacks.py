"""The attacks that The Update Framework names, and three more, against real nodes.

Each is tried on a node that pulls; each names the verdict that must come out, ends with exit code
4, and leaves nothing of the attack in sight, on the disk or for others to fetch.

What python-tuf tries on its updater (`tests/test_updater_*.py`), and where it is tried here:
 * a root in the middle or at the end that is signed wrongly, of the same number, or not the next:
   `tests/trust/test_identity.py`; an expired root: roots do not expire here, heads do (freeze);
 * a timestamp, snapshot or targets file without signatures or with another hash or version: a head,
   an index or a page in `tests/trust/test_catalog.py` (`arbitrary_install_*`, `mix_and_match_*`);
 * versions rolled back: `test_rollback` here and `rollback_*` there; after a restart:
   `tests/node/test_knowledge.py`;
 * fast-forward, and the way out by other keys: `test_fast_forward` here;
 * expired metadata: `test_freeze`; that the clock of the check is that of its beginning: the gate
   is handed one `now`;
 * more rotations than allowed: `tests/trust/test_identity.py`; there are no delegations of
   delegations;
 * keys and thresholds (no key twice, too few, an unknown one): `tests/trust/test_identity.py`,
   `tests/formats/test_publisher.py` and `test_key_compromise_below_the_threshold`;
 * target names that lead out of the folder: `tests/scenarios/test_lying_publishers.py`;
 * consistent snapshots and prefixes of targets: everything here is named by its digest.

A poisoned SHA-256 is tried in `tests/scenarios/test_lying_publishers.py`, slow and endless answers
of every kind in `tests/scenarios/test_hostile_peers.py`, mirrors on the web in
`tests/scenarios/test_web_seeds.py`, aliases on a terminal and in a pipe in
`tests/cli/test_trust.py`.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from p2phub.errors import ForkedError, P2PHubError, RolledBackError
from p2phub.formats.codec import decode, encode
from p2phub.formats.digest import sha256
from p2phub.formats.limits import MAX_INTEGER, MAX_PAGE
from p2phub.formats.publisher import Index, Ref, RepoEntry
from p2phub.gateway.server import open_gateway
from p2phub.node.node import Node
from p2phub.testing.files import random_bytes
from p2phub.testing.forgeries import signed_by_others
from p2phub.testing.publishers import FakePublisher
from p2phub.trust.envelope import sign_payload, unpack
from p2phub.trust.refusals import verdict_of
from p2phub.trust.verdict import Verdict
from tests.scenarios.nodes import (
    MIB,
    consumer,
    contents,
    flip,
    node,
    pull,
    refused,
    settings,
    stock,
)

FILES = {"config.json": b"{}", "model.safetensors": random_bytes("model", 2 * MIB)}
EVIL = {"config.json": b"evil"}


@asynccontextmanager
async def against(
    tmp_path, lab: FakePublisher, hidden: dict[bytes, bytes] | None = None
) -> AsyncIterator[Node]:
    """A node that has met one peer, which serves what `lab` signed last, and `hidden` documents."""
    stock(tmp_path / "there", lab, hidden)
    async with (
        node(tmp_path / "there") as serving,
        consumer(tmp_path / "here", serving, lab.publisher) as pulling,
    ):
        yield pulling


async def fails(
    pulling: Node, verdict: Verdict, *evil: bytes, reference: str = "lab/x"
) -> P2PHubError:
    """A pull is refused for this reason, and none of the `evil` documents (digests) was kept."""
    error = await refused(4, pulling, reference)
    assert verdict_of(error) is verdict, error
    store = pulling._services.store
    assert store.repos.local() == []
    for digest in evil:
        assert store.documents.get(digest) is None
    return error


async def test_arbitrary_install(tmp_path):
    """A stranger signs the release in the place of its publisher."""
    lab = FakePublisher(1)
    made = lab.publish("x", FILES)
    data = signed_by_others(made.release.pack(), FakePublisher(66).key("release"))
    async with against(tmp_path, lab, {made.release.digest: data}) as pulling:
        await fails(pulling, Verdict.UNTRUSTED_KEY, made.release.digest)


async def test_endless_data(tmp_path):
    """A page that is longer than any may be, under the digest of the right one."""
    lab = FakePublisher(1)
    made = lab.publish("x", FILES)
    digest = sha256(made.pages[0])
    async with against(tmp_path, lab, {digest: bytes(8 * MAX_PAGE)}) as pulling:
        await fails(pulling, Verdict.CORRUPT, digest)


async def test_extraneous_files(tmp_path):
    """A file that its publisher never listed is slipped into the release."""
    lab, other = FakePublisher(1), FakePublisher(1)
    made = lab.publish("x", FILES)
    more = other.release("x", {**FILES, "run_me.py": b"evil"})
    lab.contents |= other.contents
    async with against(tmp_path, lab, {made.release.digest: more.pack()}) as pulling:
        await fails(pulling, Verdict.CORRUPT, made.release.digest, more.digest)


async def test_fast_forward(tmp_path):
    """A stolen key jumps to the last number there is; the next delegation outranks it."""
    lab, thief = FakePublisher(1, writers=("release", "stolen")), FakePublisher(1, writers=("x",))
    made = lab.publish("x", FILES)
    thief.delegation, thief.delegation_version = lab.delegation, lab.delegation_version
    seq = MAX_INTEGER - 1
    index, _ = thief.sign_index(writer="stolen", seq=seq, parents=[made.index.digest])
    head = thief.sign_head(index=index.digest, seq=seq, signers=("stolen",))
    lab.delegate("release")
    index, _ = lab.sign_index()
    lab.sign_head()
    async with against(tmp_path, lab) as pulling:
        knowledge = pulling._services.knowledge
        knowledge.learn_head(lab.publisher, head.pack())
        assert knowledge.state(lab.publisher).seq == seq
        done = await pull(pulling)
        assert done.verdict == "verified"
        assert knowledge.state(lab.publisher).order == (1, 2, 2)
        with pytest.raises(RolledBackError):
            knowledge.learn_head(lab.publisher, head.pack())


async def test_freeze(tmp_path):
    """Everybody keeps the newest head from us: what we have says since when it is stale, and a rule
    can refuse it."""
    lab = FakePublisher(1, not_after=1_700_000_100)
    lab.publish("x", FILES)
    async with against(tmp_path, lab) as pulling:
        await pulling.trust.set_policy("lab", "enforce", "refuse")
        error = await fails(pulling, Verdict.STALE)
        assert "stale since 2023-11-14" in error.message
        await pulling.trust.set_policy("lab", "enforce", "warn")
        assert (await pull(pulling)).verdict.startswith("verified, stale since 2023-11-14")


async def test_malicious_mirror(tmp_path):
    """It serves good documents and a wrong byte in the middle of a file."""
    lab = FakePublisher(1)
    lab.publish("x", FILES)
    stock(tmp_path / "there", lab)
    blobs = [path for path in (tmp_path / "there" / "store").rglob("*") if path.is_file()]
    flip(max(blobs, key=lambda path: path.stat().st_size), MIB)
    async with (
        node(tmp_path / "there") as mirror,
        consumer(tmp_path / "here", mirror, lab.publisher) as pulling,
    ):
        with pytest.raises(P2PHubError) as caught:
            await pull(pulling, to=tmp_path / "out")
        assert caught.value.exit in (4, 6), "refused here, or its own check kept it from serving"
        out = tmp_path / "out"
        served = contents(out) if out.exists() else {}
        assert served.get("model.safetensors") in (None, FILES["model.safetensors"])


async def test_mix_and_match(tmp_path):
    """A head of one publisher over the index of another."""
    lab, other = FakePublisher(1), FakePublisher(2)
    lab.publish("x", FILES)
    theirs = other.publish("x", EVIL)
    lab.sign_head(index=theirs.index.digest)
    async with against(tmp_path, lab, other.documents) as pulling:
        await fails(pulling, Verdict.UNTRUSTED_KEY, theirs.index.digest, theirs.release.digest)


async def test_rollback(tmp_path):
    """Who knows of something newer takes no older head, not even after a restart."""
    lab = FakePublisher(1)
    old = lab.publish("x", EVIL)
    new = lab.publish("x", FILES)
    for _ in range(2):
        async with against(tmp_path, lab) as pulling:
            knowledge = pulling._services.knowledge
            knowledge.learn_head(lab.publisher, new.head.pack())
            with pytest.raises(RolledBackError):
                knowledge.learn_head(lab.publisher, old.head.pack())
            assert contents((await pull(pulling)).path) == FILES


async def test_key_compromise_below_the_threshold(tmp_path):
    """Two of three must sign; the thief has one, and lists its release in an index of its own."""
    lab = FakePublisher(1, writers=("release", "second", "third"), threshold=2)
    made = lab.publish("x", EVIL, signers=("release",))
    async with against(tmp_path, lab) as pulling:
        error = await fails(pulling, Verdict.UNTRUSTED_KEY, made.release.digest)
        assert "1 of 2 needed" in error.message


async def test_wrong_software(tmp_path):
    """A good release of one repo is listed as another one, in its own place as well or not."""
    for number, in_its_place in enumerate((True, False)):
        lab = FakePublisher(1)
        other = lab.publish("other", EVIL)
        lab.entries["x"] = RepoEntry("x", "model", {"main": Ref(other.release.digest, 2)})
        if not in_its_place:
            del lab.entries["other"]
        lab.sign_index()
        lab.sign_head()
        async with against(tmp_path / str(number), lab) as pulling:
            error = await fails(pulling, Verdict.UNTRUSTED_KEY)
            assert "other" in error.message


async def test_wrong_software_that_needs_a_newer_p2phub(tmp_path):
    """What this version does not understand it does not run as something else."""
    lab = FakePublisher(1)
    made = lab.publish("x", FILES)
    fields = dict(decode(made.release.payload, limit=MIB)) | {"requires": ["encryption"]}
    newer = sign_payload("release", encode(fields), [lab.key("release")])
    lab.entries["x"] = RepoEntry("x", "model", {"main": Ref(newer.digest, 2)})
    lab.sign_index()
    lab.sign_head()
    async with against(tmp_path, lab, {newer.digest: newer.pack()}) as pulling:
        error = await fails(pulling, Verdict.CORRUPT, newer.digest)
        assert "newer p2phub" in error.message


# ---------------------------------------------------------------- and three of our own


async def test_fork(tmp_path):
    """Two peers tell two stories: neither is believed, and the proof is kept to show others."""
    lab, twin = FakePublisher(1), FakePublisher(1)
    one = lab.publish("x", FILES)
    other = twin.publish("x", EVIL)
    lab.documents |= twin.documents
    async with against(tmp_path, lab) as pulling:
        knowledge = pulling._services.knowledge
        first, second = sorted((one, other), key=lambda made: made.index.digest)
        knowledge.learn_head(lab.publisher, first.head.pack())
        knowledge.learn(first.index.pack(), first.index.digest, Index)
        knowledge.learn_head(lab.publisher, second.head.pack())
        with pytest.raises(ForkedError):
            knowledge.learn(second.index.pack(), second.index.digest, Index)
        (proof,) = knowledge.notices(lab.publisher)
        assert unpack(proof).type == "fork"
        error = await fails(pulling, Verdict.FORKED, other.release.digest, one.release.digest)
        assert isinstance(error, ForkedError)
        assert all(made.index.digest.hex() in error.message for made in (one, other))
    async with against(tmp_path, lab) as pulling:
        await fails(pulling, Verdict.FORKED)


async def pins(running: Node) -> dict[str, str]:
    return {each.alias: each.publisher_id for each in await running.trust.list()}


async def test_an_alias_is_not_taken_over_by_whoever_claims_it(tmp_path):
    """Another publisher's node announces itself as the lab; no door of ours pins it."""
    lab, evil = FakePublisher(1), FakePublisher(66)
    lab.publish("x", FILES)
    evil.publish("x", EVIL)
    stock(tmp_path / "evil", evil)
    async with (
        against(tmp_path, lab) as pulling,
        node(tmp_path / "evil", pulling) as claiming,
    ):
        await pulling.connect(claiming.identity.addresses[0])
        before = await pins(pulling)
        with pytest.raises(P2PHubError) as caught:
            await pulling.trust.add("lab", str(evil.publisher))
        assert str(lab.publisher) in caught.value.message + caught.value.remedy
        assert str(evil.publisher) in caught.value.message + caught.value.remedy
        for unpinned in ("other/x", "evil/x"):
            with pytest.raises(P2PHubError) as caught:
                await pull(pulling, unpinned)
            assert caught.value.exit != 0
        assert await pins(pulling) == before
        assert contents((await pull(pulling)).path) == FILES


async def test_a_gateway_never_pins_an_alias_by_itself(tmp_path):
    lab, evil = FakePublisher(1), FakePublisher(66)
    lab.publish("x", FILES)
    async with (
        against(tmp_path, lab) as pulling,
        open_gateway(pulling, settings(GATEWAY_LISTEN="127.0.0.1:0"), tmp_path / "here") as gate,
        httpx.AsyncClient(
            base_url=gate.url, headers={"Authorization": f"Bearer {gate.token}"}, trust_env=False
        ) as client,
    ):
        before = await pins(pulling)
        body = {"alias": "lab", "publisher_id": str(evil.publisher)}
        answer = await client.post("/control/v1/trust/add", json=body)
        assert answer.is_error
        assert str(lab.publisher) in answer.text
        answer = await client.post("/control/v1/pull", json={"reference": "other/x"})
        assert answer.is_error or '"error"' in answer.text
        assert await pins(pulling) == before
