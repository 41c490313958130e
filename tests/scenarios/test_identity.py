"""An identity that changes while its nodes run: real nodes, the root's secret beside them."""

from base64 import b64encode

import pytest

from p2phub.errors import P2PHubError, UntrustedError
from p2phub.formats.ids import PublisherId
from p2phub.formats.manifest import Release
from p2phub.formats.publisher import KeySet, ReleaseKey
from p2phub.node import changing, recovering, rotating
from p2phub.node.cosigning import Cosigning
from p2phub.node.desk import heard_papers, open_desk
from p2phub.node.initialise import Wishes, initialise
from p2phub.node.own_keys import new_key
from p2phub.node.publics import public_documents
from p2phub.node.values import SearchQuery
from p2phub.store.keyring import Keyring
from p2phub.store.layout import Layout
from p2phub.testing.identities import publish_here
from p2phub.trust.envelope import sign
from p2phub.trust.keys import SigningKey
from p2phub.trust.secrets import Master, RootSecret
from tests.network.loopback import until
from tests.scenarios.nodes import (
    consumer,
    model,
    new_publisher,
    node,
    publish,
    pull,
    running_home,
    settings,
)


def secret_of(home):
    """What makes the root keys: only its owner has it."""
    return RootSecret(Master.from_phrase((home / "p2phub-backup.json.phrase").read_text()))


async def change(running, make, *words):
    """What the owner does beside the running node, and hands to it."""
    return await change_with(running, secret_of(running_home(running)), make, *words)


async def change_with(running, secret, make, *words):
    with open_desk(settings(), running_home(running), read_only=True) as desk:
        parcel = make(desk, secret, *words)
    return await adopt(running, parcel)


async def adopt(running, parcel):
    return await running.own_identity.adopt(b64encode(parcel.to_bytes()).decode())


def release_key(home, name="release"):
    return SigningKey(Keyring(Layout.of(home)).load(name))


def rotate(desk, secret):
    papers = changing.require_own_papers(desk.store.documents)
    v = papers.identity.root.v
    following = KeySet((secret.root_key(v + 2).public,))
    return rotating.rotate(desk, [rotating.Step.of(secret.root_key(v + 1))], following, None, None)


def known_of(running, lab):
    return running._services.knowledge.state(PublisherId.parse(lab))


def order_of(running, lab):
    state = known_of(running, lab)
    return state.order[:2] if state is not None else (0, 0)


async def test_a_node_that_was_away_for_two_rotations_follows_the_chain(tmp_path):
    home, files = tmp_path / "lab", model(tmp_path / "files")
    lab = new_publisher(home)
    async with node(home) as owner:
        await publish(owner, files)
        async with consumer(tmp_path / "other", owner, lab) as other:
            await pull(other)
        await change(owner, rotate)
        await change(owner, rotate)
        await publish(owner, model(tmp_path / "more", "more"), "more")
        async with consumer(tmp_path / "other", owner, lab) as other:
            await pull(other, "lab/more")
            assert order_of(other, lab) == (3, 3)
            assert (await pull(other)).verdict == "verified"


async def test_a_stolen_release_key_is_out_at_every_node_that_hears_of_it(tmp_path):
    home = tmp_path / "lab"
    lab = new_publisher(home)
    async with (
        node(home) as owner,
        consumer(tmp_path / "other", owner, lab) as other,
    ):
        await publish(owner, model(tmp_path / "good", "good"), "good")
        await pull(other, "lab/good")
        stolen = release_key(home)
        made = await change(
            owner, changing.revoke_key, stolen.public.hex(), "the laptop was stolen", None
        )
        assert (made.signed_again, made.dropped) == (1, ())
        await until(lambda: order_of(other, lab) == (1, 2))
        with pytest.raises(UntrustedError):
            learn_from_thief(other, lab, stolen)
        assert (await pull(other, "lab/good")).verdict == "verified"
        await publish(owner, model(tmp_path / "more", "more"), "more")
        await pull(other, "lab/more")


def learn_from_thief(running, lab, stolen):
    """A thief's head with a far higher seq, under the papers that the node knows."""
    services, publisher = running._services, PublisherId.parse(lab)
    papers = heard_papers(services.store.documents, publisher)
    evil = sign(papers.head(bytes(32), 1 << 40, 0), [stolen])
    services.knowledge.learn_head(publisher, evil.pack())


async def test_a_key_that_is_replaced_leaves_what_others_hold_verified(tmp_path):
    """Without a revocation: who holds a release fetches its new signature."""
    home = tmp_path / "lab"
    lab = new_publisher(home)
    async with (
        node(home) as owner,
        consumer(tmp_path / "other", owner, lab) as other,
    ):
        await publish(owner, model(tmp_path / "good", "good"), "good")
        await pull(other, "lab/good")
        await change(owner, changing.remove, release_key(home).public.hex())
        await until(lambda: order_of(other, lab) == (1, 2))
        assert (await pull(other, "lab/good")).verdict == "verified"


async def test_a_second_machine_joins_over_the_network_and_publishes(tmp_path):
    home, second = tmp_path / "lab", tmp_path / "second"
    lab = new_publisher(home)
    made = new_key(settings(), second, "release", None)
    async with node(home) as owner:
        await publish(owner, model(tmp_path / "one", "one"), "one")
        async with node(second, owner) as joining:
            with pytest.raises(P2PHubError, match="names no release key"):
                await joining.own_identity.join(lab)
            key = ReleaseKey(bytes.fromhex(made.key))
            await change(owner, lambda desk, secret: changing.allow(desk, secret, key))
            joined = await joining.own_identity.join(lab)
            assert (joined.publisher_id, joined.release_key) == (lab, made.key)
            await publish(joining, model(tmp_path / "two", "two"), "two")
            await until(lambda: known_of(owner, lab).seq >= 2)
            async with consumer(tmp_path / "other", joining, lab) as other:
                assert (await pull(other, "lab/one")).verdict == "verified"
                assert (await pull(other, "lab/two")).verdict == "verified"


async def test_a_release_that_was_signed_before_its_key_expired_stays_verified(tmp_path):
    home = tmp_path / "lab"
    lab = new_publisher(home)
    with open_desk(settings(), home) as desk:
        publish_here(desk, "x")
        expires = desk.now() + 1
        key = ReleaseKey(release_key(home).public, not_after=expires)
        parcel = changing.allow(desk, secret_of(home), key)
    async with node(home) as owner:
        await adopt(owner, parcel)
        await until(lambda: owner._services.now() > expires)
        with pytest.raises(P2PHubError):
            await publish(owner, model(tmp_path / "late", "late"), "late")
        (found,) = await owner.search(SearchQuery("x"))
        assert found.verdict.startswith("verified")
        accepted = release_of(owner, lab, "x")
        assert accepted.judgement.verdict.good


def release_of(running, lab, name):
    """A release that passes the gate, as it lies on this disk."""
    knowledge = running._services.knowledge
    entry = knowledge.find(PublisherId.parse(lab), name)
    return knowledge.document(entry.refs["main"].release, Release)


async def test_a_thief_with_the_next_keys_loses_to_recovery_at_every_node(tmp_path):
    """The thief has rotated, and everybody believes it, until the helpers have signed."""
    home, heir = tmp_path / "lab", tmp_path / "heir"
    helpers = [SigningKey(bytes([n]) * 32) for n in (1, 2, 3)]
    wishes = Wishes(recovery=KeySet(tuple(key.public for key in helpers), 2))
    lab = initialise(settings(), home, "lab", None, 1, wishes).publisher_id
    secret, fresh = secret_of(home), Master(b"f" * 32)
    async with node(home) as owner:
        await publish(owner, model(tmp_path / "good", "good"), "good")
        good = release_key(home).public
        async with consumer(tmp_path / "other", owner, lab) as other:
            await pull(other, "lab/good")
            await change(owner, rotate)  # it is the thief who sits here now
            await until(lambda: order_of(other, lab)[0] == 2)
            async with consumer(heir, other, lab) as rescued:
                await pull(rescued, "lab/good")
                file = signed_by_helpers(heir, lab, fresh, helpers[:2])
                with open_desk(settings(), heir, read_only=True) as desk:
                    keep = rotating.Keep(prefixes=(good.hex(),))
                    parcel = recovering.finish(desk, [file], fresh, keep)
                done = await adopt(rescued, parcel)
                assert (done.publisher_id, done.root_v) == (lab, 2)
                await until(lambda: recovered(other, lab))
                await until(lambda: recovered(owner, lab))
                assert (await pull(other, "lab/good")).verdict == "verified"
                with pytest.raises(P2PHubError):
                    await change_with(owner, secret, rotate)
                await publish(rescued, model(tmp_path / "more", "more"), "more")
                assert (await pull(other, "lab/more")).verdict == "verified"


def signed_by_helpers(home, lab, fresh, helpers):
    """The file that went from hand to hand."""
    with open_desk(settings(), home, read_only=True) as desk:
        public = public_documents(desk, lab)[1]
        file = recovering.prepare(public, fresh, None, 1)
        for helper in helpers:
            file, _ = Cosigning(desk, file).signed([helper])
    return file


def recovered(running, lab):
    return known_of(running, lab).identity.chain[-1].how == "recovery"


async def test_what_is_no_parcel_is_refused_by_a_running_node(tmp_path):
    new_publisher(tmp_path / "lab")
    async with node(tmp_path / "lab") as owner:
        for text in ("", "not base64!", b64encode(b"junk").decode()):
            with pytest.raises(P2PHubError, match="parcel"):
                await owner.own_identity.adopt(text)


async def test_a_machine_with_a_publisher_of_its_own_joins_no_other(tmp_path):
    new_publisher(tmp_path / "lab")
    async with node(tmp_path / "lab") as owner:
        with pytest.raises(P2PHubError, match="publishes for"):
            await owner.own_identity.join("a" * 52)
