"""Work in several threads: the same answers in the same order, and no more than asked for."""

import threading

import pytest

from p2phub.store import side_by_side as module
from p2phub.store.side_by_side import AHEAD, LANES, WORTH_IT, lanes_for, side_by_side


@pytest.mark.parametrize("lanes", [1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 7, 100])
def test_every_answer_in_the_order_asked(lanes, count):
    found = list(side_by_side(lambda item: item * item, range(count), lanes=lanes))
    assert found == [item * item for item in range(count)]


def test_two_lanes_work_at_the_same_time():
    both = threading.Barrier(2, timeout=20)
    assert sorted(side_by_side(lambda item: both.wait(), range(2), lanes=2)) == [0, 1]


@pytest.mark.parametrize("lanes", [1, 2])
def test_what_the_work_raises_comes_out(lanes):
    def work(item):
        if item == 3:
            raise ValueError("the fourth")
        return item

    answers = side_by_side(work, range(10), lanes=lanes)
    assert [next(answers) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="the fourth"):
        next(answers)


def test_who_stops_taking_leaves_the_rest_undone():
    begun = []
    answers = side_by_side(lambda item: begun.append(item), range(1000), lanes=2)
    next(answers)
    answers.close()
    assert len(begun) <= 2 * AHEAD


def test_a_second_thread_is_started_for_many_bytes_only(monkeypatch):
    monkeypatch.setattr(module.os, "sched_getaffinity", lambda pid: set(range(64)))
    assert lanes_for(WORTH_IT) == 1
    assert lanes_for(WORTH_IT + 1) == LANES
    monkeypatch.setattr(module.os, "sched_getaffinity", lambda pid: {0})
    assert lanes_for(1 << 40) == 1
