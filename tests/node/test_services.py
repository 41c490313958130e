"""Turns: one at a time for each key, also where somebody has many keys."""

import pytest
import trio

from p2phub.node.services import Turns


@pytest.fixture
def turns():
    turns = Turns()
    yield turns
    assert not turns._locks
    assert not turns._together


async def test_one_at_a_time_has_a_key(autojump_clock, turns):
    inside = []

    async def have(key, seconds):
        async with turns.of(key):
            inside.append(key)
            assert inside.count(key) == 1
            await trio.sleep(seconds)
            inside.remove(key)

    async with trio.open_nursery() as nursery:
        for key in "aabb":
            nursery.start_soon(have, key, 5)
    assert trio.current_time() == 10


async def test_those_that_somebody_has_are_not_among_those_free(autojump_clock, turns):
    async with turns.of("a"), turns.of_those_free("aabbc") as ours:
        assert ours == ["b", "c"]
        async with turns.of_those_free("abcd") as others:
            assert others == ["d"]
    async with turns.of_those_free("abcd") as ours:
        assert ours == list("abcd")


async def test_whoever_waits_for_one_of_many_gets_it_when_they_are_free(autojump_clock, turns):
    got = []

    async def wait_for(key):
        async with turns.of(key):
            got.append((key, trio.current_time()))
            await trio.sleep(1)

    async with trio.open_nursery() as nursery, turns.of_those_free("ab"):
        for key in "aabc":
            nursery.start_soon(wait_for, key)
        await trio.sleep(10)
        assert got == [("c", 0)]
    assert sorted(got[1:]) == [("a", 10), ("a", 11), ("b", 10)]


async def test_who_waits_and_is_cancelled_leaves_nothing_behind(autojump_clock, turns):
    async with turns.of_those_free("a"):
        with trio.move_on_after(1) as scope:
            async with turns.of("a"):
                pass
        assert scope.cancelled_caught
