"""Where our own history ends, and what waits to be followed."""

import sqlite3

import pytest

from p2phub.formats.ids import PublisherId
from p2phub.store import statements
from p2phub.store.index import Index
from p2phub.store.tips import MAX_SIDES, MAX_TIPS, Tips


@pytest.fixture
def index(tmp_path):
    opened = Index.open(tmp_path / "index.db")
    yield opened
    opened.close()


@pytest.fixture
def tips(index):
    return Tips(index)


def digest(number):
    return number.to_bytes(32, "big")


def digests(count, first=0):
    return [digest(number) for number in range(first, first + count)]


def test_tips_are_those_that_were_named_last_in_their_order(tips):
    assert tips.all() == []
    tips.replace([digest(2), digest(1)])
    tips.replace([digest(3), digest(1), digest(3)])
    assert tips.all() == [digest(3), digest(1)]


def test_as_many_tips_as_fit_are_kept_and_one_more_pushes_out_the_oldest(tips):
    tips.replace(digests(MAX_TIPS))
    assert tips.all() == digests(MAX_TIPS)
    tips.replace(digests(MAX_TIPS + 1))
    assert tips.all() == digests(MAX_TIPS, 1)


def test_what_lost_main_waits_until_it_is_followed(tips):
    tips.replace([digest(1)], [("a", digest(7)), ("b", digest(8))])
    tips.replace([digest(2)], [("a", digest(9)), ("a", digest(7))])
    assert tips.sides("a") == [digest(7), digest(9)]
    tips.drop_sides("a", [digest(7)])
    assert (tips.sides("a"), tips.sides("b")) == ([digest(9)], [digest(8)])


def test_so_many_releases_of_a_repo_wait_and_one_more_pushes_out_the_oldest(tips):
    tips.replace([], [("a", each) for each in digests(MAX_SIDES)])
    assert tips.sides("a") == digests(MAX_SIDES)
    tips.replace([], [("a", digest(MAX_SIDES)), ("b", digest(0))])
    assert tips.sides("a") == digests(MAX_SIDES, 1)
    assert tips.sides("b") == [digest(0)]


def test_tips_are_on_the_disk_when_they_were_named(tmp_path, tips):
    tips.replace([digest(1)], [("a", digest(7))])
    other = Index.open(tmp_path / "index.db")
    assert (Tips(other).all(), Tips(other).sides("a")) == ([digest(1)], [digest(7)])
    other.close()


def test_a_store_of_an_older_version_goes_on_from_its_own_newest_index(tmp_path):
    path, own, other = tmp_path / "index.db", PublisherId(b"o" * 32), PublisherId(b"x" * 32)
    connection = sqlite3.connect(path, isolation_level=None)
    before = [text for number, text in statements.migrations() if number < 4]
    for text in before:
        connection.executescript(text)
    connection.execute("INSERT INTO documents VALUES (?, 'delegation', x'')", (digest(1),))
    connection.execute("INSERT INTO own_publisher VALUES (1, ?, ?)", (str(own), digest(1)))
    for publisher, index in ((own, digest(5)), (other, digest(6))):
        row = (str(publisher), digest(1), index, 0)
        connection.execute("INSERT INTO heads VALUES (?, ?, ?, ?)", row)
    connection.close()
    index = Index.open(path)
    assert Tips(index).all() == [digest(5)]
    index.close()
