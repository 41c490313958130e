"""Identities: chains of roots, what a thief of each key can do, and how chains compare."""

from dataclasses import replace

import pytest

from p2phub.errors import MalformedError, UntrustedError, WrongBytesError
from p2phub.formats.publisher import Delegation, KeySet, Root
from p2phub.testing.publishers import FakePublisher
from p2phub.trust.envelope import Envelope, sign, sign_payload
from p2phub.trust.identity import Comparison, compare, reached, verify_chain, verify_identity


def root_of(envelope: Envelope) -> Root:
    return Root.from_payload(envelope.payload)


def rotated(times: int, seed: int = 1, **options: int) -> FakePublisher:
    lab = FakePublisher(seed, **options)
    for _ in range(times):
        lab.rotate()
    return lab


def test_a_chain_of_rotations_verifies():
    lab = rotated(3)
    chain = verify_chain(lab.roots)
    assert [link.root.v for link in chain] == [1, 2, 3, 4]
    assert [link.how for link in chain] == ["first", "rotation", "rotation", "rotation"]
    assert chain[0].digest == lab.publisher.digest


def test_a_recovered_root_uses_keys_nobody_committed_to():
    lab = rotated(1)
    lab.recover()
    lab.rotate()
    chain = verify_chain(lab.roots)
    assert [link.how for link in chain] == ["first", "rotation", "recovery", "rotation"]


def test_the_first_root_must_sign_itself():
    lab = FakePublisher(1)
    stranger = FakePublisher(2)
    for signers in ([], [stranger.key("root 1 0")]):
        root = sign_payload("root", lab.roots[0].payload, signers)
        with pytest.raises(UntrustedError, match="0 of 1 needed"):
            verify_chain([root])


def test_key_compromise_below_the_threshold_of_a_root_changes_nothing():
    lab = rotated(1, root_keys=3, root_threshold=2)
    assert verify_chain(lab.roots)[1].how == "rotation"
    for stolen in lab.root_signers(2):
        with pytest.raises(UntrustedError, match="1 of 2 needed"):
            verify_chain([lab.roots[0], sign_payload("root", lab.roots[1].payload, [stolen])])
    with pytest.raises(UntrustedError, match="1 of 2 needed"):
        verify_chain([sign_payload("root", lab.roots[0].payload, [lab.key("root 1 0")])])


def test_a_signature_counts_once_however_often_its_key_is_meant():
    keys = KeySet((b"a" * 32, b"b" * 32), 2)
    assert not reached(keys, frozenset({b"a" * 32, b"c" * 32})).enough
    assert reached(keys, frozenset({b"a" * 32, b"b" * 32})).enough


def test_who_stole_todays_root_key_cannot_rotate():
    """The keys of the next root were committed to before, and the thief does not have them."""
    lab = FakePublisher(1)
    today = lab.root_signers(1)
    root = Root(2, lab.publisher.digest, KeySet((today[0].public,)), bytes(32), lab.recovery)
    with pytest.raises(UntrustedError, match="does not reveal the keys"):
        verify_chain([lab.roots[0], sign(root, today)])


def test_revealing_the_next_keys_is_not_signing_with_them():
    lab = rotated(1)
    forged = sign_payload("root", lab.roots[1].payload, lab.root_signers(1))
    with pytest.raises(UntrustedError, match="0 of 1 needed"):
        verify_chain([lab.roots[0], forged])


def test_another_threshold_is_other_next_keys():
    lab = rotated(1, root_keys=2, root_threshold=2)
    root = root_of(lab.roots[1])
    weaker = replace(root, keys=KeySet(root.keys.keys, 1))
    with pytest.raises(UntrustedError, match="does not reveal the keys"):
        verify_chain([lab.roots[0], sign(weaker, lab.root_signers(2))])


def test_without_recovery_keys_nobody_can_recover():
    lab = FakePublisher(1)
    first = replace(root_of(lab.roots[0]), recovery=None)
    second = Root(2, first.digest, KeySet((lab.key("x").public,)), bytes(32))
    chain = [sign(first, lab.root_signers(1)), sign(second, [lab.key("recovery")])]
    with pytest.raises(UntrustedError, match="does not reveal"):
        verify_chain(chain)


def test_recovery_keys_that_a_thief_put_into_his_own_root_recover_nothing_before_it():
    """Only the recovery keys of the root before count, not those the new root brings along."""
    lab = FakePublisher(1)
    thief = FakePublisher(2).key("thief")
    mine = KeySet((thief.public,), 1)
    root = Root(2, lab.publisher.digest, mine, mine.digest, recovery=mine)
    with pytest.raises(UntrustedError):
        verify_chain([lab.roots[0], sign(root, [thief])])


def test_a_chain_with_a_gap_a_swap_or_a_stranger_is_refused():
    lab, other = rotated(3), rotated(1, seed=2)
    one, two, three, four = lab.roots
    with pytest.raises(MalformedError, match="root 3 after root 1"):
        verify_chain([one, three])
    with pytest.raises(MalformedError, match="begins with root 2"):
        verify_chain([two, three])
    with pytest.raises(MalformedError, match="root 2 after root 3"):
        verify_chain([one, two, three, two])
    with pytest.raises(WrongBytesError, match="follows another root"):
        verify_chain([one, other.roots[1]])
    with pytest.raises(MalformedError):
        verify_chain([])
    with pytest.raises(MalformedError, match="65 roots"):
        verify_chain([one] * 65)
    assert verify_chain([one, two, three, four])


def test_another_document_is_no_root():
    lab = FakePublisher(1)
    with pytest.raises(MalformedError, match="a delegation where a root"):
        verify_chain([lab.delegation])
    with pytest.raises(MalformedError, match="a root where a delegation"):
        verify_identity(verify_chain(lab.roots), lab.roots[0])


def test_the_delegation_is_signed_by_the_newest_root():
    lab = FakePublisher(1)
    old = lab.delegation
    lab.rotate()
    chain = verify_chain(lab.roots)
    identity = verify_identity(chain, lab.delegation)
    assert identity.publisher == lab.publisher
    assert identity.root.v == 2
    assert identity.release_keys == {lab.key("release").public}
    with pytest.raises(UntrustedError, match="0 of 1 needed keys of root 2"):
        verify_identity(chain, old)


def test_key_compromise_below_the_threshold_delegates_nothing():
    lab = FakePublisher(1, root_keys=2, root_threshold=2)
    forged = lab.delegate("thief", signers=lab.root_signers(1)[:1])
    with pytest.raises(UntrustedError, match="1 of 2 needed"):
        verify_identity(verify_chain(lab.roots), forged)


def test_mix_and_match_the_delegation_of_another_publisher_is_refused():
    """Two publishers may share root keys; each delegation still belongs to one."""
    lab = FakePublisher(1)
    payload = replace(Delegation.from_payload(lab.delegation.payload), publisher=bytes(32))
    with pytest.raises(UntrustedError, match="another publisher's"):
        verify_identity(verify_chain(lab.roots), sign(payload, lab.root_signers(1)))


def test_a_longer_chain_extends_and_a_shorter_one_is_behind():
    short, long = verify_chain(rotated(1).roots), verify_chain(rotated(3).roots)
    assert compare(short, long) is Comparison.EXTENDED
    assert compare(long, short) is Comparison.SHORTENED
    assert compare(short, short) is Comparison.SAME


def test_two_rotations_of_one_root_are_a_fork():
    lab, evil = FakePublisher(1), FakePublisher(1)
    lab.rotate()
    evil.rotate("b")
    one, other = verify_chain(lab.roots), verify_chain(evil.roots)
    assert compare(one, other) is compare(other, one) is Comparison.FORKED


def test_two_recoveries_of_one_root_are_a_fork():
    lab, evil = FakePublisher(1), FakePublisher(1)
    lab.recover()
    evil.recover(" b")
    one, other = verify_chain(lab.roots), verify_chain(evil.roots)
    assert compare(one, other) is Comparison.FORKED


@pytest.mark.parametrize("ahead", [1, 2, 5])
def test_recovery_beats_rotation_however_far_the_thief_went_on(ahead):
    owner, thief = rotated(2), rotated(2 + ahead)
    owner.recover()
    recovered, stolen = verify_chain(owner.roots), verify_chain(thief.roots)
    assert compare(stolen, recovered) is Comparison.OVERRULES
    assert compare(recovered, stolen) is Comparison.OVERRULED


def test_what_comes_after_the_first_divergence_does_not_matter():
    """A thief who rotated first cannot win by 'recovering' his own branch later."""
    owner, thief = FakePublisher(1), rotated(1)
    owner.recover()
    thief.recover()
    assert compare(verify_chain(thief.roots), verify_chain(owner.roots)) is Comparison.OVERRULES


def test_chains_of_two_publishers_cannot_be_compared():
    with pytest.raises(UntrustedError):
        compare(verify_chain(FakePublisher(1).roots), verify_chain(FakePublisher(2).roots))


def test_dropping_a_signature_does_not_turn_a_rotation_into_a_recovery():
    lab = rotated(1)
    both = sign_payload("root", lab.roots[1].payload, [*lab.root_signers(2), lab.key("recovery")])
    hows = {
        verify_chain([lab.roots[0], root])[1].how
        for root in (
            both,
            both.only([lab.key("recovery").public]),
            both.only(key.public for key in lab.root_signers(2)),
        )
    }
    assert hows == {"rotation"}
