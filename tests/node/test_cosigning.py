"""Who may sign what in a file: a key signs where it counts, and nowhere else."""

import pytest

from p2phub.errors import UntrustedError
from p2phub.formats.publisher import KeySet, ReleaseKey, Root
from p2phub.node.cosigning import Cosigning, require_signed
from p2phub.node.rotating import Step, rotate
from p2phub.testing.identities import learn, open_home, own_desk, papers_of, unlisted_release
from p2phub.testing.publishers import CREATED, FakePublisher
from p2phub.trust import changes
from p2phub.trust.envelope import sign
from p2phub.trust.holders import Holder, key_set
from p2phub.trust.keys import SigningKey
from p2phub.trust.papers import find_papers
from p2phub.trust.parcels import envelopes, merged, packed
from p2phub.trust.secrets import Master

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


# ---------------------------------------------------------------- roots of several holders


ANN, BEN = (Master(name.encode() * 8) for name in ("anna", "benn"))
BOTH = [Holder.of("ann", ANN), Holder.of("ben", BEN)]


@pytest.fixture
def prepared(tmp_path, lab):
    """Root 2, which the lab has signed, and root 3 of two holders, who have not."""
    steps = [Step(lab.root_key_set(2), tuple(lab.root_signers(2))), Step(key_set(BOTH, 3, 2))]
    with own_desk(tmp_path / "own", lab) as own:
        return rotate(own, steps, key_set(BOTH, 4, 2), lab.recovery, None)


def keys_of(v):
    return [ANN.root_key(v), BEN.root_key(v)]


def test_a_delegation_of_a_root_that_waits_is_signed_by_its_keys_and_not_the_old_ones(
    desk, lab, prepared
):
    work = Cosigning(desk, prepared, BOTH)
    assert {item.envelope.type for item in work.items} == {"root", "delegation"}
    assert work.counting() == {key.public for key in keys_of(3)}
    made, told = work.signed([*every_key(lab), *keys_of(3), *keys_of(2), *keys_of(4)])
    assert [each.needed for each in told] == [0, 0]
    assert Cosigning(desk, made, BOTH).items == []
    papers = find_papers(envelopes(made))
    assert (papers.identity.root.v, papers.identity.delegation.version) == (3, 2)


def test_once_the_root_is_signed_the_old_delegation_is_not_asked_for_again(desk, lab, prepared):
    """The root has both signatures, the delegation has one: as after two people on two copies."""
    signed, _ = Cosigning(desk, prepared, BOTH).signed(keys_of(3))
    roots = packed(envelopes(signed, "root"))
    delegations = [each for each in envelopes(prepared) if each.type == "delegation"]
    half = merged([roots, packed(delegations)])
    (item,) = Cosigning(desk, half, BOTH).items
    assert (item.envelope.type, item.says.needed) == ("delegation", 2)
    assert item.counting == {key.public for key in keys_of(3)}


def test_whose_the_next_keys_are_is_told_by_the_files_of_the_holders(desk, prepared):
    def root(holders):
        return next(each for each in Cosigning(desk, prepared, holders).items)

    assert not root(BOTH).unchecked
    told = {each.label: each.text for each in root(BOTH).says.says}
    assert told["next holders"].startswith("2 of 2: ann (")
    for few in ([], BOTH[:1], [BOTH[0], Holder.of("ben", Master(b"e" * 32))]):
        assert root(few).unchecked
        assert "next holders" not in {each.label for each in root(few).says.says}


def test_a_root_that_nobody_committed_to_gives_its_keys_no_say(desk, lab):
    """Else who prepares a file could let anybody sign a delegation."""
    papers = papers_of(lab)
    mine = KeySet((EVE.public,))
    root = Root(2, papers.roots[-1].digest, mine, mine.digest, lab.recovery)
    made = changes.allow(papers.identity, ReleaseKey(EVE.public), now=CREATED)
    work = Cosigning(desk, packed([*papers.envelopes, sign(root, []), sign(made, [])]))
    (delegation,) = [each for each in work.items if each.envelope.type == "delegation"]
    assert delegation.counting == {lab.root_signers(1)[0].public}
    (recovery,) = [each for each in work.items if each.envelope.type == "root"]
    assert recovery.counting == public(lab, "recovery")


def test_what_waits_is_named_with_how_much_is_missing(desk, prepared):
    one, _ = Cosigning(desk, prepared, BOTH).signed(keys_of(3)[:1])
    for parcel, missing in ((prepared, 2), (one, 1)):
        with pytest.raises(UntrustedError, match=f"root number 3.*needs {missing} more"):
            require_signed(desk, parcel)
    whole, _ = Cosigning(desk, one, BOTH).signed(keys_of(3)[1:])
    require_signed(desk, whole)
