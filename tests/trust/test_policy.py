"""Policy: what each verdict leads to under each rule; corrupt bytes pass under none."""

from itertools import product
from typing import get_args

import pytest

from p2phub.errors import UsageError
from p2phub.trust.policy import DEFAULT, Policy, Rule, Stale, check_policy, check_stale
from p2phub.trust.verdict import Verdict

POLICIES = get_args(Policy)
STRICTNESS = ["allow", "warn", "refuse"]
RULES = [Rule(policy, stale) for policy, stale in product(POLICIES, get_args(Stale))]


def names(rule):
    return f"{rule.policy}-{rule.stale}"


@pytest.mark.parametrize("rule", RULES, ids=names)
@pytest.mark.parametrize("verdict", [Verdict.CORRUPT, Verdict.ROLLED_BACK])
def test_wrong_bytes_and_older_heads_are_refused_under_every_rule(rule, verdict):
    assert rule.decide(verdict) == "refuse"


@pytest.mark.parametrize("rule", RULES, ids=names)
def test_verified_is_allowed_under_every_rule(rule):
    assert rule.decide(Verdict.VERIFIED) == "allow"


@pytest.mark.parametrize("policy", POLICIES)
def test_stale_is_an_error_only_where_a_rule_says_so(policy):
    assert Rule(policy).decide(Verdict.STALE) != "refuse"
    refused = Rule(policy, "refuse").decide(Verdict.STALE)
    assert refused == ("allow" if policy == "off" else "refuse")


@pytest.mark.parametrize("verdict", [each for each in Verdict if each is not Verdict.STALE])
@pytest.mark.parametrize("policy", POLICIES)
def test_a_rule_about_stale_changes_no_other_verdict(policy, verdict):
    assert Rule(policy, "refuse").decide(verdict) == Rule(policy, "warn").decide(verdict)


@pytest.mark.parametrize("verdict", [verdict for verdict in Verdict if not verdict.good])
def test_the_default_refuses_everything_that_is_not_verified(verdict):
    assert Rule().policy == DEFAULT
    assert Rule().decide(verdict) == "refuse"


@pytest.mark.parametrize("stale", get_args(Stale))
@pytest.mark.parametrize("verdict", Verdict)
def test_a_stricter_policy_never_allows_more(verdict, stale):
    decisions = [STRICTNESS.index(Rule(policy, stale).decide(verdict)) for policy in POLICIES]
    assert decisions == sorted(decisions)


def test_what_was_taken_back_is_never_used_in_silence():
    for verdict in (Verdict.REVOKED, Verdict.WITHDRAWN, Verdict.FORKED):
        assert Rule("off").decide(verdict) == "warn"


@pytest.mark.parametrize(
    ("after", "before", "weaker"),
    [
        (Rule("warn"), Rule("enforce"), True),
        (Rule("off"), Rule("warn"), True),
        (Rule("enforce"), Rule("warn"), False),
        (Rule("enforce"), Rule("enforce"), False),
        (Rule("enforce", "warn"), Rule("enforce", "refuse"), True),
        (Rule("enforce", "refuse"), Rule("enforce", "warn"), False),
        (Rule("off", "refuse"), Rule("off", "warn"), False),
        (Rule("enforce", "warn"), Rule("warn", "refuse"), True),
    ],
)
def test_a_rule_that_lets_anything_through_that_was_held_back_is_weaker(after, before, weaker):
    assert after.weakens(before) is weaker


def test_an_unknown_policy_names_those_there_are():
    with pytest.raises(UsageError) as caught:
        check_policy("strict")
    assert "enforce" in caught.value.remedy
    assert [check_policy(policy) for policy in POLICIES] == list(POLICIES)


def test_an_unknown_way_to_meet_what_is_stale_names_those_there_are():
    with pytest.raises(UsageError) as caught:
        check_stale("ignore")
    assert "refuse" in caught.value.remedy
    assert [check_stale(stale) for stale in get_args(Stale)] == ["warn", "refuse"]
