"""What a revoked key still counts for, and what outlives a restart."""

from p2phub.formats.publisher import ReleaseKey
from p2phub.testing.notices import (
    REASON,
    fork_proof,
    revoke_key,
)
from p2phub.testing.publishers import FakePublisher
from p2phub.trust.catalog import TrustedCatalog
from p2phub.trust.verdict import Verdict
from tests.trust.feeding import FILES, fed, refusal, two_indexes, verdict


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


def test_after_a_restart_a_notice_is_taken_without_asking_whether_it_is_settled():
    lab = FakePublisher(1)
    made = lab.publish("demo", FILES)
    proof = fork_proof(lab, *two_indexes(lab))
    lab.delegate(ReleaseKey(lab.key("release").public, numbers_from=8))
    head = lab.sign_head(index=made.index.digest)
    catalog = fed(head, *made.packed[1:-1])
    catalog.offer_known(proof.pack())
    assert not catalog.state(lab.publisher).forked
    assert "settled" in refusal(catalog, proof).message


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
