"""The pace of a direction in a time that the test makes: rate, smoothness and fairness."""

import heapq
from collections import Counter

import pytest

from p2phub.formats.limits import KIB
from p2phub.protocol.pace import MOST_PORTION, Pace

MB = 1_000_000


def simulate(pace, parties, seconds, *, oversleep=0.0, changes=()):
    """Every (party, number) always wants another portion; (time, party, bytes) of what went."""
    went = []
    sleeping = [(0.0, turn) for turn in parties]
    heapq.heapify(sleeping)
    changes = list(changes)
    for turn in parties:
        pace.join(turn, turn[0], pace.portion)
    while sleeping:
        now, turn = heapq.heappop(sleeping)
        if now >= seconds:
            break
        if changes and now >= changes[0][0]:
            pace.rate = changes.pop(0)[1]
        size = pace._sizes[turn]
        wait = pace.ask(turn, now)
        if wait == 0:
            went.append((now, turn[0], size))
            pace.join(turn, turn[0], pace.portion)
            heapq.heappush(sleeping, (now, turn))
            if pace.called is not turn:
                heapq.heappush(sleeping, (now, pace.called))
        elif wait < float("inf"):
            heapq.heappush(sleeping, (now + wait + oversleep, turn))
    return went


@pytest.mark.parametrize("rate", [20_000, 300_000, 5 * MB, 60 * MB])
@pytest.mark.parametrize("oversleep", [0.0, 0.003, 0.02])
def test_a_minute_at_a_rate_is_a_minute_of_bytes(rate, oversleep):
    pace = Pace(rate)
    went = simulate(pace, [("one", 0), ("two", 0)], 60.0, oversleep=oversleep)
    assert sum(size for _, _, size in went) == pytest.approx(60 * rate, rel=0.02)


@pytest.mark.parametrize("rate", [20_000, MB, 60 * MB])
def test_no_burst_is_longer_than_a_tenth_of_a_second_or_256_kib(rate):
    went = simulate(Pace(rate), [("one", number) for number in range(4)], 5.0)
    for index, (start, _, _) in enumerate(went):
        total = 0
        for now, _, size in went[index:]:
            if now - start > 1:
                break
            total += size
            assert total <= rate * (now - start) + max(rate * 0.11, 256 * KIB)


def test_fifty_connections_of_one_peer_get_no_more_than_two_of_another():
    turns = [("greedy", number) for number in range(50)] + [("modest", 0), ("modest", 1)]
    shares = Counter()
    for _, party, size in simulate(Pace(5 * MB), turns, 60.0):
        shares[party] += size
    assert shares["modest"] == pytest.approx(shares["greedy"], rel=0.02)


def test_a_rate_that_changes_holds_at_once():
    went = simulate(Pace(MB), [("one", 0)], 20.0, changes=[(10.0, 4 * MB)])
    before = sum(size for now, _, size in went if now < 10)
    assert before == pytest.approx(10 * MB, rel=0.03)
    assert sum(size for _, _, size in went) - before == pytest.approx(40 * MB, rel=0.03)


def test_idle_time_is_not_saved_up():
    pace = Pace(MB)
    simulate(pace, [("one", 0)], 1.0)
    pace.leave(("one", 0))
    pace.join("late", "late", 50_000)
    pace.join("later", "late", 50_000)
    pace.join("latest", "late", 50_000)
    waits = [pace.ask(turn, 1000.0) for turn in ("late", "later", "latest")]
    assert waits == pytest.approx([0.0, 0.0, 0.05])


def test_without_a_limit_nobody_waits():
    pace = Pace(0)
    assert pace.portion == MOST_PORTION
    for turn in ("a", "b"):
        pace.join(turn, turn, 1 << 40)
    assert pace.ask("b", 0.0) == pace.ask("a", 0.0) == 0.0
    assert pace.called is None


def test_one_who_leaves_while_it_is_called_calls_the_next():
    pace = Pace(1000)
    for turn in ("a", "b", "c"):
        pace.join(turn, turn, 100)
    pace.leave("a")
    assert pace.called == "b"
    pace.leave("c")
    pace.leave("b")
    assert pace.called is None
