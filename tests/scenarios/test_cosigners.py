"""Members of an organisation sign over the network: each on a node of its own, with nobody
carrying files; and what a stranger learns, which is nothing.
"""

from dataclasses import replace

import pytest
import trio

from p2phub.errors import NotFoundError, P2PHubError, RefusedError
from p2phub.formats.cosigning import FRESH
from p2phub.node import cosigners
from p2phub.node.cosigners import Cosigners
from p2phub.node.values import PublishRequest
from p2phub.testing.publishers import FakePublisher
from p2phub.trust import envelope
from tests.scenarios.nodes import consumer, contents, model, node, publish, pull, quiet
from tests.scenarios.writers import become, services_of

KEYS = ("one", "two", "three")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(cosigners, "LOOK_EVERY", 0.05)
    monkeypatch.setattr(cosigners, "ASK_EVERY", 0.5)
    monkeypatch.setattr(cosigners, "LEAVE_ALONE", 0.5)


@pytest.fixture
def lab():
    made = FakePublisher(7, writers=KEYS)
    made.delegate(*KEYS, threshold=2)
    return made


async def until(found):
    """What `found` gives, once it gives something."""
    with trio.fail_after(60):
        for _ in range(1000):
            if result := await found():
                return result
            await trio.sleep(0.05)
    pytest.fail("it never came")


async def listed(running, name, commit):
    try:
        return (await running.info(name)).commit == commit
    except P2PHubError:
        return False


async def test_a_release_is_signed_by_a_member_on_its_own_node_and_listed_by_itself(tmp_path, lab):
    homes = [become(tmp_path / name, lab, name) for name in ("one", "two")]
    async with node(homes[0]) as one, node(homes[1]) as two:
        await two.connect(one.identity.addresses[0])
        made = await publish(one, model(tmp_path / "model"))
        assert made.pending is not None
        (waiting,) = await until(two.proposals.list)
        assert (waiting.commit, waiting.signatures, waiting.here) == (made.commit, 1, False)
        signed = await two.proposals.sign(made.commit, None, quiet)
        assert (signed.signatures, signed.listed) == (2, False)
        await until(lambda: listed(one, "x", made.commit))
        async with consumer(tmp_path / "reader", one, lab.publisher) as reader:
            assert (await pull(reader)).verdict == "verified"

        async def forgotten():
            return not await two.proposals.list() and not await one.proposals.list()

        await until(forgotten)


async def test_a_member_looks_at_the_files_before_it_signs(tmp_path, lab):
    homes = [become(tmp_path / name, lab, name) for name in ("one", "two")]
    folder = model(tmp_path / "model")
    async with node(homes[0]) as one, node(homes[1]) as two:
        await two.connect(one.identity.addresses[0])
        made = await publish(one, folder)
        await until(two.proposals.list)
        row = await two.proposals.fetch(made.commit, tmp_path / "look", quiet)
        assert (row.here, row.signatures) == (True, 1)
        assert contents(tmp_path / "look") == contents(folder)
        signed = await two.proposals.sign(made.commit, None, quiet)
        assert signed.listed
        assert (await two.info("x")).commit == made.commit
        with pytest.raises(NotFoundError):
            await two.proposals.fetch("01234567", None, quiet)


async def test_a_stranger_hears_of_nothing(tmp_path, lab):
    """It says that it is a node of this publisher, and even has the papers; it has no key."""
    async with node(become(tmp_path / "one", lab, "one")) as one:
        await publish(one, model(tmp_path / "model"))
        async with node(become(tmp_path / "x", lab, "stranger")) as stranger:
            await stranger.connect(one.identity.addresses[0])
            theirs = services_of(stranger)
            asker = Cosigners(theirs, stranger.identity.peer_id)
            peer = one.identity.peer_id
            thief = lab.key("stranger")
            object.__setattr__(theirs.keyring, "load", lambda name: thief.seed)
            with pytest.raises(P2PHubError):
                await asker._exchange(peer, asker._said(peer, ()))
            assert await stranger.proposals.list() == ()


async def test_a_membership_is_for_one_pair_of_peers_and_a_short_time(tmp_path, lab):
    homes = [become(tmp_path / name, lab, name) for name in ("one", "two")]
    async with node(homes[0]) as one, node(homes[1]) as two:
        ours = Cosigners(services_of(one), one.identity.peer_id)
        theirs = Cosigners(services_of(two), two.identity.peer_id)
        now = services_of(two).now()
        member = theirs._membership(one.identity.peer_id)
        ours._require_member(two.identity.peer_id, member)
        for peer, said in (
            ("12D3KooWSomebodyElse", member),
            (two.identity.peer_id, theirs._membership("12D3KooWSomebodyElse")),
            (two.identity.peer_id, replace(member, at=member.at + 1)),
            (two.identity.peer_id, replace(member, key=lab.key("one").public)),
        ):
            with pytest.raises(RefusedError):
                ours._require_member(peer, said)
        for shift, good in ((FRESH, True), (FRESH + 1, False), (-FRESH, True), (-FRESH - 1, False)):
            object.__setattr__(services_of(one), "now", lambda shift=shift: now + shift)
            object.__setattr__(services_of(two), "now", lambda: now)
            said = theirs._membership(one.identity.peer_id)
            if good:
                ours._require_member(two.identity.peer_id, said)
            else:
                with pytest.raises(RefusedError):
                    ours._require_member(two.identity.peer_id, said)


async def test_what_no_member_signed_is_not_taken(tmp_path, lab):
    async with node(become(tmp_path / "one", lab, "one")) as one:
        services = services_of(one)
        made = await one.publish(PublishRequest(model(tmp_path / "model"), "x"), quiet)
        signed = envelope.unpack(services.store.proposals.get(bytes.fromhex(made.digest)).data)
        await one.proposals.drop(made.commit)
        stranger = envelope.sign_payload("release", signed.payload, [lab.key("stranger")])
        for bad in (replace(signed, signatures=()), stranger):
            with pytest.raises(P2PHubError):
                cosigners._take_one(services, bad.pack())
        with pytest.raises(P2PHubError):
            cosigners._take_one(services, lab.delegation.pack())
        assert await one.proposals.list() == ()
        both = envelope.merge(signed, stranger)
        cosigners._take_one(services, both.pack())
        (row,) = await one.proposals.list()
        assert row.signed_by == (lab.key("one").public.hex(),)
        kept = envelope.unpack(services.store.proposals.get(bytes.fromhex(made.digest)).data)
        assert len(kept.signatures) == 1
