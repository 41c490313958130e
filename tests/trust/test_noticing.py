"""Who may take something back, and how much room there is for it."""

from p2phub.formats.notices import RevokedRelease
from p2phub.formats.publisher import Delegation, ReleaseKey
from p2phub.testing.notices import (
    fork_proof,
    revoke,
    revoke_release,
    withdraw,
)
from p2phub.testing.publishers import FakePublisher
from p2phub.trust import notices
from p2phub.trust.catalog import TrustedCatalog
from p2phub.trust.envelope import sign
from p2phub.trust.verdict import Verdict
from tests.trust.feeding import FILES, NOW, fed, refusal, two_indexes, verdict


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
