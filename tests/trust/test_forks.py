"""Fork proofs: believed whoever shows them, until their publisher has settled the fork."""

import pytest

from p2phub.errors import ForkedError, UntrustedError
from p2phub.formats.notices import ForkProof
from p2phub.formats.publisher import ReleaseKey
from p2phub.testing.notices import (
    fork_proof,
    revoke_key,
)
from p2phub.testing.publishers import FakePublisher
from p2phub.trust.envelope import sign_payload
from p2phub.trust.forks import read_fork
from p2phub.trust.policy import Rule
from p2phub.trust.verdict import Verdict
from tests.trust.feeding import FILES, fed, refusal, two_indexes, verdict


class TestAForkProof:
    def test_is_believed_whoever_shows_it(self):
        lab = FakePublisher(1)
        made = lab.publish("demo", FILES)
        one, two = two_indexes(lab)
        catalog = fed(*made.packed, fork_proof(lab, one, two))
        state = catalog.state(lab.publisher)
        assert {*state.fork} == {one.digest, two.digest}
        assert one.digest.hex() in state.forked
        error = refusal(catalog, made.release)
        assert isinstance(error, ForkedError)

    def test_under_warn_what_was_known_goes_on_and_says_so(self):
        lab = FakePublisher(1)
        made = lab.publish("demo", FILES)
        catalog = fed(*made.packed, fork_proof(lab, *two_indexes(lab)), rule=Rule("warn"))
        fed(*made.packed[1:], catalog=catalog)
        assert verdict(catalog, made.release) is Verdict.FORKED

    def test_of_two_delegations_and_of_two_roots(self):
        for fork in ("delegations", "roots"):
            lab = FakePublisher(1)
            made = lab.publish("demo", FILES)
            if fork == "delegations":
                one, two = lab.delegate("release"), lab.delegate("other", version=2)
            else:
                mine = list(lab.roots)
                one = lab.rotate("one")
                lab.roots = mine
                two = lab.rotate("two")
            catalog = fed(*made.packed, fork_proof(lab, one, two))
            assert set(catalog.state(lab.publisher).fork) == {one.digest, two.digest}

    def test_of_indexes_is_settled_by_a_new_delegation(self):
        lab = FakePublisher(1)
        made = lab.publish("demo", FILES)
        proof = fork_proof(lab, *two_indexes(lab))
        catalog = fed(*made.packed, proof)
        lab.delegate(ReleaseKey(lab.key("release").public, numbers_from=8))
        fed(lab.sign_head(), catalog=catalog)
        assert not catalog.state(lab.publisher).forked
        assert "settled" in refusal(catalog, proof).message

    def test_of_delegations_is_settled_by_a_later_one(self):
        lab = FakePublisher(1)
        made = lab.publish("demo", FILES)
        proof = fork_proof(lab, lab.delegate("release"), lab.delegate("other", version=2))
        catalog = fed(*made.packed, proof)
        lab.delegate("release")
        fed(lab.sign_head(), catalog=catalog)
        assert not catalog.state(lab.publisher).forked
        assert "settled" in refusal(catalog, proof).message

    def test_of_roots_is_settled_by_a_recovery(self):
        lab = FakePublisher(1)
        made = lab.publish("demo", FILES)
        mine = list(lab.roots)
        one = lab.rotate("one")
        lab.roots = mine[:]
        two = lab.rotate("two")
        proof = fork_proof(lab, one, two)
        catalog = fed(*made.packed, proof)
        lab.roots = mine[:]
        lab.recover()
        fed(lab.sign_head(), catalog=catalog)
        assert not catalog.state(lab.publisher).forked
        assert "settled" in refusal(catalog, proof).message

    def test_of_a_revoked_writer_does_not_count(self):
        lab = FakePublisher(1, writers=("release", "other"))
        made = lab.publish("demo", FILES, writer="other")
        one, two = two_indexes(lab)
        catalog = fed(*made.packed, revoke_key(lab, "release"), fork_proof(lab, one, two))
        assert not catalog.state(lab.publisher).forked

    @pytest.mark.parametrize(
        "pair", ["same", "different numbers", "different writers", "types", "strangers", "releases"]
    )
    def test_of_what_is_no_fork_is_refused(self, pair):
        lab = FakePublisher(1, writers=("release", "other"))
        made = lab.publish("demo", FILES)
        one, two = two_indexes(lab)
        match pair:
            case "same":
                two = sign_again(one, lab.key("other"))
            case "different numbers":
                two, _ = lab.sign_index(writer_seq=8)
            case "different writers":
                two, _ = lab.sign_index(writer="other", writer_seq=7)
            case "types":
                two = made.head
            case "strangers":
                two, _ = lab.sign_index(writer_seq=7, created=6, signer="other")
            case "releases":
                one, two = made.release, lab.release("demo", FILES, message="other")
        error = refusal(fed(*made.packed), fork_proof(lab, one, two))
        assert error.steps[-1].name == "a fork"

    def test_of_another_publisher_is_refused(self):
        lab, evil = FakePublisher(1), FakePublisher(66)
        made = lab.publish("demo", FILES)
        with pytest.raises(UntrustedError):
            read_fork(
                fork_document(lab, *two_indexes(evil)),
                fed(*made.packed).state(lab.publisher).identity,
            )


def sign_again(envelope, key):
    return sign_payload(envelope.type, envelope.payload, [key])


def fork_document(lab, one, two):
    return ForkProof(lab.publisher.digest, one.pack(), two.pack())
