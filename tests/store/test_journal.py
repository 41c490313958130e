"""Marks that outlive the process that made them."""

import pytest

from p2phub.store.disk import Disk
from p2phub.store.journal import Journal
from p2phub.testing.samples import make_sample

ONE, TWO = make_sample(1).content, make_sample(2_000_000).content


@pytest.fixture
def journal(layout):
    layout.make(Disk())
    return Journal(layout, Disk())


def test_what_was_begun_and_not_ended_is_found_by_the_next_process(journal, layout):
    journal.begin("put", [ONE, TWO])
    journal.begin("drop", [TWO])
    journal.end("put", [ONE])
    assert list(Journal(layout, Disk()).unfinished()) == [("drop", TWO), ("put", TWO)]


def test_beginning_or_ending_twice_is_no_error(journal):
    for _ in range(2):
        journal.begin("put", [ONE])
    for _ in range(2):
        journal.end("put", [ONE])
    assert list(journal.unfinished()) == []


def test_a_file_that_is_no_mark_is_left_alone(journal, layout):
    for name in ("notes.txt", "put-", "put-5-xyz", f"burn-{ONE}"):
        (layout.journal / name).touch()
    assert list(journal.unfinished()) == []
