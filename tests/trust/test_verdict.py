"""Verdicts: one list, exact texts, stale by the clock of the caller."""

import pytest

from p2phub.trust.verdict import Judgement, Step, Verdict, moment

TEXTS = {
    "verified",
    "verified, stale since",
    "unsigned",
    "untrusted key",
    "revoked",
    "withdrawn",
    "forked",
    "rolled back",
    "corrupt",
}


def test_the_texts_are_those_of_the_formats():
    assert {verdict.value for verdict in Verdict} == TEXTS


def test_only_what_its_publisher_signed_is_good():
    assert {verdict for verdict in Verdict if verdict.good} == {Verdict.VERIFIED, Verdict.STALE}


@pytest.mark.parametrize(
    ("not_after", "now", "text"),
    [
        (None, 10**12, "verified"),
        (1000, 999, "verified"),
        (1000, 1000, "verified"),
        (1000, 1001, "verified, stale since 1970-01-01T00:16:40Z"),
    ],
)
def test_stale_begins_after_the_last_second_of_not_after(not_after, now, text):
    assert Judgement.of((), not_after, now).text == text


def test_a_clock_beyond_all_calendars_still_gives_a_text():
    assert moment(2**70) == "9999-12-31T23:59:59Z"
    assert moment(-5) == "1970-01-01T00:00:00Z"


def test_a_judgement_keeps_its_steps():
    steps = (Step("small enough", True, "12 bytes"),)
    assert Judgement.of(steps, None, 0).steps == steps
    assert Judgement.of(steps, 0, 1).steps == steps
