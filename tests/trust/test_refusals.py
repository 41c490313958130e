"""Refusals: every verdict has an error of the tree, a remedy, and the steps that led there."""

import pytest

from p2phub.errors import (
    AliasTakenError,
    ForkedError,
    MalformedError,
    NewerVersionError,
    RevokedError,
    RolledBackError,
    UntrustedError,
    WrongBytesError,
)
from p2phub.trust.refusals import Refusal, Trail, verdict_of
from p2phub.trust.verdict import Step, Verdict

CLASSES = {
    Verdict.UNSIGNED: UntrustedError,
    Verdict.UNTRUSTED_KEY: UntrustedError,
    Verdict.REVOKED: RevokedError,
    Verdict.WITHDRAWN: RevokedError,
    Verdict.FORKED: ForkedError,
    Verdict.ROLLED_BACK: RolledBackError,
    Verdict.CORRUPT: WrongBytesError,
}


def refusal_of(verdict: Verdict) -> Refusal:
    trail = Trail("this release")
    trail.passed("parses", "3 files")
    with pytest.raises(Refusal) as caught:
        trail.require(False, "signed", "by nobody", verdict)
    return caught.value


@pytest.mark.parametrize("verdict", CLASSES)
def test_each_bad_verdict_is_its_error_of_the_tree(verdict):
    error = refusal_of(verdict)
    kind = CLASSES[verdict]
    assert isinstance(error, kind)
    assert error.verdict is verdict
    assert verdict_of(error) is verdict
    assert (error.exit, error.http, error.wire, error.code) == (
        kind.exit,
        kind.http,
        kind.wire,
        kind.code,
    )
    assert error.remedy


def test_every_bad_verdict_has_a_refusal():
    assert set(CLASSES) == {verdict for verdict in Verdict if not verdict.good}


def test_a_refusal_tells_which_step_failed_and_which_held():
    error = refusal_of(Verdict.UNSIGNED)
    assert error.message == "this release: signed? No: by nobody"
    assert error.steps == (Step("parses", True, "3 files"), Step("signed", False, "by nobody"))


@pytest.mark.parametrize("kind", [MalformedError, NewerVersionError])
def test_a_document_that_does_not_parse_keeps_its_class(kind):
    trail = Trail("this head")
    with pytest.raises(kind) as caught, trail.step("parses"):
        raise kind("depth 17")
    assert isinstance(caught.value, Refusal)
    assert caught.value.verdict is Verdict.CORRUPT
    assert caught.value.steps == (Step("parses", False, "depth 17"),)
    assert caught.value.code == kind.code


def test_a_branch_leaves_the_trail_it_came_from_alone():
    trail = Trail("this page")
    trail.passed("wanted")
    branch = trail.branch()
    branch.passed("placed")
    assert [step.name for step in trail.steps] == ["wanted"]
    assert [step.name for step in branch.steps] == ["wanted", "placed"]
    assert branch.subject == trail.subject


def test_parsing_that_succeeds_is_a_step():
    trail = Trail("this head")
    with trail.step("parses") as finding:
        finding.detail = "a head"
    assert trail.steps == (Step("parses", True, "a head"),)


def test_a_step_that_refuses_keeps_the_verdict_and_the_remedy_of_what_was_wrong():
    trail = Trail("this head")
    with pytest.raises(RolledBackError) as caught, trail.step("the roots form a chain"):
        raise RolledBackError("root 1 after root 2", remedy="update")
    assert caught.value.verdict is Verdict.ROLLED_BACK
    assert caught.value.remedy == "update"


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (WrongBytesError("piece 3"), Verdict.CORRUPT),
        (MalformedError("depth"), Verdict.CORRUPT),
        (RolledBackError("old"), Verdict.ROLLED_BACK),
        (ForkedError("two"), Verdict.FORKED),
        (RevokedError("gone"), Verdict.REVOKED),
        (AliasTakenError("lab"), Verdict.UNTRUSTED_KEY),
        (UntrustedError("?"), Verdict.UNTRUSTED_KEY),
    ],
)
def test_refusals_from_elsewhere_have_a_verdict_too(error, verdict):
    assert verdict_of(error) is verdict
