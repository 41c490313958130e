"""Sources that have a file from its first byte on only: what the plan asks of them."""

from p2phub.formats.limits import MIB
from p2phub.formats.pieces import Run
from p2phub.protocol.fetch_plan import FetchPlan
from p2phub.protocol.ports import Holding
from p2phub.protocol.source_state import MAX_FAILURES, Failure
from p2phub.protocol.steps import Ask, Wait

ALL = Holding(complete=True)
IN_ORDER = Holding(complete=True, in_order=True)


def plan_of(pieces, *, missing=None, own="", **sources):
    plan = FetchPlan([MIB] * pieces, missing=missing, own=own)
    for name, holding in sources.items():
        plan.join(name, holding)
    return plan


def asked(plan, name, now=0.0):
    step = plan.next_for(name, now)
    assert isinstance(step, Ask)
    return step.run


def bring(plan, name, run, now):
    for index in range(run.first, run.first + run.count):
        plan.got(name, index, now)
    plan.done(name, run, now)


def test_it_begins_with_the_first_piece_wherever_this_node_would_begin():
    plan = plan_of(100, own="other", file=IN_ORDER, peer=ALL)
    assert asked(plan, "file").first == 0
    assert asked(plan, "peer").first == 84


def test_one_run_at_a_time():
    plan = plan_of(100, file=IN_ORDER)
    run = asked(plan, "file")
    assert isinstance(plan.next_for("file", 0), Wait)
    bring(plan, "file", run, 1)
    assert asked(plan, "file", 1).first == run.count


def test_it_goes_on_behind_what_others_are_asked_for():
    plan = plan_of(100, file=IN_ORDER, peer=ALL)
    first = asked(plan, "file")
    theirs = asked(plan, "peer")
    assert theirs.first == first.count
    bring(plan, "file", first, 0.5)
    assert asked(plan, "file", 0.5).first == theirs.first + theirs.count


def test_what_passes_before_its_run_counts_if_it_is_missing():
    plan = plan_of(16, missing=[Run(4, 12)], peer=ALL, file=IN_ORDER)
    theirs = asked(plan, "peer")
    mine = asked(plan, "file")
    assert (theirs, mine) == (Run(4, 8), Run(12, 4))
    assert not plan.is_due("file", 0)
    assert plan.got("file", 0, 0.1)
    assert plan.is_due("file", 4)
    assert plan.got("file", 4, 0.2)
    assert plan.missing == 11


def test_it_may_stop_when_others_have_brought_its_run():
    plan = plan_of(16, peer=ALL, file=IN_ORDER)
    asked(plan, "peer")
    run = asked(plan, "file")
    plan.next_for("peer", 5)  # it stalls: its run is free for others
    for index in range(run.first, run.first + run.count):
        plan.got("peer", index, 5)
    assert not plan.got("file", 0, 6)


def test_it_is_not_made_to_begin_again_for_the_end_of_a_slow_run():
    plan = plan_of(16, peer=ALL, file=IN_ORDER)
    theirs = asked(plan, "peer")
    mine = asked(plan, "file")
    assert (theirs.first, mine.first) == (0, 8)
    bring(plan, "file", mine, 0.5)
    assert isinstance(plan.next_for("file", 0.9), Wait)


def test_but_for_what_nobody_else_brings():
    plan = plan_of(16, peer=ALL, file=IN_ORDER)
    theirs = asked(plan, "peer")
    bring(plan, "file", asked(plan, "file"), 0.5)
    plan.failed("peer", theirs, Failure.GONE, 0.6)
    plan.leave("peer")
    assert asked(plan, "file", 0.7).first == 0


def test_one_that_always_ends_early_is_left_alone_however_much_passes():
    plan = plan_of(16, file=IN_ORDER)
    bring(plan, "file", asked(plan, "file"), 0.1)
    now = 1.0
    for _ in range(MAX_FAILURES):
        run = asked(plan, "file", now)
        for index in range(4):
            assert plan.got("file", index, now)
        plan.failed("file", run, Failure.GONE, now)
        now += 10
    assert not isinstance(plan.next_for("file", now), Ask)


def test_a_swarm_does_not_make_it_wait():
    plan = plan_of(100, file=IN_ORDER)
    plan.join("node", Holding(complete=False, ranges=((0, 8 * MIB),)), 0)
    plan.join("node", Holding(complete=False, ranges=((0, 16 * MIB),)), 1)
    run = asked(plan, "file", 1)
    assert run.first == 0
    bring(plan, "file", run, 1.5)
    assert asked(plan, "file", 1.5).first == run.count


def test_a_swarm_does_not_make_it_jump_where_a_gap_lies_before_it():
    plan = plan_of(100, missing=[Run(30, 70)], file=IN_ORDER)
    plan.join("node", Holding(complete=False, ranges=((0, 31 * MIB),)), 0)
    plan.join("node", Holding(complete=False, ranges=((0, 32 * MIB),)), 1)
    assert asked(plan, "file", 1).first == 30
