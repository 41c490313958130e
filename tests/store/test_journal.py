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


MANY = [make_sample(size).content for size in range(100, 120)]


def test_many_stand_in_one_file_and_are_found_by_the_next_process(journal, layout):
    journal.begin("put", MANY)
    assert len(list(layout.journal.iterdir())) == 1
    journal.end("put", MANY[:3])
    again = Journal(layout, Disk())
    assert {content for _, content in again.unfinished()} == set(MANY)
    for content in MANY:
        again.end("put", [content])
    assert not list(layout.journal.iterdir())


def test_many_that_end_leave_no_file(journal, layout):
    journal.begin("put", MANY)
    journal.begin("put", MANY[5:])
    journal.end("put", MANY)
    assert not list(layout.journal.iterdir())


@pytest.mark.parametrize("torn", [0, 1, 60, 71, 72, 100])
def test_a_list_that_was_torn_names_the_lines_that_are_whole(journal, layout, torn):
    journal.begin("put", MANY)
    (path,) = layout.journal.iterdir()
    path.write_bytes(path.read_bytes()[:torn])
    again = Journal(layout, Disk())
    found = [content for _, content in again.unfinished()]
    assert found == MANY[: len(found)]
    assert len(found) <= torn / 60
    again.end("put", found)
    assert not list(layout.journal.iterdir())
