"""Approvals: one spelling each, bound to a case and to what the checks found."""

from dataclasses import replace

import pytest

from p2phub.errors import MalformedError
from p2phub.formats.approval import (
    MAX_CHECKS,
    Approval,
    Check,
    checks_digest,
    pack_checks,
    unpack_checks,
)
from p2phub.formats.codec import decode, encode
from p2phub.formats.limits import MAX_APPROVAL

CHECKS = (Check("signatures", True, "verified"), Check("licence", False, "gpl-3.0"))
SAID = Approval(
    b"r" * 32, b"p" * 32, b"c" * 16, checks_digest(CHECKS), "approve", "ann", 1_700_000_000
)


@pytest.mark.parametrize(
    "said",
    [
        SAID,
        replace(SAID, decision="reject", reason="the wrong licence"),
        replace(SAID, despite=("licence", "scanner")),
        replace(SAID, extra={"later": 5}),
    ],
)
def test_an_approval_reads_back_as_it_was_written(said):
    assert Approval.from_payload(said.to_payload()) == said
    assert len(said.to_payload()) < MAX_APPROVAL


@pytest.mark.parametrize(
    "change",
    [
        {"decision": "perhaps"},
        {"case": b"short"},
        {"despite": ("b", "a")},
        {"despite": ("a", "a")},
        {"approver": ""},
        {"approver": "ann\x1b[2J"},
        {"reason": "x" * 2000},
        {"created": -1},
    ],
)
def test_what_no_reader_would_take_is_not_written(change):
    with pytest.raises(MalformedError):
        replace(SAID, **change).to_payload()


def test_other_results_have_another_digest():
    assert unpack_checks(pack_checks(CHECKS)) == CHECKS
    for other in (CHECKS[:1], CHECKS[::-1], (CHECKS[0], replace(CHECKS[1], ok=True))):
        assert checks_digest(other) != checks_digest(CHECKS)


def test_a_check_that_passed_is_spelled_in_one_way_only():
    fields = decode(pack_checks(CHECKS), limit=1000)
    fields["checks"][0]["failed"] = False
    with pytest.raises(MalformedError):
        unpack_checks(encode(fields))


def test_there_is_a_limit_to_what_checks_say():
    for many in (CHECKS[:1] * (MAX_CHECKS + 1), [Check("x", True, "y" * 3000)]):
        with pytest.raises(MalformedError):
            pack_checks(many)
