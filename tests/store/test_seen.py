"""What was seen of publishers outlives a restart, and stays bounded."""

import pytest

from p2phub.formats.ids import PublisherId
from p2phub.store import seen
from p2phub.store.seen import KeptNotice, Written

LAB, OTHER = PublisherId(bytes(32)), PublisherId(b"x" * 32)
KEY = b"k" * 32


def test_how_far_a_publisher_had_come(store, reopen):
    assert store.seen.highest(LAB) is None
    store.seen.saw(LAB, (1, 2, 3))
    store.seen.saw(LAB, (2, 1, 9))
    again = reopen()
    assert again.seen.highest(LAB) == (2, 1, 9)
    assert again.seen.highest(OTHER) is None


def test_the_numbers_of_writers_are_kept(store, reopen):
    store.seen.wrote(LAB, Written(KEY, 1, b"a" * 32))
    store.seen.wrote(LAB, Written(KEY, 2, b"b" * 32))
    store.seen.wrote(OTHER, Written(KEY, 3, b"d" * 32))
    again = reopen()
    assert again.seen.written(LAB) == [Written(KEY, 1, b"a" * 32), Written(KEY, 2, b"b" * 32)]


def test_the_first_index_with_a_number_stays(store):
    store.seen.wrote(LAB, Written(KEY, 1, b"a" * 32))
    store.seen.wrote(LAB, Written(KEY, 1, b"b" * 32))
    assert store.seen.written(LAB) == [Written(KEY, 1, b"a" * 32)]


@pytest.mark.parametrize("number", [3, 4, 9])
def test_only_so_many_numbers_are_kept_of_one_publisher(store, monkeypatch, number):
    monkeypatch.setattr(seen, "KEPT", 3)
    store.seen.wrote(OTHER, Written(KEY, 1, b"o" * 32))
    for each in range(1, number + 1):
        store.seen.wrote(LAB, Written(KEY, each, b"%032d" % each))
    left = [written.number for written in store.seen.written(LAB)]
    assert left == list(range(number - 2, number + 1))
    assert len(store.seen.written(OTHER)) == 1


def test_a_notice_is_kept_for_ever_with_the_signatures_that_came_later(store, reopen):
    store.seen.add_notice(LAB, b"n" * 32, "revocation", b"one signature", 5)
    store.seen.add_notice(LAB, b"n" * 32, "revocation", b"two signatures", 6)
    store.seen.add_notice(LAB, b"a" * 32, "withdrawal", b"other", 7)
    again = reopen()
    assert again.seen.notices(LAB) == [
        KeptNotice(b"a" * 32, b"other"),
        KeptNotice(b"n" * 32, b"two signatures"),
    ]
    assert again.seen.has_notices(LAB)
    assert not again.seen.has_notices(OTHER)
    assert again.seen.notices(OTHER) == []
