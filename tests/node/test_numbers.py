"""Numbers of indexes: of the second the clock says, by chance within it, and never twice."""

import secrets

import pytest

from p2phub.formats.limits import MAX_INTEGER
from p2phub.formats.publisher import Index
from p2phub.node.numbers import LAST_SECOND, NUMBERS_A_SECOND, next_number
from p2phub.store.documents import Documents
from p2phub.store.index import Index as Database
from p2phub.trust.envelope import sign
from p2phub.trust.keys import SigningKey

KEY = SigningKey(b"k" * 32)
HIGHEST_CHANCE = NUMBERS_A_SECOND - 1


@pytest.fixture
def documents(tmp_path):
    database = Database.open(tmp_path / "index.db")
    yield Documents(database)
    database.close()


@pytest.fixture
def chance(monkeypatch):
    """What chance says from now on: a number below the one that it is asked for."""

    def says(number):
        asked = []
        monkeypatch.setattr(secrets, "randbelow", lambda below: asked.append(below) or number)
        return asked

    return says


@pytest.mark.parametrize(
    ("now", "second"),
    [
        (-1, 0),
        (0, 0),
        (LAST_SECOND - 1, LAST_SECOND - 1),
        (LAST_SECOND, LAST_SECOND),
        (LAST_SECOND + 1, LAST_SECOND),
        (250_000_000_000, LAST_SECOND),
    ],
)
def test_a_clock_counts_up_to_the_last_second_and_not_beyond(documents, chance, now, second):
    asked = chance(0)
    assert next_number(documents, KEY.public, (), now) == second * NUMBERS_A_SECOND + 1
    assert asked == [NUMBERS_A_SECOND]


@pytest.mark.parametrize("drawn", [0, HIGHEST_CHANCE])
def test_the_numbers_of_a_second_are_beyond_those_of_the_one_before(documents, chance, drawn):
    chance(HIGHEST_CHANCE)
    before = next_number(documents, KEY.public, (), 5)
    chance(drawn)
    after = next_number(documents, KEY.public, (), 6)
    assert before == 6 * NUMBERS_A_SECOND
    assert after == 6 * NUMBERS_A_SECOND + 1 + drawn > before


@pytest.mark.parametrize("drawn", [0, HIGHEST_CHANCE])
def test_a_clock_that_went_back_still_gives_a_number_beyond_the_last(documents, chance, drawn):
    chance(HIGHEST_CHANCE)
    before = next_number(documents, KEY.public, (), 9)
    chance(drawn)
    assert next_number(documents, KEY.public, (), 5) == before + 1 + drawn


@pytest.mark.parametrize("number", [7 * NUMBERS_A_SECOND, 9 * NUMBERS_A_SECOND])
def test_it_is_beyond_the_numbers_of_the_indexes_that_are_followed(documents, chance, number):
    parent = sign(Index(bytes(32), KEY.public, number, (), 1, 1, {}, bytes(32)), [KEY])
    documents.put(parent.digest, Index.TYPE, parent.pack())
    chance(0)
    made = next_number(documents, KEY.public, (parent.digest, b"not here" * 4), 8)
    assert made == max(8 * NUMBERS_A_SECOND, number) + 1


def test_the_last_second_leaves_numbers_for_ever(documents, chance):
    chance(HIGHEST_CHANCE)
    number = next_number(documents, KEY.public, (), LAST_SECOND)
    assert number == (LAST_SECOND + 1) * NUMBERS_A_SECOND
    assert (MAX_INTEGER - number) // NUMBERS_A_SECOND > 1 << 31
