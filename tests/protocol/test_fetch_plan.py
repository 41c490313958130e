import pytest

from p2phub.formats.pieces import Run
from p2phub.protocol.fetch_plan import (
    FIRST_BACK_OFF,
    LEAST_RUN,
    MAX_FAILURES,
    SLOW_COUNTS,
    Ask,
    Failure,
    FetchPlan,
    Leave,
    Wait,
)
from p2phub.protocol.ports import Holding

MIB = 1 << 20
ALL = Holding(complete=True)


def make_plan(pieces: int = 24, *sources: str, patience: float = 10) -> FetchPlan:
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


def test_a_source_that_brings_nothing_is_named_after_patience():
    plan = make_plan(8, "hangs", "idle")
    plan.next_for("hangs", 0)
    assert plan.stalled(9) == set()
    assert plan.stalled(10) == {"hangs"}
    plan.got("hangs", 0, 11)
    assert plan.stalled(20) == set()


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


def test_a_stalled_run_is_given_to_another_source_after_patience():
    plan = make_plan(8, "dead", "alive")
    assert plan.next_for("dead", 0) == Ask(Run(0, 8))
    plan.got("dead", 0, 1)
    assert isinstance(plan.next_for("alive", 5), Wait)
    assert plan.next_for("alive", 11.5) == Ask(Run(1, 7))
    deliver(plan, "alive", Run(1, 7), 12)
    assert plan.finished
    plan.failed("dead", Run(0, 8), Failure.SLOW, 20)
    assert plan.finished


def test_a_run_asked_twice_is_not_freed_when_one_of_the_two_fails():
    plan = make_plan(8, "dead", "alive", "third")
    plan.next_for("dead", 0)
    assert plan.next_for("alive", 11) == Ask(Run(0, 8))
    plan.failed("dead", Run(0, 8), Failure.SLOW, 12)
    assert isinstance(plan.next_for("third", 12), Wait)


def test_a_fast_source_is_given_longer_runs():
    plan = make_plan(200, "fast")
    asked = plan.next_for("fast", 0)
    assert isinstance(asked, Ask)
    deliver(plan, "fast", asked.run, 0.25)
    longer = plan.next_for("fast", 0.25)
    assert isinstance(longer, Ask)
    assert longer.run.count == 32
