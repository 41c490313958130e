import time

import pytest

from p2phub.formats.pieces import Run
from p2phub.protocol import fetch_plan
from p2phub.protocol.fetch_plan import LEAST_RUN, FetchPlan
from p2phub.protocol.ports import Holding
from p2phub.protocol.source_state import FIRST_BACK_OFF, MAX_FAILURES, SLOW_COUNTS, Failure
from p2phub.protocol.steps import Ask, Leave, Wait
from p2phub.protocol.swarm import by_rarity
from p2phub.protocol.zones import Zones

MIB = 1 << 20
ALL = Holding(complete=True)


def make_plan(pieces: int = 24, *sources: str, patience: float = 1) -> FetchPlan:
    plan = FetchPlan([MIB] * pieces, patience)
    for source in sources:
        plan.join(source, ALL)
    return plan


def deliver(plan: FetchPlan, source: str, run: Run, now: float) -> None:
    for index in range(run.first, run.first + run.count):
        plan.got(source, index, now)
    plan.done(source, run, now)


def test_sources_get_different_runs_of_consecutive_pieces():
    plan = make_plan(24, "a", "b", "c")
    asked = [plan.next_for(source, now=0) for source in "abc"]
    eight = LEAST_RUN // MIB
    assert asked == [Ask(Run(0, eight)), Ask(Run(eight, eight)), Ask(Run(2 * eight, eight))]
    assert isinstance(plan.next_for("a", now=0), Wait)


def test_a_file_without_pieces_is_finished_at_once():
    plan = make_plan(0, "a")
    assert plan.finished
    assert plan.next_for("a", 0) == Leave()


def test_pieces_that_are_here_already_are_never_asked_for():
    plan = FetchPlan([MIB] * 6, missing=[Run(2, 2)])
    plan.join("a", ALL)
    assert plan.next_for("a", 0) == Ask(Run(2, 2))
    deliver(plan, "a", Run(2, 2), 1)
    assert plan.finished


def test_one_wrong_byte_drops_the_source_and_frees_the_rest_of_its_run():
    plan = make_plan(8, "liar", "honest")
    assert plan.next_for("liar", 0) == Ask(Run(0, 8))
    plan.got("liar", 0, 0)
    plan.failed("liar", Run(0, 8), Failure.LIED, 0)
    assert plan.lied_to
    assert plan.next_for("liar", 100) == Leave()
    assert plan.next_for("honest", 0) == Ask(Run(1, 7))


def test_a_source_that_owns_up_to_a_damaged_copy_counts_as_wrong_bytes():
    plan = make_plan(8, "rotten")
    plan.next_for("rotten", 0)
    plan.failed("rotten", Run(0, 8), Failure.DAMAGED, 0)
    assert plan.lied_to
    assert plan.next_for("rotten", 100) == Leave()


def test_a_source_that_keeps_failing_is_asked_less_and_less_and_then_left_alone():
    plan = make_plan(8, "flaky")
    now, pauses = 0.0, []
    for _ in range(MAX_FAILURES):
        asked = plan.next_for("flaky", now)
        if isinstance(asked, Wait):
            pauses.append(asked.seconds)
            now += asked.seconds
            asked = plan.next_for("flaky", now)
        assert asked == Ask(Run(0, 8))
        plan.failed("flaky", Run(0, 8), Failure.GONE, now)
    assert pauses == [pytest.approx(FIRST_BACK_OFF * 2**n) for n in range(MAX_FAILURES - 1)]
    assert plan.next_for("flaky", now + 100) == Leave()
    assert not plan.lied_to


def test_a_source_that_kept_us_waiting_is_left_alone_sooner():
    plan = make_plan(8, "hangs")
    now = 0.0
    for _ in range(MAX_FAILURES // SLOW_COUNTS):
        now += 100
        assert plan.next_for("hangs", now) == Ask(Run(0, 8))
        plan.failed("hangs", Run(0, 8), Failure.SLOW, now)
    assert plan.next_for("hangs", now + 100) == Leave()


def test_a_source_that_brings_nothing_is_named_after_so_many_seconds():
    plan = make_plan(8, "hangs", "idle")
    plan.next_for("hangs", 0)
    assert plan.stalled(9, 10) == set()
    assert plan.stalled(10, 10) == {"hangs"}
    plan.got("hangs", 0, 11)
    assert plan.stalled(20, 10) == set()


def test_a_delivered_piece_forgives_earlier_failures():
    plan = make_plan(3 * MAX_FAILURES, "flaky")
    for index in range(3 * MAX_FAILURES - 1):
        asked = plan.next_for("flaky", 10 * index)
        assert isinstance(asked, Ask)
        plan.got("flaky", index, 10 * index)
        plan.failed("flaky", asked.run, Failure.GONE, 10 * index)
    assert plan.missing == 1
    assert isinstance(plan.next_for("flaky", 1000), Ask)


def test_a_source_with_some_of_the_file_is_asked_only_for_whole_pieces_it_has():
    plan = FetchPlan([100, 100, 100, 100], patience=10)
    plan.join("part", Holding(complete=False, ranges=((50, 200), (250, 400))))
    assert plan.next_for("part", 0) == Ask(Run(1, 1))
    assert plan.next_for("part", 0) == Ask(Run(3, 1))
    deliver(plan, "part", Run(1, 1), 1)
    deliver(plan, "part", Run(3, 1), 1)
    assert plan.next_for("part", 2) == Leave()
    plan.join("part", ALL)
    assert plan.next_for("part", 2) == Ask(Run(0, 1))


def test_a_source_that_claimed_all_and_lacks_a_run_keeps_the_rest_of_its_claim():
    plan = FetchPlan([LEAST_RUN, LEAST_RUN], patience=10)
    plan.join("boaster", ALL)
    assert plan.next_for("boaster", 0) == Ask(Run(0, 1))
    plan.failed("boaster", Run(0, 1), Failure.LACKS, 0)
    assert plan.next_for("boaster", 1) == Ask(Run(1, 1))
    deliver(plan, "boaster", Run(1, 1), 2)
    assert plan.next_for("boaster", 3) == Leave()


def test_what_a_stalled_source_was_asked_for_is_asked_of_another_one_after_patience():
    plan = make_plan(24, "dead", "alive")
    assert plan.next_for("dead", 0) == Ask(Run(0, 8))
    plan.got("dead", 0, 0.1)
    now = 0.1
    asked = [plan.next_for("alive", now)]
    assert asked == [Ask(Run(8, 8))]
    while not plan.finished:
        now += 0.5
        deliver(plan, "alive", asked[-1].run, now)
        asked.append(plan.next_for("alive", now))
        assert now < 5
    assert min(each.run.first for each in asked[:-1]) == 1
    plan.failed("dead", Run(0, 8), Failure.SLOW, 20)
    assert plan.finished


def test_what_was_given_to_another_source_is_not_freed_when_the_stalled_one_fails():
    plan = make_plan(8, "dead", "alive", "third")
    plan.next_for("dead", 0)
    assert plan.next_for("alive", 1) == Ask(Run(0, 8))
    plan.failed("dead", Run(0, 8), Failure.SLOW, 1.1)
    assert isinstance(plan.next_for("third", 1.1), Wait)


def test_a_stalled_source_that_goes_on_keeps_what_nobody_else_was_asked_for():
    plan = FetchPlan([LEAST_RUN // 2] * 4)
    plan.join("pauses", ALL)
    plan.join("other", Holding(complete=False, ranges=((LEAST_RUN, 2 * LEAST_RUN),)))
    assert plan.next_for("pauses", 0) == Ask(Run(0, 2))
    plan.got("pauses", 0, 0.1)
    assert plan.next_for("other", 2) == Ask(Run(2, 2))  # the run of the other one is free by now
    assert plan.got("pauses", 1, 2.1)
    plan.done("pauses", Run(0, 2), 2.1)
    assert isinstance(plan.next_for("pauses", 2.1), Wait)


def test_a_stalled_source_that_goes_on_is_told_when_others_bring_the_rest():
    plan = make_plan(8, "pauses", "other")
    plan.next_for("pauses", 0)
    assert plan.got("pauses", 0, 0.1)
    assert plan.next_for("other", 3) == Ask(Run(1, 7))
    assert not plan.got("pauses", 1, 3.1)
    plan.done("pauses", Run(0, 8), 3.1)
    assert isinstance(plan.next_for("pauses", 3.1), Wait)


def test_the_end_of_a_slow_run_is_given_to_a_faster_source_in_proportion():
    plan = make_plan(16, "slow", "fast")
    assert plan.next_for("slow", 0) == Ask(Run(0, 8))
    assert plan.next_for("fast", 0) == Ask(Run(8, 8))
    for index in range(8):
        plan.got("fast", 8 + index, (index + 1) / 10)
        if index % 3 == 2:
            assert plan.got("slow", index // 3, (index + 1) / 10)
    plan.done("fast", Run(8, 8), 0.8)
    assert plan.next_for("fast", 0.8) == Ask(Run(4, 4))  # 3 times as fast: most of the six left
    assert plan.got("slow", 2, 0.9)
    assert not plan.got("slow", 3, 1.2)
    plan.done("slow", Run(0, 8), 1.2)
    deliver(plan, "fast", Run(4, 4), 1.2)
    assert plan.finished


def test_the_last_piece_of_a_slow_source_is_asked_for_a_second_time_and_no_third():
    plan = make_plan(8, "slow", "fast", "third")
    assert plan.next_for("slow", 0) == Ask(Run(0, 8))
    for index in range(7):
        plan.got("slow", index, 0.9 + index / 10)
    assert plan.next_for("fast", 2.3) == Ask(Run(7, 1))
    assert isinstance(plan.next_for("third", 2.3), Wait)


def test_a_run_that_will_be_done_soon_is_left_alone():
    plan = make_plan(8, "one", "other")
    plan.next_for("one", 0)
    for index in range(7):
        plan.got("one", index, index / 10)
    assert isinstance(plan.next_for("other", 0.65), Wait)


def test_a_source_that_says_it_is_done_and_brought_nothing_has_failed():
    plan = make_plan(8, "boaster")
    now = 0.0
    for _ in range(MAX_FAILURES):
        now += 10
        asked = plan.next_for("boaster", now)
        assert asked == Ask(Run(0, 8))
        plan.done("boaster", asked.run, now)
    assert plan.next_for("boaster", now + 10) == Leave()


def test_a_source_that_was_left_alone_and_says_that_it_has_more_gets_one_more_chance():
    plan = make_plan(8, "flaky")
    for now in range(0, 10 * MAX_FAILURES, 10):
        assert plan.next_for("flaky", now) == Ask(Run(0, 8))
        plan.failed("flaky", Run(0, 8), Failure.GONE, now)
    assert plan.next_for("flaky", 100) == Leave()
    plan.join("flaky", ALL)
    assert plan.next_for("flaky", 100) == Ask(Run(0, 8))
    plan.failed("flaky", Run(0, 8), Failure.GONE, 100)
    assert plan.next_for("flaky", 200) == Leave()


def test_a_liar_that_says_that_it_has_more_gets_no_chance():
    plan = make_plan(8, "liar")
    plan.next_for("liar", 0)
    plan.failed("liar", Run(0, 8), Failure.LIED, 0)
    plan.join("liar", ALL)
    assert plan.next_for("liar", 100) == Leave()


def test_what_a_source_that_left_was_asked_for_is_free_and_its_late_piece_counts():
    plan = make_plan(8, "leaves", "stays")
    plan.next_for("leaves", 0)
    plan.leave("leaves")
    assert not plan.got("leaves", 0, 0.1)
    assert plan.next_for("leaves", 0.1) == Leave()
    assert plan.next_for("stays", 0.1) == Ask(Run(1, 7))


def test_the_rarest_pieces_come_first_and_in_runs():
    plan = make_plan(32, "all")
    plan.join("half", Holding(complete=False, ranges=((0, 16 * MIB),)))
    plan.join("quarter", Holding(complete=False, ranges=((8 * MIB, 16 * MIB),)))
    assert plan.next_for("all", 0) == Ask(Run(16, 8))
    assert plan.next_for("half", 0) == Ask(Run(0, 8))
    assert plan.next_for("quarter", 0) == Ask(Run(8, 8))


def test_a_rarer_piece_alone_is_asked_for_with_its_neighbours():
    half = MIB // 2
    plan = FetchPlan([half] * 32)
    plan.join("all", ALL)
    plan.join("most", Holding(complete=False, ranges=((0, 10 * half), (11 * half, 32 * half))))
    assert plan.next_for("all", 0) == Ask(Run(10, 2))


def make_swarm() -> FetchPlan:
    """One source of everything, and a node that fetches too and had 8 pieces more at second 1."""
    plan = make_plan(100, "seeder")
    plan.join("node", Holding(complete=False, ranges=((0, 8 * MIB),)), 0)
    plan.join("node", Holding(complete=False, ranges=((0, 16 * MIB),)), 1)
    return plan


def test_a_seeder_is_asked_for_our_own_zone_first():
    plan = FetchPlan([MIB] * 100, own="ann")
    plan.join("seeder", ALL)
    plan.join("bob", Holding(complete=False), fetches=True)
    assert [plan.next_for("seeder", 0) for _ in range(6)] == [
        Ask(Run(first, 8 if first < 44 else 6)) for first in (28, 36, 44, 0, 8, 16)
    ]


def test_a_seeder_is_not_asked_for_what_another_node_fetches_now_while_that_goes_on():
    plan = make_swarm()
    plan.join("node", Holding(complete=False, ranges=((0, 80 * MIB),)), 1)
    plan.join("other", Holding(complete=False, ranges=((90 * MIB, 100 * MIB),)), 1)
    zone = Zones("", ["node", "other"], 100).mine
    assert zone == (0, 33)
    assert isinstance(plan.next_for("seeder", 1), Wait)
    plan.join("node", Holding(complete=False, ranges=((0, 84 * MIB),)), 1.9)
    assert isinstance(plan.next_for("seeder", 2.5), Wait)
    late = plan.next_for("seeder", 3.6)  # no news of it
    assert isinstance(late, Ask)
    assert 84 <= late.run.first < late.run.first + late.run.count <= 90


def test_a_node_that_lags_is_helped_from_behind_its_own_place():
    plan = make_swarm()
    plan.join("node", Holding(complete=False, ranges=((0, 50 * MIB),)), 2)
    assert plan.next_for("seeder", 2) == Ask(Run(75, 8))


def test_what_a_seeder_was_asked_for_in_the_zone_of_a_node_that_begins_too_is_left_to_it():
    plan = FetchPlan([MIB] * 100, own="bob")
    plan.join("seeder", ALL)
    assert plan.next_for("seeder", 0) == Ask(Run(50, 8))
    for node in ("ann", "node"):
        plan.join(node, Holding(complete=False), fetches=True)
    assert plan.next_for("seeder", 0.1) == Ask(Run(66, 8))
    assert not plan.got("seeder", 50, 0.2)
    plan.done("seeder", Run(50, 8), 0.2)


def test_what_another_node_has_by_now_is_not_waited_for_from_a_seeder():
    plan = FetchPlan([MIB] * 100, own="ann")
    plan.join("seeder", ALL)
    plan.join("bob", Holding(complete=False), fetches=True)
    assert plan.next_for("seeder", 0) == Ask(Run(28, 8))
    plan.join("bob", Holding(complete=False, ranges=((30 * MIB, 32 * MIB),)), 0.1)
    assert plan.next_for("bob", 0.1) == Ask(Run(30, 2))
    assert plan.got("seeder", 28, 0.2)
    assert not plan.got("seeder", 29, 0.3)


def test_a_piece_that_is_here_is_not_asked_for_again_though_its_slow_source_still_sends_it():
    plan = make_plan(16, "slow", "fast", "third")
    assert plan.next_for("slow", 0) == Ask(Run(0, 8))
    assert plan.next_for("third", 0) == Ask(Run(8, 8))
    for index in range(7):
        plan.got("slow", index, 0.9 + index / 10)
        plan.got("third", 8 + index, 1.75 + index / 10)
    assert plan.next_for("fast", 2.3) == Ask(Run(7, 1))
    plan.got("fast", 7, 2.4)
    plan.done("fast", Run(7, 1), 2.4)
    assert plan.next_for("fast", 2.4) == Ask(Run(15, 1))


def test_a_node_that_has_all_by_now_is_asked_instead_of_the_seeder():
    plan = make_swarm()
    plan.join("node", ALL, 1.1)
    assert isinstance(plan.next_for("seeder", 1.1), Wait)
    assert plan.next_for("node", 1.1) == Ask(Run(0, 8))
    assert isinstance(plan.next_for("seeder", 9), Ask)  # by now it is a seeder as well


def test_a_seeder_is_asked_for_everything_where_nobody_else_fetches():
    plan = make_plan(100, "seeder")
    plan.join("mirror", Holding(complete=False, ranges=((0, 96 * MIB),)))
    assert plan.next_for("seeder", 100) == Ask(Run(96, 4))
    assert plan.next_for("seeder", 100) == Ask(Run(0, 8))


def test_those_who_start_together_ask_a_lone_seeder_for_different_parts():
    runs = []
    for node in ("ann", "bob", "node", "other"):
        plan = FetchPlan([MIB] * 400, own=node)
        plan.join("seeder", ALL)
        asked = plan.next_for("seeder", 0)
        assert isinstance(asked, Ask)
        runs.append(asked.run)
    assert sorted(run.first for run in runs) == [114, 131, 202, 339]
    assert all(run.count == 8 for run in runs)


def test_a_fast_source_is_given_longer_runs_and_a_slow_one_shorter_ones():
    for seconds, pieces in ((0.25, 32), (4, 4)):
        plan = make_plan(200, "source")
        asked = plan.next_for("source", 0)
        assert isinstance(asked, Ask)
        for index in range(8):
            plan.got("source", index, seconds * (index + 1) / 8)
        plan.done("source", asked.run, seconds)
        following = plan.next_for("source", seconds)
        assert isinstance(following, Ask)
        assert following.run.count == pytest.approx(pieces, rel=0.25)


def test_runs_become_shorter_towards_the_end_so_that_nobody_is_left_with_much():
    plan = make_plan(100, "one", "other")
    deliver(plan, "one", plan.next_for("one", 0).run, 0.05)
    lengths = []
    while not plan.finished:
        asked = plan.next_for("one", 0.1)
        lengths.append(asked.run.count)
        deliver(plan, "one", asked.run, 0.1)
    assert lengths[0] > 40
    assert lengths[-2] <= 9


def test_a_lone_fast_source_is_asked_a_few_times_only():
    """Every question costs both ends 2 ms of a processor."""
    plan = make_plan(256, "source")
    first, second = (plan.next_for("source", 0).run for _ in range(2))
    deliver(plan, "source", first, 0.05)
    asked = [first, second, plan.next_for("source", 0.05).run]
    deliver(plan, "source", second, 0.05)
    while not plan.finished:
        asked.append(plan.next_for("source", 0.1).run)
        deliver(plan, "source", asked[-2], 0.1)
        if plan.missing == asked[-1].count:
            deliver(plan, "source", asked[-1], 0.1)
    assert len(asked) <= 6


def test_what_a_lone_source_was_asked_for_is_shared_with_who_comes_later():
    plan = make_plan(128, "source")
    deliver(plan, "source", plan.next_for("source", 0).run, 0.05)
    alone = plan.next_for("source", 0.05).run
    assert alone == Run(8, 120)
    plan.got("source", 8, 0.06)
    plan.join("other", ALL, 0.12)
    shared = plan.next_for("other", 0.12)
    assert isinstance(shared, Ask)
    assert shared.run.count > 50
    assert shared.run.first + shared.run.count == 128


def test_a_plan_of_many_pieces_is_cheap():
    """Planning is linear: a plan that scanned all pieces for every run would take minutes."""
    pieces, began = 100_000, time.process_time()
    plan = FetchPlan([MIB] * pieces)
    names = [str(number) for number in range(8)]
    for number, name in enumerate(names):
        spans = tuple((first * MIB, (first + 300) * MIB) for first in range(number, pieces, 500))
        plan.join(name, ALL if number < 2 else Holding(complete=False, ranges=spans))
    now = 0.0
    while not plan.finished:
        for name in names:
            asked = plan.next_for(name, now)
            if isinstance(asked, Ask):
                deliver(plan, name, asked.run, now)
            now += 0.1
    assert time.process_time() - began < 6


def test_many_news_of_a_scattered_holding_do_not_mean_sorting_it_again_and_again(monkeypatch):
    sorts = []

    def counted(*args):
        sorts.append(args)
        return by_rarity(*args)

    monkeypatch.setattr(fetch_plan, "by_rarity", counted)
    plan = FetchPlan([MIB] * 10_000)
    spans = [(first * MIB, (first + 4) * MIB) for first in range(0, 8000, 8)]
    for step in range(100):  # in ten seconds
        spans.append(((8000 + 8 * step) * MIB, (8004 + 8 * step) * MIB))
        plan.join("peer", Holding(False, tuple(spans)), now=step / 10)
        asked = plan.next_for("peer", now=step / 10)
        assert isinstance(asked, Ask)
        deliver(plan, "peer", asked.run, step / 10 + 0.05)
    assert len(sorts) <= 100
    few = len(sorts)
    for step in range(100):  # in a tenth of a second
        spans.append(((8800 + 8 * step) * MIB, (8804 + 8 * step) * MIB))
        plan.join("peer", Holding(False, tuple(spans)), now=10 + step / 1000)
        plan.next_for("peer", now=10 + step / 1000)
    assert len(sorts) - few <= 3


def test_what_came_free_is_asked_for_though_the_order_is_old():
    """An order that still lasts must not end a fetch: what it does not name may be there."""
    plan = FetchPlan([MIB] * 10_000)
    spans = tuple((first * MIB, (first + 1) * MIB) for first in range(0, 8000, 2))
    plan.join("peer", Holding(False, spans), now=0)
    while isinstance(asked := plan.next_for("peer", now=0.0), Ask):
        deliver(plan, "peer", asked.run, 0.01)
    plan.join("peer", Holding(False, (*spans, (9000 * MIB, 9001 * MIB))), now=0.02)
    assert plan.next_for("peer", now=0.02) == Ask(Run(9000, 1))


def test_the_head_of_a_file_that_is_read_while_it_comes_is_asked_for_first_and_then_what_follows():
    plan = FetchPlan([MIB] * 100, own="ann", head=1)
    plan.join("seeder", ALL)
    first, second = plan.next_for("seeder", 0), plan.next_for("seeder", 0)
    assert first.run.first == 0
    assert second.run.first == first.run.first + first.run.count


def test_the_head_comes_first_although_rarer_pieces_and_our_own_zone_are_elsewhere():
    plan = FetchPlan([MIB] * 100, own="bob", head=2)
    plan.join("seeder", ALL)
    plan.join("ann", Holding(complete=False, ranges=((0, 40 * MIB),)), fetches=True)
    assert plan.next_for("seeder", 0) == Ask(Run(0, 2))
    assert plan.next_for("seeder", 0).run.first >= 40
    plan.failed("seeder", Run(0, 2), Failure.LIED, 1.0)
    assert plan.next_for("ann", 1.0).run.first == 0
