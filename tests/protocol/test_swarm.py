import pytest

from p2phub.protocol.piece_set import PieceSet
from p2phub.protocol.swarm import Availability, Candidate, Rate, by_rarity

EVERYTHING = PieceSet([(0, 100)])


def test_how_many_have_each_piece():
    sets = [PieceSet([(0, 50)]), PieceSet([(25, 75)]), PieceSet([(25, 50), (75, 100)])]
    parts = list(Availability(sets).parts(0, 100))
    assert [(part.first, part.stop, part.count) for part in parts] == [
        (0, 25, 1),
        (25, 50, 3),
        (50, 100, 1),
    ]


def test_who_has_all_makes_nothing_rarer():
    assert list(Availability([]).parts(5, 9)) == [Candidate(5, 9, 0)]


def test_the_rarest_first_and_of_equally_rare_ones_the_next():
    availability = Availability([PieceSet([(40, 60)])])
    order = by_rarity(EVERYTHING, None, availability, cursor=50, count=100)
    assert order == [
        Candidate(60, 100, 0),
        Candidate(0, 40, 0),
        Candidate(50, 60, 1),
        Candidate(40, 50, 1),
    ]


def test_only_what_is_free_and_held_is_in_the_order():
    free, held = PieceSet([(10, 30), (80, 90)]), PieceSet([(20, 85)])
    order = by_rarity(free, held, Availability([]), cursor=0, count=100)
    assert order == [Candidate(20, 30, 0), Candidate(80, 85, 0)]


def test_a_rate_follows_what_comes_and_forgets_what_came_long_ago():
    rate = Rate()
    assert rate.value == 0
    rate.begin(0.0)
    for tenth in range(1, 51):
        rate.add(100, tenth / 10)
    assert rate.value == pytest.approx(1000, rel=0.05)
    for second in range(6, 26):
        rate.add(100, second)
    assert rate.value == pytest.approx(100, rel=0.3)


def test_time_without_a_request_makes_nobody_slower():
    rate = Rate()
    rate.begin(0.0)
    rate.add(1000, 1.0)
    rate.begin(1000.0)
    rate.add(1000, 1001.0)
    assert rate.value == pytest.approx(1000, rel=0.1)


def test_bytes_that_come_at_once_are_not_infinitely_fast():
    rate = Rate()
    rate.begin(0.0)
    rate.add(1000, 0.0)
    assert rate.value == pytest.approx(20_000, rel=0.05)
