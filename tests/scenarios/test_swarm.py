"""How well many sources serve one node, and many nodes each other, in virtual time.

Sources send over links of a fixed rate; the nodes of a swarm hear of each other's pieces every
`NEWS` seconds, as over the control plane.
"""

import pytest
import trio

from p2phub.config import SwarmSettings
from p2phub.errors import WrongBytesError
from p2phub.node.fetch import FileFetch
from p2phub.node.rates import Paces
from p2phub.protocol.ports import Holding
from p2phub.testing.samples import MemorySink, make_sample
from p2phub.testing.sources import Link, LyingSource, PacedSource, StallingSource

pytestmark = [pytest.mark.slow, pytest.mark.budget(90)]

MIB = 1 << 20
SAMPLE = make_sample(256 * MIB, piece=MIB)
SIZE = SAMPLE.content.size
WHOLE = Holding(complete=True)
RATE = 15e6  # bytes a second
NEWS = 0.25  # seconds


class Kept:
    """A sink that remembers which pieces came, and how often."""

    def __init__(self) -> None:
        self.pieces: set[int] = set()
        self.count = 0

    def accept(self, index: int, data: memoryview) -> None:
        self.pieces.add(index)
        self.count += 1

    def holding(self) -> Holding:
        ranges: list[tuple[int, int]] = []
        for index in sorted(self.pieces):
            start = SAMPLE.table.offset(index)
            stop = start + SAMPLE.table.length(index)
            if ranges and ranges[-1][1] == start:
                ranges[-1] = (ranges[-1][0], stop)
            else:
                ranges.append((start, stop))
        return Holding(complete=len(self.pieces) == SAMPLE.table.count, ranges=tuple(ranges))


async def bring(sources) -> tuple[Kept, float]:
    sink = Kept()
    fetch = FileFetch("model.safetensors", SAMPLE.content, SAMPLE.table, sink)
    with trio.fail_after(600):
        await fetch.run([(source, WHOLE) for source in sources])
    assert len(sink.pieces) == SAMPLE.table.count
    return sink, trio.current_time()


async def test_four_sources_bring_as_much_as_their_sum(autojump_clock):
    links = [Link(RATE) for _ in range(4)]
    _, seconds = await bring([PacedSource(f"{i}", SAMPLE, links[i]) for i in range(4)])
    assert seconds <= SIZE / (4 * RATE) / 0.95
    assert sum(link.sent for link in links) <= 1.03 * SIZE


async def test_sources_of_unequal_speed_are_all_used_to_the_end(autojump_clock):
    rates = [RATE, RATE / 2, RATE / 4, RATE / 40]
    links = [Link(rate) for rate in rates]
    _, seconds = await bring([PacedSource(f"{i}", SAMPLE, links[i]) for i in range(4)])
    assert seconds <= SIZE / sum(rates) / 0.9
    assert sum(link.sent for link in links) <= 1.05 * SIZE


async def test_what_our_own_limit_holds_back_is_asked_for_once(autojump_clock):
    sample, limit = make_sample(3 * MIB, piece=MIB), Link(300e3)  # one line in, whoever sends
    sink = MemorySink(sample.table)
    patience = Paces(SwarmSettings(down=300_000)).patience(1.0)
    fetch = FileFetch("model", sample.content, sample.table, sink, patience=patience)
    await fetch.run([(PacedSource(f"{i}", sample, limit), WHOLE) for i in range(2)])
    assert sink.data == sample.data
    assert limit.sent == sample.content.size
    assert not fetch.slow


@pytest.mark.parametrize("after", [0, 1, 30])
async def test_a_source_that_stalls_costs_the_others_nothing(autojump_clock, after):
    fast = [PacedSource(f"{i}", SAMPLE, Link(RATE)) for i in range(3)]
    stalled = StallingSource("stalls", SAMPLE, Link(RATE))
    stalled.after = after
    _, seconds = await bring([stalled, *fast])
    assert seconds <= SIZE / (3 * RATE) / 0.95


async def test_a_source_that_stalls_at_the_very_end_is_replaced_within_two_seconds(autojump_clock):
    stalled = StallingSource("stalls", SAMPLE, Link(RATE))
    stalled.after = SAMPLE.table.count // 2 - 4
    _, seconds = await bring([stalled, PacedSource("good", SAMPLE, Link(RATE))])
    assert seconds <= SIZE / (2 * RATE) + 2


async def test_room_is_made_for_what_comes_and_not_for_what_was_asked_of_a_stalled_source(
    autojump_clock,
):
    stalled, sink, expected = StallingSource("stalls", SAMPLE, Link(RATE)), Kept(), []
    stalled.after = 0
    fetch = FileFetch("model", SAMPLE.content, SAMPLE.table, sink, expecting=expected.append)
    await fetch.run([(stalled, WHOLE), (PacedSource("good", SAMPLE, Link(RATE)), WHOLE)])
    pieces = [index for run in expected for index in range(run.first, run.first + run.count)]
    assert sorted(pieces) == list(range(SAMPLE.table.count))


async def test_a_liar_gets_no_room(autojump_clock):
    sink, expected = MemorySink(SAMPLE.table), []
    fetch = FileFetch("model", SAMPLE.content, SAMPLE.table, sink, expecting=expected.append)
    with pytest.raises(WrongBytesError):
        await fetch.run([(LyingSource("liar", [SAMPLE]), WHOLE)])
    assert not expected


class Swarm:
    """`count` nodes that fetch from one seeder and from each other. They begin `apart` seconds
    after each other, and know of each other `unknown` seconds after they began."""

    def __init__(
        self, count: int, seeder: Link, rate: float, *, apart: float = 0.0, unknown: float = 0.05
    ) -> None:
        self.sinks = [Kept() for _ in range(count)]
        self.ended = [0.0] * count
        self._apart, self._unknown = apart, unknown
        self._seeder = seeder
        self._links = [Link(rate) for _ in range(count)]
        self._fetches: list[FileFetch] = []

    async def run(self) -> None:
        for me, sink in enumerate(self.sinks):
            label, own = f"at {me}", f"node {me}"
            self._fetches.append(FileFetch(label, SAMPLE.content, SAMPLE.table, sink, own=own))
        with trio.fail_after(600):
            async with trio.open_nursery() as nursery:
                for me in range(len(self.sinks)):
                    nursery.start_soon(self._fetch, me)
                    nursery.start_soon(self._hear, me)

    async def _fetch(self, me: int) -> None:
        await trio.sleep(me * self._apart)
        await self._fetches[me].run([(PacedSource("seeder", SAMPLE, self._seeder), WHOLE)])
        self.ended[me] = trio.current_time()

    async def _hear(self, me: int) -> None:
        await trio.sleep(me * self._apart + self._unknown)
        others = {
            i: PacedSource(f"node {i}", SAMPLE, self._links[i], has=sink.pieces)
            for i, sink in enumerate(self.sinks)
            if i != me
        }
        while not self.ended[me]:
            for i, source in others.items():
                if trio.current_time() >= i * self._apart + self._unknown:
                    self._fetches[me].join(source, self.sinks[i].holding(), fetches=True)
            await trio.sleep(NEWS)


@pytest.mark.parametrize("rate", [RATE / 5, RATE, 4 * RATE])
@pytest.mark.parametrize("count", [2, 4])
async def test_nodes_that_start_together_take_one_copy_from_the_seeder(autojump_clock, count, rate):
    link = Link(rate)
    swarm = Swarm(count, link, 10 * rate)
    await swarm.run()
    assert all(len(sink.pieces) == SAMPLE.table.count for sink in swarm.sinks)
    assert max(swarm.ended) <= 1.01 * SIZE / rate + 2 * NEWS
    assert link.sent <= 1.01 * SIZE


async def test_nodes_that_begin_a_moment_apart_take_one_copy_from_the_seeder(autojump_clock):
    link = Link(RATE)
    swarm = Swarm(4, link, 10 * RATE, apart=1.5)
    await swarm.run()
    assert max(swarm.ended) <= 1.03 * SIZE / RATE + 2 * NEWS
    assert link.sent <= 1.03 * SIZE


async def test_nodes_that_know_of_each_other_late_waste_little_of_the_seeder(autojump_clock):
    link = Link(RATE)
    swarm = Swarm(4, link, 10 * RATE, unknown=2.0)
    await swarm.run()
    assert max(swarm.ended) <= 1.03 * SIZE / RATE + 2 * NEWS
    assert link.sent <= 1.03 * SIZE


@pytest.mark.slow
async def test_eight_nodes_that_are_no_faster_than_the_seeder_still_share(autojump_clock):
    link = Link(RATE)
    swarm = Swarm(8, link, RATE)
    await swarm.run()
    assert max(swarm.ended) <= 1.15 * SIZE / RATE
    assert link.sent <= 1.05 * SIZE


async def test_a_node_that_shares_slowly_holds_back_nobody(autojump_clock):
    link = Link(RATE)
    swarm = Swarm(2, link, RATE / 50)
    await swarm.run()
    assert max(swarm.ended) <= 2.1 * SIZE / RATE
