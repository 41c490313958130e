"""Changes of our own identity: what the store takes, what it tells of them, and what it refuses."""

from dataclasses import replace

import pytest

from p2phub.errors import (
    ForkedError,
    NotFoundError,
    RefusedError,
    RevokedError,
    RolledBackError,
    UntrustedError,
    UsageError,
)
from p2phub.formats.manifest import Release
from p2phub.formats.notices import Revocation, RevokedKey
from p2phub.formats.publisher import Delegation, KeySet, ReleaseKey
from p2phub.node.desk import own_papers
from p2phub.node.identity import adopt
from p2phub.node.reissue import read_listing
from p2phub.store.index import Index
from p2phub.store.keyring import Keyring
from p2phub.store.layout import Layout
from p2phub.testing.disks import PowerCut, PowerCutError
from p2phub.testing.identities import learn, open_home, own_desk, papers_of, publish, told_by
from p2phub.testing.publishers import CREATED, FakePublisher, Publication
from p2phub.trust import changes
from p2phub.trust.envelope import sign, unpack
from p2phub.trust.parcels import packed


def parcel_of(papers, *notices):
    return packed([*papers.envelopes, *notices])


def allowed(lab, name, **limits):
    """The papers of `lab` with the release key `name` in them."""
    papers = papers_of(lab)
    made = changes.allow(papers.identity, ReleaseKey(lab.key(name).public, **limits), now=CREATED)
    return changes.changed(papers, made, lab.root_signers(1))


def replaced(lab, old, new, papers=None):
    papers = papers or papers_of(lab)
    made = changes.remove(
        papers.identity, lab.key(old).public, replacement=ReleaseKey(lab.key(new).public)
    )
    return changes.changed(papers, made, lab.root_signers(1))


def rotated(lab):
    papers, chain = papers_of(lab), papers_of(lab).identity.chain
    root = changes.rotation(chain, lab.root_key_set(2), lab.root_key_set(3), lab.recovery)
    delegation = replace(papers.identity.delegation, version=2)
    roots = (*papers.roots, sign(root, lab.root_signers(2)))
    return changes.rooted(roots, delegation, lab.root_signers(2))


@pytest.fixture
def lab():
    return FakePublisher(1)


@pytest.fixture
def desk(tmp_path, lab):
    with own_desk(tmp_path, lab) as desk:
        yield desk


# ---------------------------------------------------------------- release keys


def test_another_key_is_let_in_and_what_was_published_stays(desk, lab):
    publish(desk, lab, "demo")
    made = adopt(desk, parcel_of(allowed(lab, "bob", repos=("demo",))))
    assert (made.delegation_version, made.seq, made.signed_again) == (2, 1, 0)
    assert made.release_key == lab.key("release").public.hex()
    assert own_papers(desk.store.documents).identity.release_key(lab.key("bob").public)
    assert told_by(desk, lab.publisher) == {"demo@main": "verified"}


def test_before_anything_was_published_the_papers_change_and_nothing_is_told(desk, lab):
    made = adopt(desk, parcel_of(allowed(lab, "bob")))
    assert (made.delegation_version, made.seq) == (2, None)
    assert desk.knowledge.state(lab.publisher) is None
    assert own_papers(desk.store.documents).identity.delegation.version == 2


def test_the_key_of_this_machine_is_replaced_and_signs_what_was_good_again(desk, lab):
    release = publish(desk, lab, "demo")
    desk.keyring.save("release-2", lab.key("new").seed)
    made = adopt(desk, parcel_of(replaced(lab, "release", "new")))
    assert (made.seq, made.signed_again) == (2, 1)
    assert made.release_key == lab.key("new").public.hex()
    assert told_by(desk, lab.publisher) == {"demo@main": "verified"}
    data = desk.store.documents.get(release.digest)
    assert lab.key("new").public in unpack(data).signed_by()


def test_a_key_that_is_not_here_cannot_tell_of_the_change(desk, lab):
    publish(desk, lab, "demo")
    before = desk.store.documents.head(lab.publisher)
    with pytest.raises(RefusedError, match="no release key"):
        adopt(desk, parcel_of(replaced(lab, "release", "elsewhere")))
    assert desk.store.documents.head(lab.publisher) == before
    assert own_papers(desk.store.documents).identity.delegation.version == 1


def test_a_limited_key_signs_only_what_it_may_again(tmp_path):
    lab = FakePublisher(1, writers=("release", "new"))
    with own_desk(tmp_path, lab, "release", "new") as desk:
        publish(desk, lab, "demo")
        publish(desk, lab, "other")
        papers = papers_of(lab)
        limited = ReleaseKey(lab.key("new").public, repos=("demo",))
        keys = (limited,)
        made = replace(papers.identity.delegation, version=2, keys=keys)
        adopt(desk, parcel_of(changes.changed(papers, made, lab.root_signers(1))))
        found = told_by(desk, lab.publisher)
    assert found["demo@main"] == "verified"
    assert isinstance(found["other@main"], UntrustedError)


def test_a_release_that_is_not_here_is_named_and_not_signed(desk, lab):
    release = publish(desk, lab, "demo")
    with desk.store.index.write() as statements:
        statements._connection.execute("DELETE FROM documents WHERE digest = ?", (release.digest,))
    desk.keyring.save("release-2", lab.key("new").seed)
    made = adopt(desk, parcel_of(replaced(lab, "release", "new")))
    assert (made.lacking, made.signed_again) == (("demo@main",), 0)


def test_an_index_that_is_not_here_is_not_told_of_once_its_writer_may_be_gone(tmp_path, lab):
    lab.delegate("release", "bob")
    made = lab.publish("demo", {"README.md": b"hello"})
    papers = papers_of(lab)
    with open_home(tmp_path) as desk:
        desk.keyring.save("release", lab.key("bob").seed)
        adopt(desk, packed([*papers.envelopes, made.head]))
        without = changes.remove(papers.identity, lab.key("release").public)
        gone = changes.changed(papers, without, lab.root_signers(1))
        with pytest.raises(NotFoundError, match="is not on this machine"):
            adopt(desk, parcel_of(gone))
        assert own_papers(desk.store.documents).identity.delegation.version == 2
        nothing = RevokedKey(lab.key("release").public)
        notice = changes.revoke(gone.identity, nothing, "x", CREATED, lab.root_signers(1))
        assert adopt(desk, parcel_of(gone, notice)).seq == 1
        assert told_by(desk, lab.publisher) == {}


def test_what_another_writer_wrote_and_nobody_joined_yet_is_not_forgotten(tmp_path):
    lab = FakePublisher(1, writers=("release", "bob"))
    with own_desk(tmp_path, lab) as desk:
        publish(desk, lab, "demo")
        newest, unjoined = lab.index.digest, b"u" * 32
        desk.store.tips.replace([unjoined, newest])
        desk.keyring.save("release-2", lab.key("new").seed)
        adopt(desk, parcel_of(replaced(lab, "release", "new")))
        now = desk.knowledge.state(lab.publisher).index
        assert now != newest
        assert desk.store.tips.all() == [unjoined, now]


# ---------------------------------------------------------------- rotation


def test_a_rotation_is_adopted_and_a_stranger_believes_it(desk, lab):
    publish(desk, lab, "demo")
    made = adopt(desk, parcel_of(rotated(lab)))
    assert (made.root_v, made.delegation_version) == (2, 2)
    assert told_by(desk, lab.publisher) == {"demo@main": "verified"}


def after_theft(lab, *keep):
    """The papers after the rotation of a stolen root, with these release keys left."""
    papers, chain = papers_of(lab), papers_of(lab).identity.chain
    root = changes.rotation(chain, lab.root_key_set(2), lab.root_key_set(3), lab.recovery)
    made = replace(papers.identity.delegation, version=papers.identity.delegation.version + 1)
    made = changes.after_theft(made, 2, [lab.key(name).public for name in keep])
    return changes.rooted(
        (*papers.roots, sign(root, lab.root_signers(2))), made, lab.root_signers(2)
    )


def test_what_a_thief_of_the_root_published_is_not_signed_for_him(tmp_path):
    """He let in a key of his own, and this machine believed that."""
    lab = FakePublisher(1, writers=("release", "thief"))
    with own_desk(tmp_path, lab) as desk:
        publish(desk, lab, "demo", b"good")
        publish(desk, lab, "evil", b"evil", writer="thief")
        made = adopt(desk, parcel_of(after_theft(lab, "release")))
        assert (made.dropped, made.signed_again) == (("evil@main",), 0)
        assert told_by(desk, lab.publisher) == {"demo@main": "verified"}


def test_after_a_theft_the_releases_of_keys_that_stay_stay(tmp_path):
    lab = FakePublisher(1, writers=("release", "bob"))
    with own_desk(tmp_path, lab) as desk:
        publish(desk, lab, "demo")
        publish(desk, lab, "bobs", writer="bob")
        made = adopt(desk, parcel_of(after_theft(lab, "release", "bob")))
        assert made.dropped == ()
        assert told_by(desk, lab.publisher) == {"demo@main": "verified", "bobs@main": "verified"}


def test_papers_of_somebody_else_are_refused(desk, lab):
    publish(desk, lab, "demo")
    with pytest.raises(UntrustedError):
        adopt(desk, parcel_of(papers_of(FakePublisher(2))))


def test_older_papers_are_refused(desk, lab):
    publish(desk, lab, "demo")
    first, second = papers_of(lab), allowed(lab, "bob")
    adopt(desk, parcel_of(second))
    with pytest.raises(RolledBackError, match="delegation 1; ours is delegation 2"):
        adopt(desk, parcel_of(first))
    adopt(desk, parcel_of(rotated_from(lab, second)))
    with pytest.raises(RolledBackError, match="end at root 1"):
        adopt(desk, parcel_of(second))


def rotated_from(lab, papers):
    root = changes.rotation(
        papers.identity.chain, lab.root_key_set(2), lab.root_key_set(3), lab.recovery
    )
    made = replace(papers.identity.delegation, version=papers.identity.delegation.version + 1)
    roots = (*papers.roots, sign(root, lab.root_signers(2)))
    return changes.rooted(roots, made, lab.root_signers(2))


def test_a_second_delegation_with_the_same_version_would_be_a_fork_and_is_refused(desk, lab):
    publish(desk, lab, "demo")
    adopt(desk, parcel_of(allowed(lab, "bob")))
    with pytest.raises(ForkedError, match="another delegation 2"):
        adopt(desk, parcel_of(allowed(lab, "eve")))


def test_the_same_papers_again_are_nothing_new(desk, lab):
    publish(desk, lab, "demo")
    adopt(desk, parcel_of(allowed(lab, "bob")))
    with pytest.raises(UsageError, match="nothing new"):
        adopt(desk, parcel_of(allowed(lab, "bob")))


def test_papers_that_a_stolen_release_key_signed_are_refused(desk, lab):
    publish(desk, lab, "demo")
    papers = papers_of(lab)
    made = changes.allow(papers.identity, ReleaseKey(lab.key("eve").public), now=CREATED)
    with pytest.raises(UntrustedError):
        adopt(desk, packed([*papers.roots, sign(made, [lab.key("release")])]))


def test_what_a_gate_refuses_keeps_the_rest_out_too(desk, lab):
    """A revocation by a key that is not the root's, beside papers that hold."""
    publish(desk, lab, "demo")
    papers = replaced(lab, "release", "new")
    revoked = RevokedKey(lab.key("release").public)
    notice = Revocation(lab.publisher.digest, 1, revoked, CREATED, "not by the root")
    desk.keyring.save("release-2", lab.key("new").seed)
    with pytest.raises(UntrustedError, match="not signed by enough keys"):
        adopt(desk, parcel_of(papers, sign(notice, [lab.key("release")])))
    assert own_papers(desk.store.documents).identity.delegation.version == 1
    assert desk.knowledge.notices(lab.publisher) == ()
    assert told_by(desk, lab.publisher) == {"demo@main": "verified"}


@pytest.mark.parametrize("at", range(16))
def test_a_power_cut_while_a_new_key_is_written_leaves_the_old_identity(tmp_path, lab, at):
    """The key is on the disk, whole, before anything names it."""
    with own_desk(tmp_path, lab) as desk:
        publish(desk, lab, "demo")
    disk = PowerCut(at)
    try:
        Keyring(Layout.of(tmp_path), disk).save("release-2", lab.key("new").seed)
        done = True
    except PowerCutError:
        done = False
    with open_home(tmp_path) as desk:
        key = desk.keyring.load("release-2")
        assert key in (None, lab.key("new").seed)
        assert not (done and key is None)
        if key is None:
            with pytest.raises(RefusedError, match="no release key"):
                adopt(desk, parcel_of(replaced(lab, "release", "new")))
            assert own_papers(desk.store.documents).identity.delegation.version == 1
        else:
            adopt(desk, parcel_of(replaced(lab, "release", "new")))
        assert told_by(desk, lab.publisher) == {"demo@main": "verified"}
    assert done or at < 15


# ---------------------------------------------------------------- a stolen release key


def stolen(lab, good_index, seq, new="new"):
    """The one root action: the old key revoked, the new one in its place."""
    papers = replaced(lab, "release", new)
    revoked = RevokedKey(lab.key("release").public, seq, good_index)
    notice = changes.revoke(papers.identity, revoked, "stolen", CREATED, lab.root_signers(1))
    return parcel_of(papers, notice)


def test_a_stolen_release_key_is_out_after_one_root_action(desk, lab):
    good = publish(desk, lab, "demo", b"good")
    good_index, seq = lab.index.digest, lab.seq
    thief = FakePublisher(1)
    thief.__dict__.update({**lab.__dict__, "entries": dict(lab.entries)})
    publish(desk, thief, "demo", b"evil")
    publish(desk, thief, "new-repo", b"evil")
    desk.keyring.save("release-2", lab.key("new").seed)
    made = adopt(desk, stolen(lab, good_index, seq))
    assert sorted(made.dropped) == ["demo@main", "new-repo@main"]
    assert made.seq == seq + 1
    assert told_by(desk, lab.publisher) == {"demo@main": "verified"}
    listing = read_listing(desk.store.documents, desk.knowledge.state(lab.publisher).index)
    assert [entry.refs["main"].release for entry in listing.entries] == [good.digest]


def test_after_it_nothing_that_the_thief_signs_is_taken(desk, lab):
    publish(desk, lab, "demo", b"good")
    parcel = stolen(lab, lab.index.digest, lab.seq)
    desk.keyring.save("release-2", lab.key("new").seed)
    thief = lab.publish("demo", {"README.md": b"evil"})
    adopt(desk, parcel)
    with pytest.raises(UntrustedError):
        learn(desk, lab, thief)
    assert told_by(desk, lab.publisher) == {"demo@main": "verified"}


def test_a_backdated_ref_of_the_thief_does_not_survive(desk, lab):
    publish(desk, lab, "demo", b"good")
    good_index, seq = lab.index.digest, lab.seq
    evil = lab.release("demo", {"README.md": b"evil"})
    entry = lab.entries["demo"]
    refs = {**entry.refs, "v0": replace(entry.refs["main"], release=evil.digest)}
    lab.entries["demo"] = replace(entry, refs=refs)
    index, pages = lab.sign_index()
    learn(desk, lab, Publication(evil, index, lab.sign_head(), pages))
    desk.keyring.save("release-2", lab.key("new").seed)
    made = adopt(desk, stolen(lab, good_index, seq))
    assert "demo@v0" in made.dropped
    assert told_by(desk, lab.publisher) == {"demo@main": "verified"}


def test_what_others_signed_after_the_theft_stays(tmp_path):
    lab = FakePublisher(1, writers=("release", "bob"))
    with own_desk(tmp_path, lab) as desk:
        publish(desk, lab, "demo", b"good")
        good_index, seq = lab.index.digest, lab.seq
        publish(desk, lab, "demo", b"evil")
        publish(desk, lab, "bobs", b"fine", writer="bob")
        desk.keyring.save("release-2", lab.key("new").seed)
        made = adopt(desk, stolen(lab, good_index, seq))
        assert made.dropped == ("demo@main",)
        assert told_by(desk, lab.publisher) == {"demo@main": "verified", "bobs@main": "verified"}


def test_a_key_of_which_nothing_is_good_leaves_nothing(desk, lab):
    publish(desk, lab, "demo")
    desk.keyring.save("release-2", lab.key("new").seed)
    made = adopt(desk, stolen(lab, b"", 0))
    assert (made.dropped, made.seq) == (("demo@main",), 1)
    assert told_by(desk, lab.publisher) == {}


def test_a_release_that_was_taken_back_is_not_brought_back_by_signing_it_again(desk, lab):
    release = publish(desk, lab, "demo")
    papers = papers_of(lab)
    taken = changes.withdraw(
        papers.identity, release.digest, "wrong licence", CREATED, lab.key("release")
    )
    desk.knowledge.learn_notice(taken.pack())
    desk.keyring.save("release-2", lab.key("new").seed)
    made = adopt(desk, parcel_of(replaced(lab, "release", "new")))
    assert made.signed_again == 0
    assert not isinstance(told_by(desk, lab.publisher)["demo@main"], str)


# ---------------------------------------------------------------- joining, taking back


def test_a_second_machine_joins_with_a_key_that_was_let_in(tmp_path, lab):
    lab.delegate("release", "bob")
    made = lab.publish("demo", {"README.md": b"hello"})
    with open_home(tmp_path) as desk:
        desk.keyring.save("release", lab.key("bob").seed)
        learn(desk, lab, made)
        joined = adopt(desk, parcel_of(papers_of(lab)))
        assert joined.publisher_id == str(lab.publisher)
        assert joined.release_key == lab.key("bob").public.hex()
        assert own_papers(desk.store.documents).identity == papers_of(lab).identity


def test_a_machine_whose_key_was_not_let_in_cannot_join(tmp_path, lab):
    with open_home(tmp_path) as desk:
        desk.keyring.save("release", lab.key("bob").seed)
        with pytest.raises(NotFoundError, match="names no release key"):
            adopt(desk, parcel_of(papers_of(lab)))
        assert desk.store.documents.own_publisher() is None


def test_a_withdrawal_alone_changes_nothing_else(desk, lab):
    release = publish(desk, lab, "demo")
    head = desk.store.documents.head(lab.publisher)
    taken = changes.withdraw(
        papers_of(lab).identity, release.digest, "wrong licence", CREATED, lab.key("release")
    )
    made = adopt(desk, packed([taken]))
    assert (made.notices, made.delegation_version) == (1, 1)
    assert desk.store.documents.head(lab.publisher) == head
    with pytest.raises(RevokedError):
        desk.knowledge.document(release.digest, Release)


def test_a_lost_root_comes_back_by_recovery_and_overrules_a_thief_with_the_next_keys(desk, lab):
    publish(desk, lab, "demo")
    adopt(desk, parcel_of(rotated(lab)))
    papers = papers_of(lab)
    fresh = KeySet((lab.key("fresh").public,))
    root = changes.recovery(
        papers.identity.chain, fresh, KeySet((lab.key("fresh 2").public,)), lab.recovery
    )
    delegation = Delegation(lab.publisher.digest, 9, (ReleaseKey(lab.key("release").public),))
    back = changes.rooted(
        (*papers.roots, sign(root, [lab.key("recovery")])), delegation, [lab.key("fresh")]
    )
    made = adopt(desk, parcel_of(back))
    assert made.root_v == 2
    assert told_by(desk, lab.publisher) == {"demo@main": "verified"}
    with pytest.raises(UntrustedError):
        adopt(desk, parcel_of(rotated(lab)))


def test_what_another_machine_changed_is_where_the_next_change_begins(desk, lab):
    """Its head came here; our own rows are older."""
    publish(desk, lab, "demo")
    lab.delegate("release", "bob")
    learn(desk, lab, lab.publish("demo", {"README.md": b"more"}))
    assert own_papers(desk.store.documents).identity.delegation.version == 2


# ---------------------------------------------------------------- crashes


class Unplugged:
    """The machine goes off when the database is written for the time `at` (from 0)."""

    def __init__(self, monkeypatch, at):
        self._at, self._writes, self._write = at, 0, Index.write
        monkeypatch.setattr(Index, "write", lambda index: self.write(index))

    def write(self, index):
        self._writes += 1
        if self._writes > self._at:
            raise PowerCutError("write", index._path)
        return self._write(index)


@pytest.mark.parametrize("action", ["replace", "revoke", "rotate"])
def test_a_kill_between_any_two_writes_leaves_the_old_identity_or_the_new_one(
    tmp_path, monkeypatch, action
):
    found = set()
    for at in range(30):
        home, lab = tmp_path / str(at), FakePublisher(1)
        with own_desk(home, lab) as desk:
            publish(desk, lab, "demo")
            desk.keyring.save("release-2", lab.key("new").seed)
            parcel = {
                "replace": lambda lab=lab: parcel_of(replaced(lab, "release", "new")),
                "revoke": lambda lab=lab: stolen(lab, lab.index.digest, lab.seq),
                "rotate": lambda lab=lab: parcel_of(rotated(lab)),
            }[action]()
            with monkeypatch.context() as patch:
                Unplugged(patch, at)
                try:
                    adopt(desk, parcel)
                    done = True
                except PowerCutError:
                    done = False
        with open_home(home) as desk:
            papers = own_papers(desk.store.documents).identity
            found.add(version := papers.delegation.version)
            state = desk.knowledge.state(lab.publisher)
            assert state.identity == papers
            assert told_by(desk, lab.publisher) == {"demo@main": "verified"}
            assert len(desk.knowledge.notices(lab.publisher)) == (action == "revoke") * (
                version - 1
            )
            if version == 1:
                assert adopt(desk, parcel).delegation_version == 2
        if done:
            break
    assert done
    assert found == {1, 2}
