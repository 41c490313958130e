"""Changes of our own publisher, made beside the store that adopts them: forks, old homes, roots."""

import pytest

from p2phub.errors import ForkedError, NotFoundError, UsageError
from p2phub.formats.publisher import Index, ReleaseKey
from p2phub.node import changing
from p2phub.node.desk import own_papers
from p2phub.node.identity import adopt
from p2phub.testing.identities import learn, lone_secret, own_desk, publish, publish_here, told_by
from p2phub.testing.publishers import CREATED, FakePublisher, Publication
from p2phub.trust.envelope import unpack
from p2phub.trust.papers import find_papers
from p2phub.trust.parcels import envelopes
from p2phub.trust.secrets import Master, RootSecret


@pytest.fixture
def lab():
    return FakePublisher(1)


@pytest.fixture
def desk(tmp_path, lab):
    with own_desk(tmp_path, lab) as desk:
        yield desk


def fork(desk, lab, writer="release"):
    """Two indexes with one number come to light here."""
    first = lab.publish("demo", {"README.md": b"one"}, writer=writer)
    learn(desk, lab, first)
    number = Index.from_payload(first.index.payload).writer_seq
    index, pages = lab.sign_index(writer=writer, writer_seq=number)
    other = Publication(first.release, index, lab.sign_head(signers=(writer,)), pages)
    with pytest.raises(ForkedError):
        learn(desk, lab, other)
    assert desk.knowledge.state(lab.publisher).forked
    return number


def test_a_new_delegation_settles_a_fork_and_its_writers_count_afresh(desk, lab):
    number = fork(desk, lab)
    parcel = changing.allow(desk, lone_secret(lab), ReleaseKey(lab.key("bob").public))
    adopt(desk, parcel)
    identity = own_papers(desk.store.documents).identity
    assert identity.release_key(lab.key("release").public).numbers_from == number + 1
    assert identity.release_key(lab.key("bob").public).numbers_from == 1
    assert not desk.knowledge.state(lab.publisher).forked
    publish_here(desk, "more")
    assert told_by(desk, lab.publisher)["more@main"] == "verified"
    state = desk.knowledge.state(lab.publisher)
    newest = Index.from_payload(unpack(desk.store.documents.get(state.index)).payload)
    assert newest.writer_seq > number


def test_without_a_fork_the_numbers_stay(desk, lab):
    publish(desk, lab, "demo")
    parcel = changing.allow(desk, lone_secret(lab), ReleaseKey(lab.key("bob").public))
    papers = find_papers(envelopes(parcel))
    assert {made.numbers_from for made in papers.identity.delegation.keys} == {1}


def test_a_fork_by_a_stolen_key_ends_with_that_key(desk, lab):
    publish(desk, lab, "good")
    fork(desk, lab)
    stolen = lab.key("release").public.hex()
    adopt(desk, changing.revoke_key(desk, lone_secret(lab), stolen, "stolen", "1"))
    assert not desk.knowledge.state(lab.publisher).forked
    assert told_by(desk, lab.publisher) == {"good@main": "verified"}


def test_another_secret_makes_no_change(desk, lab):
    for secret in (RootSecret(Master(bytes(32))), lone_secret(FakePublisher(2))):
        with pytest.raises(UsageError, match="does not make the key of root 1"):
            changing.allow(desk, secret, ReleaseKey(lab.key("bob").public))


def test_another_key_of_this_machine_takes_over_before_a_new_one_is_made(tmp_path):
    lab = FakePublisher(1, writers=("release", "spare"))
    with own_desk(tmp_path, lab, "release", "spare") as desk:
        publish(desk, lab, "demo")
        key = lab.key("spare").public.hex()
        made = adopt(desk, changing.remove(desk, lone_secret(lab), key))
        assert made.release_key == lab.key("release").public.hex()
        assert desk.keyring.names() == ("release", "release-2")


def test_a_withdrawal_is_by_the_keys_that_signed(tmp_path):
    lab = FakePublisher(1, writers=("release", "bob"))
    with own_desk(tmp_path, lab) as desk:
        mine = publish(desk, lab, "mine").digest
        theirs = publish(desk, lab, "theirs", writer="bob", signers=("bob",)).digest
        adopt(desk, changing.withdraw(desk, mine, "a mistake"))
        with pytest.raises(NotFoundError, match="none of the keys"):
            changing.withdraw(desk, theirs, "a mistake")
        assert not isinstance(told_by(desk, lab.publisher)["mine@main"], str)


def test_a_release_of_somebody_else_cannot_be_taken_back(desk, lab):
    other = FakePublisher(2)
    learn(desk, other, other.publish("demo", {"README.md": b"x"}))
    with pytest.raises(UsageError, match="not a release of your own"):
        changing.own_release(desk, f"{other.publisher}/demo")
    release = publish(desk, lab, "demo")
    assert changing.own_release(desk, "demo") == release.digest
    assert changing.own_release(desk, release.digest.hex()) == release.digest


def test_a_prefix_of_seven_digits_names_nothing(desk, lab):
    papers = own_papers(desk.store.documents)
    key = lab.key("release").public
    assert changing.find_key(papers, key.hex()[:8].upper()) == key
    for wrong in (key.hex()[:7], "", "nonsense"):
        with pytest.raises(UsageError):
            changing.find_key(papers, wrong)


@pytest.mark.parametrize("length", [changing.MIN_PREFIX - 1, changing.MIN_PREFIX])
def test_a_last_good_commit_is_named_by_so_many_digits(desk, lab, length):
    good = publish(desk, lab, "a").digest.hex()
    assert not good[: changing.MIN_PREFIX].isdecimal(), "digits alone would be a seq"
    papers = own_papers(desk.store.documents)
    if length < changing.MIN_PREFIX:
        with pytest.raises(UsageError, match="is no commit"):
            changing.last_good_index(desk, papers, "a" + good[: length - 1])
        return
    assert changing.last_good_index(desk, papers, good[:length]).index.seq == 1


@pytest.mark.parametrize(("text", "seq"), [("1", 1), ("2", 2), ("9", 3), (None, 3), ("none", None)])
def test_the_last_good_index_is_one_that_the_newest_follows(desk, lab, text, seq):
    for name in ("a", "b", "c"):
        publish(desk, lab, name)
    found = changing.last_good_index(desk, own_papers(desk.store.documents), text)
    assert (found.index.seq if found else None) == seq


def test_an_index_before_the_first_is_not_here(desk, lab):
    publish(desk, lab, "a")
    with pytest.raises(NotFoundError, match="no index with number 0"):
        changing.last_good_index(desk, own_papers(desk.store.documents), "0")


def test_what_expires_is_as_long_as_somebody_said(desk, lab):
    key = ReleaseKey(lab.key("bob").public, (), CREATED)
    with pytest.raises(UsageError, match="expired"):
        changing.allow(desk, lone_secret(lab), key)
