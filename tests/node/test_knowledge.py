"""What a node believes outlives a restart: nobody can make it forget by waiting for one."""

import pytest

from p2phub.errors import ForkedError, RevokedError, RolledBackError, UntrustedError
from p2phub.formats.digest import sha256
from p2phub.formats.manifest import Release
from p2phub.formats.notices import ForkProof
from p2phub.formats.publisher import Index, Page
from p2phub.node.knowledge import Knowledge
from p2phub.store.layout import Layout
from p2phub.store.store import Store
from p2phub.testing.forgeries import damaged_signature
from p2phub.testing.notices import fork_proof, revoke_key, revoke_release, withdraw
from p2phub.testing.publishers import FakePublisher
from p2phub.trust.catalog import TrustedCatalog
from p2phub.trust.envelope import merge, unpack

FILES = {"README.md": b"hello"}


class Home:
    """A store, and a node's knowledge that can be begun afresh on it."""

    def __init__(self, path):
        self.layout = Layout.of(path, "store")
        self.store = Store.open(self.layout)
        self.restart()

    def restart(self):
        self.store.close()
        self.store = Store.open(self.layout)
        self.knowledge = Knowledge(self.store, TrustedCatalog(), lambda: 1_800_000_000)

    def learn(self, lab, made):
        head, index, *pages, release = made.packed
        self.knowledge.learn_head(lab.publisher, head)
        self.knowledge.learn(index, made.index.digest, Index)
        for page in pages:
            self.knowledge.learn(page, sha256(page), Page)
        self.knowledge.learn(release, made.release.digest, Release)


@pytest.fixture
def home(tmp_path):
    made = Home(tmp_path)
    yield made
    made.store.close()


def release_of(home, made):
    """The release as the disk has it, after everything above it was touched again."""
    return home.knowledge.document(made.release.digest, Release)


def looked_up(home, lab, name="demo"):
    home.knowledge.find(lab.publisher, name)


@pytest.mark.parametrize("notice", ["revocation", "withdrawal"])
def test_what_was_taken_back_is_not_forgotten_by_a_restart(home, notice):
    lab = FakePublisher(1)
    made = lab.publish("demo", FILES)
    home.learn(lab, made)
    take_back = revoke_release if notice == "revocation" else withdraw
    home.knowledge.learn_notice(take_back(lab, made.release.digest).pack())
    for _ in range(2):
        looked_up(home, lab)
        with pytest.raises(RevokedError):
            release_of(home, made)
        home.restart()


def test_a_fork_makes_a_proof_that_others_believe_and_a_restart_does_not_end(home, tmp_path):
    lab, twin = FakePublisher(1), FakePublisher(1)
    made = lab.publish("demo", FILES)
    home.learn(lab, made)
    other = rival_of(twin, made)
    home.restart()
    home.knowledge.learn_head(lab.publisher, other.head.pack())
    with pytest.raises(ForkedError):
        home.knowledge.learn(other.index.pack(), other.index.digest, Index)
    (proof,) = home.knowledge.take_proofs()
    assert home.knowledge.take_proofs() == ()
    assert home.knowledge.notices(lab.publisher) == (proof,)
    document = ForkProof.from_payload(unpack(proof).payload)
    digests = {unpack(side).digest for side in (document.first, document.second)}
    assert digests == {made.index.digest, other.index.digest}
    home.restart()
    assert set(home.knowledge.state(lab.publisher).fork) == digests
    stranger = Home(tmp_path / "stranger")
    stranger.learn(lab, made)
    stranger.knowledge.learn_notice(proof)
    assert set(stranger.knowledge.state(lab.publisher).fork) == digests
    stranger.store.close()


def rival_of(twin, made):
    """Another index with the same writer and number, whose head ranks above."""
    for created in range(1, 200):
        twin.created = made_at = 1_700_000_000 + created
        twin.index, twin.seq, twin.entries, twin._writer_seqs = None, 0, {}, {}
        other = twin.publish("demo", {"README.md": b"another %d" % made_at})
        if other.index.digest > made.index.digest:
            return other
    raise AssertionError("no digest is greater")


def test_a_number_that_was_used_under_an_older_delegation_is_remembered_too(home):
    lab, twin = FakePublisher(1), FakePublisher(1)
    made = lab.publish("demo", FILES)
    home.learn(lab, made)
    other = rival_of(twin, made)
    for each in (lab, twin):
        each.delegate("release")
    home.knowledge.learn_head(lab.publisher, lab.sign_head().pack())
    home.restart()
    home.knowledge.learn_head(lab.publisher, twin.sign_head(index=other.index.digest).pack())
    with pytest.raises(ForkedError):
        home.knowledge.learn(other.index.pack(), other.index.digest, Index)


def test_two_delegations_with_one_version_make_a_proof(home):
    lab = FakePublisher(1)
    home.learn(lab, lab.publish("demo", FILES))
    one = lab.delegate("release")
    home.knowledge.learn_head(lab.publisher, lab.sign_head().pack())
    two = lab.delegate("release", "another", version=2)
    with pytest.raises(ForkedError):
        home.knowledge.learn_head(lab.publisher, lab.sign_head().pack())
    home.restart()
    assert set(home.knowledge.state(lab.publisher).fork) == {one.digest, two.digest}


def test_two_roots_that_follow_one_make_a_proof(home):
    lab = FakePublisher(1)
    home.learn(lab, lab.publish("demo", FILES))
    mine, delegation = list(lab.roots), lab.delegation
    one = lab.rotate("one")
    home.knowledge.learn_head(lab.publisher, lab.sign_head().pack())
    lab.roots, lab.delegation = mine, delegation
    two = lab.rotate("two")
    with pytest.raises(ForkedError):
        home.knowledge.learn_head(lab.publisher, lab.sign_head().pack())
    home.restart()
    assert set(home.knowledge.state(lab.publisher).fork) == {one.digest, two.digest}


def test_with_a_rotten_head_an_older_one_is_still_refused(home):
    lab = FakePublisher(1)
    old, new = lab.publish("demo", FILES), lab.publish("other", FILES)
    home.learn(lab, new)
    home.store.documents.put(new.head.digest, "head", damaged_signature(new.head.pack()))
    home.restart()
    with pytest.raises(RolledBackError):
        home.knowledge.learn_head(lab.publisher, old.head.pack())
    home.knowledge.learn_head(lab.publisher, new.head.pack())


def test_with_a_rotten_head_what_was_taken_back_comes_back_with_a_good_one(home):
    lab = FakePublisher(1)
    made = lab.publish("demo", FILES)
    home.learn(lab, made)
    home.knowledge.learn_notice(revoke_release(lab, made.release.digest).pack())
    home.store.documents.put(made.head.digest, "head", damaged_signature(made.head.pack()))
    home.restart()
    home.knowledge.learn_head(lab.publisher, made.head.pack())
    looked_up(home, lab)
    with pytest.raises(RevokedError):
        release_of(home, made)


def test_a_rotten_notice_does_not_hide_the_others(home):
    lab = FakePublisher(1)
    made = lab.publish("demo", FILES)
    home.learn(lab, made)
    rotten = revoke_key(lab, "another")
    for notice in (rotten, revoke_release(lab, made.release.digest)):
        home.knowledge.learn_notice(notice.pack())
    home.store.documents.put(rotten.digest, "revocation", damaged_signature(rotten.pack()))
    home.restart()
    looked_up(home, lab)
    with pytest.raises(RevokedError):
        release_of(home, made)


def test_nobody_can_take_a_signature_away_by_sending_fewer(home):
    lab = FakePublisher(1, writers=("a", "b"))
    made = lab.publish("demo", FILES, writer="a", signers=("a",))
    home.learn(lab, made)
    second = lab.release("demo", FILES, signers=("b",))
    assert second.digest == made.release.digest
    for envelope in (second, made.release):
        home.knowledge.learn(envelope.pack(), envelope.digest, Release)
    kept = unpack(home.store.documents.get(made.release.digest))
    assert kept == merge(made.release, second)
    withdrawal = withdraw(lab, made.release.digest, signers=["a"])
    home.knowledge.learn_notice(withdrawal.pack())
    assert release_of(home, made).judgement.verdict.good


def test_what_a_peer_sends_as_a_notice_is_one(home):
    lab = FakePublisher(1)
    made = lab.publish("demo", FILES)
    for data in (made.head.pack(), made.release.pack(), made.pages[0], b"garbage"):
        with pytest.raises(UntrustedError):
            home.knowledge.learn_notice(data)


def test_peers_compare_what_was_taken_back_by_one_digest(home):
    lab = FakePublisher(1)
    made = lab.publish("demo", FILES)
    home.learn(lab, made)
    assert home.knowledge.notices_digest(lab.publisher) == b""
    one, two = revoke_key(lab, "x"), fork_proof_of(lab)
    seen = set()
    for notice in (one, two):
        home.knowledge.learn_notice(notice.pack())
        seen.add(home.knowledge.notices_digest(lab.publisher))
    assert len(seen) == 2
    assert set(home.knowledge.notices(lab.publisher)) == {one.pack(), two.pack()}


def test_another_signature_on_a_notice_is_news_to_peers(home):
    lab = FakePublisher(1, writers=("a", "b"))
    made = lab.publish("demo", FILES, writer="a", signers=("a", "b"))
    home.learn(lab, made)
    home.knowledge.learn_notice(withdraw(lab, made.release.digest, signers=["a"]).pack())
    before = home.knowledge.notices_digest(lab.publisher)
    home.knowledge.learn_notice(withdraw(lab, made.release.digest, signers=["b"]).pack())
    assert home.knowledge.notices_digest(lab.publisher) != before


def fork_proof_of(lab):
    one, _ = lab.sign_index(writer_seq=7, parents=(), seq=1)
    two, _ = lab.sign_index(writer_seq=7, parents=(), seq=1, created=5)
    return fork_proof(lab, one, two)
