"""What was taken back, through the gate: which notices count, for what, and for how long."""

import pytest

from p2phub.errors import ForkedError, RevokedError, UntrustedError
from p2phub.formats.digest import sha256
from p2phub.formats.notices import RevokedRelease
from p2phub.formats.publisher import Delegation, ReleaseKey
from p2phub.testing.notices import (
    REASON,
    fork_proof,
    revoke,
    revoke_file,
    revoke_key,
    revoke_release,
    withdraw,
)
from p2phub.testing.publishers import FakePublisher
from p2phub.trust import notices
from p2phub.trust.catalog import TrustedCatalog
from p2phub.trust.envelope import sign
from p2phub.trust.forks import read_fork
from p2phub.trust.policy import Rule
from p2phub.trust.refusals import Refusal
from p2phub.trust.verdict import Verdict

NOW = 1_800_000_000
FILES = {"README.md": b"hello", "model.safetensors": b"weights"}


def fed(*documents, catalog=None, rule=None):
    catalog = catalog or TrustedCatalog(*([lambda _: rule] if rule else []))
    for document in documents:
        catalog.offer(document if isinstance(document, bytes) else document.pack(), NOW)
    return catalog


def refusal(catalog, document):
    with pytest.raises(Refusal) as caught:
        catalog.offer(document if isinstance(document, bytes) else document.pack(), NOW)
    return caught.value


def verdict(catalog, document):
    try:
        return catalog.offer(document.pack(), NOW).judgement.verdict
    except Refusal as error:
        return error.verdict


class TestARevokedRelease:
    def test_is_refused_with_its_reason(self):
        lab = FakePublisher(1)
        made = lab.publish("demo", FILES)
        catalog = fed(*made.packed, revoke_release(lab, made.release.digest))
        error = refusal(catalog, made.release)
        assert isinstance(error, RevokedError)
        assert error.verdict is Verdict.REVOKED
        assert REASON in error.message

    def test_leaves_other_releases_alone(self):
        lab = FakePublisher(1)
        made, other = lab.publish("demo", FILES), lab.publish("other", FILES)
        catalog = fed(*made.packed, *other.packed, revoke_release(lab, made.release.digest))
        assert verdict(catalog, other.release) is Verdict.VERIFIED

    @pytest.mark.parametrize("first", ["release", "notice"])
    def test_is_refused_whichever_came_first(self, first):
        lab = FakePublisher(1)
        made = lab.publish("demo", FILES)
        notice = revoke_release(lab, made.release.digest)
        head, *others = made.packed
        documents = [head, *others, notice] if first == "release" else [head, notice, *others[:-1]]
        assert verdict(fed(*documents), made.release) is Verdict.REVOKED

    def test_by_a_file_that_is_in_it(self):
        lab = FakePublisher(1)
        made, other = lab.publish("demo", FILES), lab.publish("other", {"README.md": b"other"})
        notice = revoke_file(lab, sha256(b"weights"))
        catalog = fed(*made.packed, *other.packed, notice)
        assert verdict(catalog, made.release) is Verdict.REVOKED
        assert verdict(catalog, other.release) is Verdict.VERIFIED

    def test_of_another_publisher_is_not_ours_to_revoke(self):
        lab, evil = FakePublisher(1), FakePublisher(66)
        made = lab.publish("demo", FILES)
        evil.publish("demo", FILES)
        notices = (revoke_release(evil, made.release.digest), revoke_file(evil, sha256(b"weights")))
        catalog = fed(*made.packed, evil.head, *notices)
        assert verdict(catalog, made.release) is Verdict.VERIFIED

    @pytest.mark.parametrize("policy", ["off", "warn"])
    def test_can_be_let_through_but_not_in_silence(self, policy):
        lab = FakePublisher(1)
        made = lab.publish("demo", FILES)
        catalog = fed(*made.packed, revoke_release(lab, made.release.digest), rule=Rule(policy))
        assert catalog.offer(made.release.pack(), NOW).judgement.verdict is Verdict.REVOKED


class TestWhoMayRevoke:
    def test_not_a_release_key(self):
        lab = FakePublisher(1)
        made = lab.publish("demo", FILES)
        notice = revoke(lab, RevokedRelease(made.release.digest), signers=[lab.key("release")])
        catalog = fed(*made.packed)
        assert refusal(catalog, notice).verdict is Verdict.UNTRUSTED_KEY
        assert verdict(catalog, made.release) is Verdict.VERIFIED

    def test_not_fewer_root_keys_than_the_threshold(self):
        lab = FakePublisher(1, root_keys=3, root_threshold=2)
        made = lab.publish("demo", FILES)
        one, two, _ = lab.root_signers(1)
        catalog = fed(*made.packed)
        revoked = RevokedRelease(made.release.digest)
        assert refusal(catalog, revoke(lab, revoked, signers=[one])).steps[-1].name == (
            "signed by its root"
        )
        fed(revoke(lab, revoked, signers=[one, two]), catalog=catalog)
        assert verdict(catalog, made.release) is Verdict.REVOKED

    def test_not_the_keys_of_a_root_still_to_come(self):
        lab = FakePublisher(1)
        made = lab.publish("demo", FILES)
        notice = revoke(lab, RevokedRelease(made.release.digest), root_v=2)
        catalog = fed(*made.packed)
        assert refusal(catalog, notice).verdict is Verdict.UNTRUSTED_KEY
        lab.rotate()
        fed(lab.sign_head(), notice, catalog=catalog)
        assert verdict(catalog, made.release) is Verdict.REVOKED

    def test_an_older_root_while_the_publisher_says_so(self):
        lab = FakePublisher(1)
        made = lab.publish("demo", FILES)
        notice = revoke_release(lab, made.release.digest)
        lab.rotate()
        assert verdict(fed(*made.packed, lab.sign_head(), notice), made.release) is Verdict.REVOKED

    def test_not_a_stolen_root_that_was_replaced(self):
        lab = FakePublisher(1)
        made = lab.publish("demo", FILES)
        early, late = fed(*made.packed), TrustedCatalog()
        notice = revoke_release(lab, made.release.digest)
        fed(notice, catalog=early)
        lab.rotate()
        key = (ReleaseKey(lab.key("release").public),)
        document = Delegation(lab.publisher.digest, 2, key, revocations_from=2)
        lab.delegation = sign(document, lab.root_signers(2))
        head = lab.sign_head()
        fed(head, catalog=early)
        fed(head, *made.packed[1:-1], catalog=late)
        assert refusal(late, notice).verdict is Verdict.UNTRUSTED_KEY
        assert verdict(early, made.release) is verdict(late, made.release) is Verdict.VERIFIED

    def test_not_the_root_of_a_thief_that_a_recovery_overruled(self):
        lab = FakePublisher(1)
        made = lab.publish("demo", FILES)
        catalog = fed(*made.packed)
        mine, delegation = list(lab.roots), lab.delegation
        lab.rotate()
        stolen = revoke_release(lab, made.release.digest)
        fed(lab.sign_head(), stolen, catalog=catalog)
        assert verdict(catalog, made.release) is Verdict.REVOKED
        lab.roots, lab.delegation = mine, delegation
        lab.recover()
        fed(lab.sign_head(), *made.packed[1:-1], catalog=catalog)
        assert verdict(catalog, made.release) is Verdict.VERIFIED

    def test_nobody_of_a_publisher_that_is_not_known(self):
        lab = FakePublisher(1)
        error = refusal(TrustedCatalog(), revoke_release(lab, bytes(32)))
        assert error.steps[-1].name == "its publisher is known"


class TestARevokedKey:
    def test_signs_nothing_more(self):
        lab = FakePublisher(1)
        good = lab.publish("demo", FILES)
        bad = lab.publish("demo", {"README.md": b"by a thief"})
        notice = revoke_key(lab, "release", 1, good.index.digest)
        catalog = fed(*good.packed, *bad.packed, notice)
        error = refusal(catalog, bad.release)
        assert error.verdict is Verdict.REVOKED
        assert REASON in error.message
        assert refusal(catalog, bad.index).verdict is Verdict.REVOKED

    def test_keeps_what_it_signed_before_with_one_root_action(self):
        lab = FakePublisher(1)
        good = lab.publish("demo", FILES)
        lab.publish("demo", {"README.md": b"by a thief"})
        lab.delegate("fresh")
        notice = revoke_key(lab, "release", 1, good.index.digest)
        head = lab.sign_head(index=good.index.digest, seq=1, signers=["fresh"])
        catalog = fed(head, notice, *good.packed[1:])
        assert verdict(catalog, good.release) is Verdict.VERIFIED

    def test_heads_of_a_thief_are_refused(self):
        lab = FakePublisher(1)
        good = lab.publish("demo", FILES)
        catalog = fed(*good.packed, revoke_key(lab, "release", 1, good.index.digest))
        theirs = lab.publish("demo", {"README.md": b"by a thief"})
        assert refusal(catalog, theirs.head).verdict is Verdict.REVOKED
        assert verdict(catalog, good.release) is Verdict.VERIFIED

    def test_that_never_was_good_keeps_nothing(self):
        lab = FakePublisher(1)
        made = lab.publish("demo", FILES)
        catalog = fed(*made.packed, revoke_key(lab, "release"))
        assert verdict(catalog, made.release) is Verdict.REVOKED

    def test_does_not_count_for_a_release_that_only_a_commit_id_names(self):
        lab = FakePublisher(1)
        made = lab.publish("demo", FILES)
        unlisted = lab.release("demo", {"README.md": b"by a thief"})
        catalog = fed(*made.packed, revoke_key(lab, "release", 1, made.index.digest))
        catalog.expect(unlisted.digest, lab.publisher)
        assert verdict(catalog, unlisted) is Verdict.REVOKED

    def test_the_stricter_of_two_revocations_counts(self):
        lab = FakePublisher(1)
        one, two = lab.publish("demo", FILES), lab.publish("other", FILES)
        documents = (
            *one.packed,
            *two.packed,
            revoke_key(lab, "release", 2, two.index.digest),
            revoke_key(lab, "release", 1, one.index.digest),
        )
        for catalog in (fed(*documents), fed(*documents[:-2], documents[-1], documents[-2])):
            assert verdict(catalog, two.release) is Verdict.REVOKED


class TestAWithdrawal:
    def test_takes_a_release_back_while_the_root_is_offline(self):
        lab = FakePublisher(1)
        made = lab.publish("demo", FILES)
        error = refusal(fed(*made.packed, withdraw(lab, made.release.digest)), made.release)
        assert error.verdict is Verdict.WITHDRAWN
        assert REASON in error.message

    def test_by_a_key_that_did_not_sign_it_changes_nothing(self):
        lab = FakePublisher(1, writers=("release", "other"))
        made = lab.publish("demo", FILES)
        catalog = fed(*made.packed, withdraw(lab, made.release.digest, signers=["other"]))
        assert verdict(catalog, made.release) is Verdict.VERIFIED

    def test_by_a_stranger_is_refused(self):
        lab = FakePublisher(1)
        made = lab.publish("demo", FILES)
        notice = withdraw(lab, made.release.digest, signers=["stranger"])
        assert refusal(fed(*made.packed), notice).verdict is Verdict.UNTRUSTED_KEY

    def test_of_one_signature_leaves_the_others(self):
        lab = FakePublisher(1, writers=("a", "b", "c"), threshold=2)
        made = lab.publish("demo", FILES, writer="a", signers=("a", "b", "c"))
        catalog = fed(*made.packed, withdraw(lab, made.release.digest, signers=["a"]))
        assert verdict(catalog, made.release) is Verdict.VERIFIED
        fed(withdraw(lab, made.release.digest, signers=["b"]), catalog=catalog)
        assert verdict(catalog, made.release) is Verdict.WITHDRAWN

    @pytest.mark.parametrize("policy", ["off", "warn"])
    def test_can_be_let_through_but_not_in_silence(self, policy):
        lab = FakePublisher(1)
        made = lab.publish("demo", FILES)
        catalog = fed(*made.packed, withdraw(lab, made.release.digest), rule=Rule(policy))
        assert catalog.offer(made.release.pack(), NOW).judgement.verdict is Verdict.WITHDRAWN

    def test_of_what_is_revoked_too_is_called_revoked(self):
        lab = FakePublisher(1)
        made = lab.publish("demo", FILES)
        both = (withdraw(lab, made.release.digest), revoke_release(lab, made.release.digest))
        catalog = fed(*made.packed, *both, rule=Rule("warn"))
        assert verdict(catalog, made.release) is Verdict.REVOKED


def two_indexes(lab):
    one, _ = lab.sign_index(writer_seq=7, parents=(), seq=1)
    two, _ = lab.sign_index(writer_seq=7, parents=(), seq=1, created=5)
    return one, two


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
    from p2phub.trust.envelope import sign_payload

    return sign_payload(envelope.type, envelope.payload, [key])


def fork_document(lab, one, two):
    from p2phub.formats.notices import ForkProof

    return ForkProof(lab.publisher.digest, one.pack(), two.pack())


class TestRoom:
    def test_for_so_many_revocations_and_one_more_is_refused(self, monkeypatch):
        monkeypatch.setattr(notices, "MAX_REVOCATIONS", 2)
        lab = FakePublisher(1)
        made = lab.publish("demo", FILES)
        first, second, third = (revoke_release(lab, bytes([n]) * 32) for n in (1, 2, 3))
        catalog = fed(*made.packed, first, second, first)
        assert refusal(catalog, third).steps[-1].name == "room for it"

    def test_for_so_many_withdrawals_of_each_key(self, monkeypatch):
        monkeypatch.setattr(notices, "MAX_WITHDRAWALS", 2)
        lab = FakePublisher(1, writers=("release", "other"))
        made = lab.publish("demo", FILES)
        first, second, third = (withdraw(lab, bytes([n]) * 32) for n in (1, 2, 3))
        catalog = fed(*made.packed, first, second, second)
        assert refusal(catalog, third).steps[-1].name == "room for it"
        fed(withdraw(lab, bytes([3]) * 32, signers=["other"]), catalog=catalog)

    def test_for_so_many_forks(self, monkeypatch):
        monkeypatch.setattr(notices, "MAX_FORKS", 1)
        lab = FakePublisher(1)
        made = lab.publish("demo", FILES)
        one, two = two_indexes(lab)
        three, _ = lab.sign_index(writer_seq=7, created=9)
        catalog = fed(*made.packed, fork_proof(lab, one, two), fork_proof(lab, one, two))
        assert refusal(catalog, fork_proof(lab, one, three)).steps[-1].name == "room for it"


def test_signatures_of_two_copies_of_a_revocation_count_together():
    lab = FakePublisher(1, root_keys=3, root_threshold=2)
    made = lab.publish("demo", FILES)
    one, two, three = lab.root_signers(1)
    catalog = fed(*made.packed)
    notice = RevokedRelease(made.release.digest)
    for pair in ((one, two), (two, three)):
        kept = catalog.offer(revoke(lab, notice, signers=pair).pack(), NOW)
        assert kept.publisher == lab.publisher
    assert verdict(catalog, made.release) is Verdict.REVOKED


def test_after_a_restart_a_notice_is_taken_without_asking_whether_it_is_settled():
    lab = FakePublisher(1)
    made = lab.publish("demo", FILES)
    proof = fork_proof(lab, *two_indexes(lab))
    under = lab.delegation.digest
    lab.delegate("release")
    head = lab.sign_head(index=made.index.digest)
    catalog = fed(head, *made.packed[1:-1])
    catalog.offer_known(proof.pack(), under)
    assert not catalog.state(lab.publisher).forked
    assert fed(head, proof).state(lab.publisher).forked


def test_after_a_restart_no_older_head_is_taken_first():
    lab = FakePublisher(1)
    old, new = lab.publish("demo", FILES), lab.publish("other", FILES)
    catalog = TrustedCatalog()
    catalog.recall(lab.publisher, (1, 1, 2))
    assert refusal(catalog, old.head).verdict is Verdict.ROLLED_BACK
    fed(new.head, catalog=catalog)


def test_after_a_restart_a_second_index_with_a_known_number_is_a_fork():
    lab = FakePublisher(1)
    one, two = two_indexes(lab)
    catalog = fed(lab.sign_head(index=two.digest, seq=1))
    catalog.recall_index(lab.publisher, lab.key("release").public, 7, one.digest)
    assert refusal(catalog, two).verdict is Verdict.FORKED
    assert set(catalog.state(lab.publisher).fork) == {one.digest, two.digest}


def test_what_is_stale_is_refused_where_the_rule_says_so():
    lab = FakePublisher(1, not_after=NOW - 1)
    made = lab.publish("demo", FILES)
    assert verdict(fed(*made.packed), made.release) is Verdict.STALE
    catalog = fed(*made.packed[:-1], rule=Rule("enforce", stale="refuse"))
    error = refusal(catalog, made.release)
    assert error.verdict is Verdict.STALE
    assert "stale since" in error.message
