"""Sources that come, learn more and go while one file is fetched, in virtual time."""

import pytest
import trio

from p2phub.errors import NoSourceError, WrongBytesError
from p2phub.node.fetch import FileFetch
from p2phub.protocol.ports import Holding
from p2phub.testing.samples import MemorySink, make_sample
from p2phub.testing.sources import HangingSource, HonestSource, LyingSource

SAMPLE = make_sample(24 << 20, piece=1 << 20)
HALF = SAMPLE.content.size // 2
WHOLE = Holding(complete=True)
FIRST_HALF = Holding(complete=False, ranges=((0, HALF),))


def make_fetch() -> tuple[FileFetch, MemorySink]:
    sink = MemorySink(SAMPLE.table)
    return FileFetch("model.safetensors", SAMPLE.content, SAMPLE.table, sink), sink


def honest(name: str, holding: Holding = WHOLE) -> HonestSource:
    ranges = None if holding.complete else {SAMPLE.content: holding.ranges}
    return HonestSource(name, [SAMPLE], ranges=ranges)


async def test_a_source_that_joins_takes_part_at_once(autojump_clock):
    fetch, sink = make_fetch()
    late = honest("late")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fetch.run, [(HangingSource("hangs", [SAMPLE]), FIRST_HALF)])
        await trio.sleep(1)
        fetch.join(late, WHOLE)
        await trio.sleep(0.2)
        assert late.asked
    assert sink.data == SAMPLE.data


async def test_a_source_that_joined_before_the_run_takes_part(autojump_clock):
    fetch, sink = make_fetch()
    fetch.join(honest("early"), WHOLE)
    await fetch.run()
    assert sink.data == SAMPLE.data


async def test_a_source_that_has_more_by_now_is_asked_for_it(autojump_clock):
    fetch, sink = make_fetch()
    growing = honest("growing")
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: fetch.run([(growing, FIRST_HALF)], until=trio.Event()))
            await trio.sleep(10)
            assert len(sink.pieces) == SAMPLE.table.count // 2
            fetch.join(growing, WHOLE)
    assert sink.data == SAMPLE.data


async def test_a_fetch_that_may_get_others_waits_for_them_and_no_longer_than_told(autojump_clock):
    fetch, sink = make_fetch()
    enough = trio.Event()

    async def look_for_others():
        await trio.sleep(100)
        fetch.join(honest("half", FIRST_HALF), FIRST_HALF)
        await trio.sleep(100)
        assert len(sink.pieces) == SAMPLE.table.count // 2
        enough.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(look_for_others)
        with pytest.raises(NoSourceError, match="12 pieces"):
            await fetch.run([], until=enough)
    assert trio.current_time() < 201


async def test_a_whole_file_ends_the_fetch_though_others_may_come(autojump_clock):
    fetch, _ = make_fetch()
    with trio.fail_after(60):
        await fetch.run([(honest("one"), WHOLE)], until=trio.Event())


async def test_what_a_source_that_left_was_asked_for_is_asked_of_others_at_once(autojump_clock):
    fetch, sink = make_fetch()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(
            fetch.run, [(HangingSource("hangs", [SAMPLE]), WHOLE), (honest("stays"), WHOLE)]
        )
        await trio.sleep(0.1)
        fetch.leave("hangs")
        fetch.leave("nobody")
    assert sink.data == SAMPLE.data
    assert trio.current_time() < 24 * 0.1 + 0.5


async def test_a_fetch_whose_last_source_left_ends(autojump_clock):
    fetch, _ = make_fetch()

    async def go_away():
        await trio.sleep(0.1)
        fetch.leave("hangs")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(go_away)
        with pytest.raises(NoSourceError):
            await fetch.run([(HangingSource("hangs", [SAMPLE]), WHOLE)])


async def test_a_source_that_lied_left_and_came_back_is_not_asked_again(autojump_clock):
    fetch, _ = make_fetch()
    first, second = LyingSource("liar", [SAMPLE]), LyingSource("liar", [SAMPLE])
    enough = trio.Event()

    async def come_back():
        await trio.sleep(10)
        fetch.leave("liar")
        fetch.join(second, WHOLE)
        await trio.sleep(10)
        enough.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(come_back)
        with pytest.raises(WrongBytesError):
            await fetch.run([(first, WHOLE)], until=enough)
    assert len(first.asked) == 1
    assert not second.asked


async def test_another_object_of_the_same_name_takes_the_place_of_the_old_one(autojump_clock):
    fetch, sink = make_fetch()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fetch.run, [(HangingSource("peer", [SAMPLE]), WHOLE)])
        await trio.sleep(0.1)
        fetch.join(honest("peer"), WHOLE)
    assert sink.data == SAMPLE.data


async def test_a_source_of_several_connections_brings_the_file_and_may_leave(autojump_clock):
    wide = HonestSource("wide", [SAMPLE], connections=3)
    sink = MemorySink(SAMPLE.table)
    job = FileFetch("model.safetensors", SAMPLE.content, SAMPLE.table, sink)
    await job.run([(wide, Holding(complete=True))])
    assert sink.data == SAMPLE.data
    job.leave("wide")


async def test_a_source_that_joins_when_the_last_worker_has_ended_is_too_late_and_no_fault(
    autojump_clock,
):
    """Sources are told of at any moment, also between the end of the work and that of the run."""
    fetch, sink = make_fetch()
    await fetch.run([(honest("first"), WHOLE)])
    async with trio.open_nursery() as ended:
        await trio.lowlevel.checkpoint()
    fetch._nursery = ended  # as it is for one step of the scheduler
    late = honest("late")
    fetch.join(late, WHOLE)
    assert not late.asked
    assert sink.data == SAMPLE.data
