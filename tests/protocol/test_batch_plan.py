"""Small files shared out among sources: nothing asked twice without need, nothing forgotten."""

import random

import pytest

from p2phub.formats.ids import ContentId
from p2phub.protocol.batch_plan import PATIENCE, SHARE, Ask, BatchPlan, Leave, Wait

MANY = [ContentId(1, number.to_bytes(32, "big")) for number in range(3 * SHARE)]


def test_sources_share_the_files_and_no_file_is_asked_twice():
    plan = BatchPlan(MANY)
    steps = [plan.next_for(source, 0.0) for source in ("ann", "bob", "ann")]
    assert sorted(content for step in steps for content in step.contents) == sorted(MANY)
    assert isinstance(plan.next_for("bob", 0.0), Wait)


def test_what_a_source_lacks_is_asked_of_others_and_not_of_it_again():
    plan = BatchPlan(MANY[:2])
    assert plan.next_for("ann", 0.0) == Ask(tuple(MANY[:2]))
    plan.got("ann", MANY[0], 0.0)
    plan.ended("ann", MANY[:2])
    assert plan.next_for("ann", 0.0) == Leave()
    assert plan.next_for("bob", 0.0) == Ask((MANY[1],))


def test_the_rest_of_a_failed_batch_goes_to_others():
    plan = BatchPlan(MANY[:3])
    plan.next_for("ann", 0.0)
    plan.got("ann", MANY[0], 0.0)
    plan.failed("ann", MANY[:3])
    assert plan.next_for("ann", 0.0) == Leave()
    assert plan.next_for("bob", 0.0) == Ask(tuple(MANY[1:3]))
    assert plan.missing == tuple(MANY[1:3])


def test_a_source_that_hangs_is_asked_around_after_two_seconds_and_one_that_works_is_not():
    plan = BatchPlan(MANY[:3])
    plan.next_for("ann", 0.0)
    assert plan.next_for("bob", 0.5) == Wait(PATIENCE - 0.5)
    plan.got("ann", MANY[0], 1.0)
    assert plan.next_for("bob", 2.5) == Wait(0.5)
    assert plan.stalled(2.5) == set()
    assert plan.stalled(3.0) == {"ann"}
    assert plan.next_for("bob", 3.0) == Ask(tuple(MANY[1:3]))
    assert plan.got("bob", MANY[1], 3.1)
    assert not plan.got("ann", MANY[1], 3.2)
    plan.failed("ann", MANY[:3])
    assert isinstance(plan.next_for("cid", 3.2), Wait)


def test_when_all_has_come_everybody_leaves():
    plan = BatchPlan(MANY[:1])
    plan.next_for("ann", 0.0)
    assert plan.got("ann", MANY[0], 0.0)
    assert plan.finished
    assert plan.next_for("bob", 0.0) == plan.next_for("ann", 0.0) == Leave()


@pytest.mark.parametrize("seed", range(50))
def test_whatever_sources_do_it_ends_and_nothing_is_lost(seed):
    rng = random.Random(seed)
    plan, names = BatchPlan(MANY[:20]), ["ann", "bob", "cid"]
    has = {name: set(rng.sample(MANY[:20], rng.randrange(21))) for name in names}
    fails = set(rng.sample(names, rng.randrange(4)))
    open_asks, now, came = [], 0.0, set()
    for _ in range(500):
        steps = {name: plan.next_for(name, now) for name in names}
        open_asks += [(name, step.contents) for name, step in steps.items() if type(step) is Ask]
        if not open_asks and all(step == Leave() for step in steps.values()):
            break
        if open_asks and rng.random() < 0.5:
            name, batch = open_asks.pop(0)
            for content in batch:
                if content in has[name]:
                    plan.got(name, content, now)
                    came.add(content)
            (plan.failed if name in fails else plan.ended)(name, batch)
        now += 0.7
    else:
        raise AssertionError("the sources were never done")
    assert came == set(MANY[:20]) - set(plan.missing)
    honest = set().union(*(has[name] for name in names if name not in fails))
    assert honest <= came
