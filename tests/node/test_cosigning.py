"""Who may sign what in a file: a key signs where it counts, and nowhere else."""

import pytest

from p2phub.formats.publisher import KeySet, ReleaseKey
from p2phub.node.cosigning import Cosigning
from p2phub.testing.identities import learn, open_home, own_desk, papers_of, unlisted_release
from p2phub.testing.publishers import CREATED, FakePublisher
from p2phub.trust import changes
from p2phub.trust.envelope import sign
from p2phub.trust.keys import SigningKey
from p2phub.trust.parcels import envelopes, packed

EVE = SigningKey(b"e" * 32)


@pytest.fixture
def lab():
    return FakePublisher(1, writers=("release", "bob"), threshold=2)


@pytest.fixture
def desk(tmp_path):
    """A machine that never heard of anybody."""
    with open_home(tmp_path / "elsewhere") as desk:
        yield desk


def every_key(lab):
    names = ("release", "bob", "recovery", "fresh")
    return [*lab.root_signers(1), *lab.root_signers(2), *map(lab.key, names), EVE]


def signers_of(desk, lab, document, *beside):
    """Who signs `document` if every key of the publisher and a stranger's is here."""
    parcel = packed([*papers_of(lab).envelopes, *beside, document])
    made, told = Cosigning(desk, parcel).signed(every_key(lab))
    signed = {each.digest: each.signed_by() for each in envelopes(made)}
    return signed[document.digest], told


def public(lab, *names):
    return {lab.key(name).public for name in names}


def test_a_release_is_signed_by_release_keys(desk, lab):
    release = unlisted_release(desk, lab.publisher, "demo", b"x")
    signers, told = signers_of(desk, lab, release)
    assert signers == public(lab, "release", "bob")
    assert told[-1].needed == 0


def test_a_release_key_signs_only_what_it_may_write(desk, lab):
    lab.delegate("release", ReleaseKey(lab.key("bob").public, ("other",)))
    release = unlisted_release(desk, lab.publisher, "demo", b"x")
    assert signers_of(desk, lab, release)[0] == public(lab, "release")


def test_a_recovered_root_is_signed_by_recovery_keys_alone(desk, lab):
    chain = papers_of(lab).identity.chain
    fresh = KeySet((lab.key("fresh").public,))
    root = changes.recovery(chain, fresh, KeySet((lab.key("fresh 2").public,)), lab.recovery)
    assert signers_of(desk, lab, sign(root, []))[0] == public(lab, "recovery")


def test_a_rotated_root_is_signed_by_the_keys_it_reveals(desk, lab):
    chain = papers_of(lab).identity.chain
    root = changes.rotation(chain, lab.root_key_set(2), lab.root_key_set(3), lab.recovery)
    assert signers_of(desk, lab, sign(root, []))[0] == {lab.root_signers(2)[0].public}


def test_a_delegation_and_a_revocation_are_signed_by_the_root(desk, lab):
    papers = papers_of(lab)
    made = changes.allow(papers.identity, ReleaseKey(EVE.public), now=CREATED)
    assert signers_of(desk, lab, sign(made, []))[0] == {lab.root_signers(1)[0].public}


def test_what_is_signed_already_is_not_asked_for(desk, lab):
    assert Cosigning(desk, packed(papers_of(lab).envelopes)).items == []


def test_signatures_are_added_and_none_is_lost(desk, lab):
    release = unlisted_release(desk, lab.publisher, "demo", b"x", lab.key("release"))
    work = Cosigning(desk, packed([*papers_of(lab).envelopes, release]))
    made, (told,) = work.signed([lab.key("bob")])
    assert told.needed == 0
    assert told.signed_by == (lab.key("release").public.hex(),)
    assert told.signed_now == (lab.key("bob").public.hex(),)
    (found,) = envelopes(made, "release")
    assert found.signed_by() == public(lab, "release", "bob")


def test_without_papers_in_the_file_those_on_this_disk_count(tmp_path, lab):
    release = None
    with own_desk(tmp_path, lab) as desk:
        release = unlisted_release(desk, lab.publisher, "demo", b"x")
        assert Cosigning(desk, packed([release])).counting() == public(lab, "release", "bob")
    with open_home(tmp_path / "consumer") as desk:
        assert Cosigning(desk, packed([release])).counting() == frozenset()
        learn(desk, lab, lab.publish("x", {"a": b"b"}, signers=("release", "bob")))
        assert Cosigning(desk, packed([release])).counting() == public(lab, "release", "bob")


def test_a_release_that_says_it_is_younger_than_its_key_is_not_signed_with_it(desk, lab):
    lab.delegate(ReleaseKey(lab.key("release").public, not_after=CREATED - 1), "bob")
    release = unlisted_release(desk, lab.publisher, "demo", b"x")
    assert signers_of(desk, lab, release)[0] == public(lab, "bob")
