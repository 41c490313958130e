"""Policy: what each verdict leads to; corrupt bytes pass under none."""

from typing import get_args

import pytest

from p2phub.errors import UsageError
from p2phub.trust.policy import DEFAULT, Policy, check_policy, decide
from p2phub.trust.verdict import Verdict

POLICIES = get_args(Policy)
STRICTNESS = ["allow", "warn", "refuse"]


@pytest.mark.parametrize("policy", POLICIES)
def test_corrupt_bytes_are_refused_under_every_policy(policy):
    assert decide(policy, Verdict.CORRUPT) == "refuse"


@pytest.mark.parametrize("policy", POLICIES)
def test_verified_is_allowed_and_stale_is_never_an_error(policy):
    assert decide(policy, Verdict.VERIFIED) == "allow"
    assert decide(policy, Verdict.STALE) != "refuse"


@pytest.mark.parametrize("verdict", [verdict for verdict in Verdict if not verdict.good])
def test_the_default_refuses_everything_that_is_not_verified(verdict):
    assert decide(DEFAULT, verdict) == "refuse"


@pytest.mark.parametrize("verdict", Verdict)
def test_a_stricter_policy_never_allows_more(verdict):
    decisions = [STRICTNESS.index(decide(policy, verdict)) for policy in POLICIES]
    assert decisions == sorted(decisions)


def test_what_was_taken_back_is_never_used_in_silence():
    for verdict in (Verdict.REVOKED, Verdict.WITHDRAWN, Verdict.FORKED, Verdict.ROLLED_BACK):
        assert decide("off", verdict) == "warn"


def test_an_unknown_policy_names_those_there_are():
    with pytest.raises(UsageError) as caught:
        check_policy("strict")
    assert "enforce" in caught.value.remedy
    assert [check_policy(policy) for policy in POLICIES] == list(POLICIES)
