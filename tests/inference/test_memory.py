"""Who gives way for a load, and what a machine says it has."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from p2phub.inference import memory
from p2phub.inference.memory import (
    Device,
    Machine,
    Room,
    Taken,
    gpus_of,
    host_of,
    left,
    who_gives_way,
    within_group,
)

TAKEN = st.lists(
    st.builds(
        Taken,
        st.uuids().map(str),
        st.integers(0, 20),
        st.none() | st.floats(0, 100),
        st.booleans(),
    ),
    max_size=6,
)


@given(st.integers(0, 60), st.integers(0, 60), st.integers(-5, 60), TAKEN)
def test_no_more_give_way_than_it_takes_and_nobody_who_is_held(need, limit, free, taken):
    room = Room(limit, free)
    gone = who_gives_way(need, room, taken)
    idle = sum(each.size for each in taken if each.idle_since is not None)
    if gone is None:
        assert need > left(room, taken) + idle
        return
    sizes = {each.key: each for each in taken}
    assert all(sizes[key].idle_since is not None for key in gone)
    freed = [sizes[key].size for key in gone]
    assert need <= left(room, taken) + sum(freed)
    assert not gone or need > left(room, taken) + sum(freed[:-1])


def test_the_one_not_asked_for_the_longest_time_goes_first():
    taken = [Taken("new", 5, 9.0), Taken("old", 5, 1.0), Taken("held", 5)]
    assert who_gives_way(4, Room(limit=15), taken) == ("old",)
    assert who_gives_way(8, Room(limit=15), taken) == ("old", "new")
    assert who_gives_way(11, Room(limit=15), taken) is None


def test_who_goes_anyway_frees_what_it_takes_and_goes_once():
    taken = [Taken("a", 5, 1.0), Taken("b", 5, 2.0)]
    for room in (Room(limit=10), Room(free=0)):
        assert who_gives_way(5, room, taken, going=("a",)) == ()
        assert who_gives_way(6, room, taken, going=("a",)) == ("b",)
        assert who_gives_way(11, room, taken, going=("a",)) is None


def test_what_loads_now_is_taken_from_what_is_free():
    taken = [Taken("loading", 6, loading=True), Taken("loaded", 50)]
    assert left(Room(free=10), taken) == 4


def test_a_machine_that_tells_nothing_has_nothing():
    assert host_of("") == Device("cpu", 0, 0)
    assert gpus_of("No devices were found\n") == ()
    assert within_group(Device("cpu", 9, 8), "max", "5", "") == Device("cpu", 9, 8)
    assert within_group(Device("cpu", 9, 8), "", "", "") == Device("cpu", 9, 8)
    assert within_group(Device("cpu", 99, 88), "10", "12", "") == Device("cpu", 10, 0)


@pytest.mark.parametrize(
    ("visible", "free"),
    [
        (None, [1, 2, 3]),
        ("2,0", [3, 1]),
        ("GPU-b,1", [2, 2]),
        ("", []),
        ("-1", []),
        ("0,9,1", [1]),
        ("GPU-", []),
    ],
)
def test_gpus_are_those_that_cuda_sees_in_its_order(visible, free):
    told = "0, 9, 1, GPU-a\n1, 9, 2, GPU-b\n2, 9, 3, GPU-c\n"
    seen = gpus_of(told, visible)
    assert [each.free >> 20 for each in seen] == free
    assert [each.name for each in seen] == [f"cuda:{n}" for n in range(len(free))]


async def test_this_machine_has_a_processor_with_memory(monkeypatch):
    monkeypatch.setattr(memory, "_nvidia", lambda: "0, 100, 40, GPU-1\n")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    devices = await Machine().devices()
    assert [each.name for each in devices] == ["cpu", "cuda:0"]
    assert 0 < devices[0].free <= devices[0].total


async def test_a_machine_without_gpus_is_not_asked_for_them_each_time(monkeypatch, autojump_clock):
    asked = []
    monkeypatch.setattr(memory, "_ASK", ("no-such-program",))
    real = memory._nvidia
    monkeypatch.setattr(memory, "_nvidia", lambda: asked.append(1) or real())
    machine = Machine()
    for _ in range(3):
        assert len(await machine.devices()) == 1
    assert len(asked) == 1
