"""A release that was taken back: refused with its reason, or let through with its verdict."""

import pytest

from p2phub.errors import RevokedError
from p2phub.formats.digest import sha256
from p2phub.testing.notices import (
    REASON,
    revoke_file,
    revoke_release,
    withdraw,
)
from p2phub.testing.publishers import FakePublisher
from p2phub.trust.policy import Rule
from p2phub.trust.verdict import Verdict
from tests.trust.feeding import FILES, NOW, fed, refusal, verdict


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


def test_what_is_stale_is_refused_where_the_rule_says_so():
    lab = FakePublisher(1, not_after=NOW - 1)
    made = lab.publish("demo", FILES)
    assert verdict(fed(*made.packed), made.release) is Verdict.STALE
    catalog = fed(*made.packed[:-1], rule=Rule("enforce", stale="refuse"))
    error = refusal(catalog, made.release)
    assert error.verdict is Verdict.STALE
    assert "stale since" in error.message
