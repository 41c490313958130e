"""Attacks and faults on the fetch of one file, in virtual time: no sleeps, no sockets."""

import pytest
import trio

from p2phub.errors import NoSourceError, NoSpaceError, WrongBytesError
from p2phub.formats.pieces import Run
from p2phub.node.fetch import FileFetch
from p2phub.protocol.ports import Holding
from p2phub.testing.samples import MemorySink, make_sample
from p2phub.testing.sources import (
    ClaimsAllHasNone,
    DamagedSource,
    DrippingSource,
    DroppingSource,
    EndlessSource,
    HangingSource,
    HonestSource,
    LyingAtTheEnd,
    LyingInTheMiddle,
    LyingSource,
    ResettingAtTheEnd,
    ResettingInTheLastPiece,
    ResettingInTheMiddle,
    ResettingSource,
    SlowSource,
    TruncatingSource,
    WrongContentSource,
)

SAMPLE = make_sample(24 << 20, piece=1 << 20)
WHOLE = Holding(complete=True)


async def fetch(*kinds, sink=None, holdings=None, missing=None):
    sink = sink or MemorySink(SAMPLE.table)
    sources = [kind(f"{i}:{kind.__name__}", [SAMPLE]) for i, kind in enumerate(kinds)]
    offers = list(zip(sources, holdings or [WHOLE] * len(sources), strict=True))
    job = FileFetch("model.safetensors", SAMPLE.content, SAMPLE.table, sink, missing=missing)
    with trio.fail_after(3600):  # virtual seconds: a livelock fails instead of hanging the suite
        await job.run(offers)
    return sink, sources


def is_whole(sink: MemorySink) -> bool:
    return b"".join(bytes(sink.pieces[i]) for i in range(SAMPLE.table.count)) == SAMPLE.data


async def test_one_honest_source_is_enough_among_all_the_bad_ones(autojump_clock):
    sink, sources = await fetch(
        LyingSource,
        LyingInTheMiddle,
        LyingAtTheEnd,
        TruncatingSource,
        HangingSource,
        DroppingSource,
        ClaimsAllHasNone,
        DamagedSource,
        HonestSource,
    )
    assert is_whole(sink)
    assert len(sources[0].asked) <= sources[0].connections  # caught at once, never asked again
    assert trio.current_time() < 60


async def test_a_source_that_hangs_does_not_hold_back_a_fetch_that_others_can_finish(
    autojump_clock,
):
    sink, _ = await fetch(HangingSource, HonestSource)
    assert is_whole(sink)
    assert trio.current_time() < 25


async def test_a_slow_source_is_overtaken(autojump_clock):
    sink, _ = await fetch(SlowSource, HonestSource)
    assert is_whole(sink)


async def test_an_endless_answer_is_cut_off_once_the_file_is_whole(autojump_clock):
    sink, _ = await fetch(EndlessSource, HonestSource)
    assert is_whole(sink)


BAD = {
    LyingSource: WrongBytesError,
    LyingInTheMiddle: WrongBytesError,
    LyingAtTheEnd: WrongBytesError,
    WrongContentSource: WrongBytesError,
    DamagedSource: WrongBytesError,
    DrippingSource: NoSourceError,
    HangingSource: NoSourceError,
    ResettingSource: NoSourceError,
    ClaimsAllHasNone: NoSourceError,
}
"""Those that bring no file alone, and what a pull from them alone ends with."""
PARTLY_BAD = [
    ResettingInTheMiddle,
    ResettingInTheLastPiece,
    ResettingAtTheEnd,
    TruncatingSource,
    DroppingSource,
    EndlessSource,
    SlowSource,
]


@pytest.mark.parametrize("bad", [*BAD, *PARTLY_BAD])
async def test_beside_one_honest_source_each_bad_one_costs_two_seconds_at_most(autojump_clock, bad):
    sink, _ = await fetch(bad, HonestSource)
    assert is_whole(sink)
    assert trio.current_time() < 24 * 0.1 + 2


@pytest.mark.parametrize("bad", BAD)
async def test_alone_each_bad_source_ends_the_fetch_in_bounded_time(autojump_clock, bad):
    sink = MemorySink(SAMPLE.table)
    with pytest.raises(BAD[bad]):
        await fetch(bad, bad, sink=sink)
    assert trio.current_time() < 180
    assert all(SAMPLE.table.check(index, data) for index, data in sink.pieces.items())


async def test_what_was_verified_is_kept_when_the_only_source_lies_in_the_end(autojump_clock):
    sink = MemorySink(SAMPLE.table)
    with pytest.raises(WrongBytesError):
        await fetch(LyingAtTheEnd, sink=sink)
    assert len(sink.pieces) == 7


async def test_only_who_sent_wrong_bytes_is_worth_remembering(autojump_clock):
    sink = MemorySink(SAMPLE.table)
    kinds = [LyingSource, DamagedSource, ResettingSource, HonestSource]
    job = FileFetch("model.safetensors", SAMPLE.content, SAMPLE.table, sink)
    await job.run([(kind(kind.__name__, [SAMPLE]), WHOLE) for kind in kinds])
    assert job.caught == {"LyingSource"}
    assert job.liars == {"LyingSource", "DamagedSource"}


async def test_two_tables_of_one_file_make_liars_of_nobody(autojump_clock):
    """Two releases cut the same bytes in two ways: who serves either one's pieces is honest."""
    caught = set()
    for piece in (1 << 20, 3 << 18):
        cut = make_sample(24 << 20, piece=piece)
        assert cut.data == SAMPLE.data
        sink = MemorySink(cut.table)
        job = FileFetch("model.safetensors", cut.content, cut.table, sink)
        await job.run([(HonestSource("honest", [cut]), WHOLE)])
        assert sink.data == SAMPLE.data
        caught |= job.caught
    assert not caught


async def test_nobody_has_it(autojump_clock):
    with pytest.raises(NoSourceError, match=r"model\.safetensors"):
        await fetch(ClaimsAllHasNone, ClaimsAllHasNone)


async def test_no_source_at_all(autojump_clock):
    with pytest.raises(NoSourceError):
        await fetch()


@pytest.mark.parametrize("liar", [LyingSource, DamagedSource])
async def test_only_liars_is_wrong_bytes_and_names_the_file(autojump_clock, liar):
    with pytest.raises(WrongBytesError, match=r"model\.safetensors"):
        await fetch(liar, liar)


async def test_nothing_a_liar_sent_is_kept(autojump_clock):
    sink = MemorySink(SAMPLE.table)
    with pytest.raises(WrongBytesError):
        await fetch(LyingSource, sink=sink)
    assert all(SAMPLE.table.check(i, bytes(data)) for i, data in sink.pieces.items())
    assert len(sink.pieces) < SAMPLE.table.count


async def test_two_halves_at_two_sources_make_a_whole(autojump_clock):
    half = SAMPLE.content.size // 2
    first = Holding(complete=False, ranges=((0, half),))
    second = Holding(complete=False, ranges=((half, SAMPLE.content.size),))
    sink, (one, two) = await fetch(HonestSource, HonestSource, holdings=[first, second])
    assert is_whole(sink)
    assert one.asked
    assert two.asked


async def test_a_full_disk_ends_the_fetch_with_one_plain_error(autojump_clock):
    class FullSink(MemorySink):
        def accept(self, index: int, data: memoryview) -> None:
            raise NoSpaceError("the disk is full")

    with pytest.raises(NoSpaceError, match="full"):
        await fetch(HonestSource, HonestSource, HangingSource, sink=FullSink(SAMPLE.table))


async def test_what_is_here_already_is_not_asked_for(autojump_clock):
    done = MemorySink(SAMPLE.table)
    for index in range(20):
        done.accept(index, memoryview(SAMPLE.piece(index)))
    sink, (source,) = await fetch(HonestSource, sink=done, missing=[Run(20, 4)])
    assert is_whole(sink)
    assert source.asked == [Run(20, 4)]


async def test_a_source_that_kept_us_waiting_is_named(autojump_clock):
    sink = MemorySink(SAMPLE.table)
    sources = [HangingSource("hangs", [SAMPLE]), HonestSource("honest", [SAMPLE])]
    job = FileFetch("model.safetensors", SAMPLE.content, SAMPLE.table, sink)
    await job.run([(source, WHOLE) for source in sources])
    assert is_whole(sink)
    assert job.slow == {"hangs"}


async def test_a_source_that_is_busy_with_another_file_is_not_asked_and_not_called_slow(
    autojump_clock,
):
    """Two files from one source: what waits for its place must not be held back by its name."""
    other = make_sample(24 << 20, seed="other", piece=1 << 20)
    busy = HonestSource("busy", [SAMPLE, other], latency=1)
    free = HonestSource("free", [other])
    sinks = MemorySink(SAMPLE.table), MemorySink(other.table)
    first = FileFetch("first.safetensors", SAMPLE.content, SAMPLE.table, sinks[0])
    second = FileFetch("second.safetensors", other.content, other.table, sinks[1])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(first.run, [(busy, WHOLE)])
        await trio.sleep(0.5)
        await second.run([(busy, WHOLE), (free, WHOLE)])
        assert trio.current_time() < 10
        assert not second.slow
        assert len(busy.asked) == 1
    assert is_whole(sinks[0])
    assert sinks[1].data == other.data
