"""Allowances: a burst, then so many a second, and nobody pays for another."""

import pytest

from p2phub.protocol.allowance import PARTIES, Allowances


@pytest.fixture
def allowances():
    return Allowances(rate=2.0, most=10.0)


def spend(allowances, party, now):
    """How many can be taken at once."""
    count = 0
    while allowances.take(party, 1, now):
        count += 1
    return count


def test_a_burst_is_what_a_full_allowance_holds(allowances):
    assert spend(allowances, "alice", 0.0) == 10


def test_it_comes_back_with_time_and_never_beyond_its_fullest(allowances):
    spend(allowances, "alice", 0.0)
    assert spend(allowances, "alice", 1.0) == 2
    assert spend(allowances, "alice", 1000.0) == 10


def test_one_who_has_none_left_keeps_nobody_else_from_anything(allowances):
    spend(allowances, "mallory", 0.0)
    assert spend(allowances, "alice", 0.0) == 10


def test_what_is_too_much_costs_nothing(allowances):
    assert not allowances.take("alice", 11, 0.0)
    assert spend(allowances, "alice", 0.0) == 10


def test_a_charge_makes_debts_that_end(allowances):
    allowances.charge("alice", 1_000_000, 0.0)
    assert spend(allowances, "alice", 5.0) == 0
    assert spend(allowances, "alice", 5.5) == 1


def test_the_wait_is_as_long_as_it_says(allowances):
    spend(allowances, "alice", 0.0)
    pause = allowances.wait("alice", 4, 0.0)
    assert pause == 2.0
    assert not allowances.take("alice", 4, pause - 0.01)
    assert allowances.take("alice", 4, pause)
    assert allowances.wait("bob", 4, 0.0) == 0.0


def test_nobody_waits_for_ever_for_more_than_there_can_be(allowances):
    spend(allowances, "alice", 0.0)
    assert allowances.wait("alice", 1_000, 0.0) == 5.0


def test_a_clock_that_goes_back_gives_nothing(allowances):
    spend(allowances, "alice", 100.0)
    assert spend(allowances, "alice", 0.0) == 0


@pytest.mark.parametrize(("parties", "forgotten"), [(PARTIES, False), (PARTIES + 1, True)])
def test_of_so_many_parties_each_is_kept_and_one_more_pushes_out_the_oldest(parties, forgotten):
    allowances = Allowances(1.0, 1.0)
    for number in range(parties):
        assert allowances.take(f"peer-{number}", 1, 0.0)
    assert len(allowances._left) == PARTIES
    assert allowances.take("peer-0", 1, 0.0) == forgotten


def test_the_memory_of_parties_is_bounded():
    allowances = Allowances(1.0, 1.0, parties=3)
    for number in range(10):
        allowances.take(f"peer-{number}", 1, 0.0)
    assert len(allowances._left) == 3
