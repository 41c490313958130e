import pytest

from p2phub.formats.pieces import Run
from p2phub.protocol.piece_set import PieceSet
from p2phub.protocol.piece_sizes import PieceSizes
from p2phub.protocol.source_state import GROWS, Asked, SourceState
from p2phub.protocol.swarm import Candidate
from p2phub.protocol.together import MOST_WAIT, MUCH, NO_NEWS, Together

MIB = 1 << 20
SIZES = PieceSizes([MIB] * 100)
OTHERS = Candidate(60, 64, 0)


def node(*stretches, fetches=True):
    return SourceState(PieceSet(stretches), cursor=0, fetches=fetches)


def seeder():
    return SourceState(held=None, cursor=0)


def together_with(**sources):
    """Of a node whose zone is the first half, where there is one other."""
    together = Together("", SIZES)
    together.note(sources, 0.0)
    return together


def is_left(together, source, part, now, usual=MIB):
    free = PieceSet([(part.first, part.stop)])
    return together.is_left_to_others(source, part, usual, free, now)


def test_a_seeder_is_saved_work_only_where_others_fetch_and_only_a_seeder():
    source = seeder()
    assert not together_with(source=source).saves(source, 0.0)
    together = together_with(source=source, bob=(bob := node()))
    assert together.saves(source, 0.0)
    assert not together.saves(bob, 0.0)
    assert not together.saves(SourceState(held=None, cursor=0, in_order=True), 0.0)


@pytest.mark.parametrize("is_gone", ["left", "dropped", "stopped"])
def test_who_does_not_fetch_any_more_has_no_zone(is_gone):
    sources = {"seeder": seeder(), "bob": node()}
    together = together_with(**sources)
    assert not together.note(sources, 1.0)
    match is_gone:
        case "left":
            del sources["bob"]
        case "dropped":
            sources["bob"].lied = True
        case "stopped":
            sources["bob"].fetches = False
    assert together.note(sources, 1.0)
    assert together.zones is None


def test_who_has_just_got_all_counts_as_one_of_those_who_fetch_for_a_moment():
    bob = SourceState(held=None, cursor=0, grew=0.0)
    together = together_with(bob=bob)
    assert together.zones is not None
    assert [list(each.stretches()) for each in together.makes_rare([bob], 1.0)] == [[(0, 100)]]
    assert not together.saves(bob, 1.0)
    assert together.saves(bob, GROWS)


def test_the_end_of_anothers_zone_is_waited_for_while_there_is_news_and_not_for_ever():
    together, source = together_with(bob=node()), seeder()
    assert is_left(together, source, OTHERS, 0.0)
    assert not is_left(together, source, OTHERS, NO_NEWS)
    source = seeder()
    for tenth in range(int(10 * MOST_WAIT)):
        part = Candidate(60, 64 - tenth % 2, 0)
        assert is_left(together, source, part, tenth / 10)
    assert not is_left(together, source, OTHERS, MOST_WAIT)


def test_much_of_anothers_zone_and_our_own_are_asked_for_at_once():
    together = together_with(bob=node())
    assert is_left(together, seeder(), Candidate(60, 60 + MUCH, 0), 0.0)
    assert not is_left(together, seeder(), Candidate(60, 61 + MUCH, 0), 0.0)
    assert not is_left(together, seeder(), Candidate(48, 50, 0), 0.0)


def test_what_a_slower_node_has_is_not_left_to_it():
    slow, source = node((60, 64)), seeder()
    together = together_with(bob=slow)
    assert is_left(together, source, Candidate(60, 64, 1), 0.0)  # nobody knows yet how slow
    source.rate.add(10 * MIB, 1.0)
    slow.rate.add(MIB, 1.0)
    assert not is_left(together, source, Candidate(60, 64, 1), 1.0)


def test_a_run_that_began_before_the_zones_ends_where_ours_ends():
    together = together_with(bob=node())
    assert together.wanted_until(Asked(Run(45, 9), 46, 54, 0.0)) == 50
    assert together.wanted_until(Asked(Run(60, 9), 61, 69, 0.0)) == 62
    assert together.place(Candidate(10, 20, 0)) == (10, 20)
    assert together.place(Candidate(60, 80, 0)) == (70, 80)


def test_the_head_of_a_file_is_left_to_nobody_and_comes_first_wherever_our_zone_is():
    together = Together("bob", SIZES, head=2)
    source = seeder()
    source.order = [Candidate(0, 100, 0)]
    together.note({"seeder": source, "ann": node()}, 0.0)
    assert together.begins_at() == 0
    first, *rest = together.in_order(source, 0.0)
    assert first == Candidate(0, 2, 0)
    assert not is_left(together, source, first, 0.0)
    assert together.place(first) == (0, 2)
    assert sorted((each.first, each.stop) for each in rest) == [(2, 50), (50, 100)]
