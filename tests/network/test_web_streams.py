"""Web servers that send nothing but whole files: their pieces are taken as they pass."""

import gc
from contextlib import asynccontextmanager

import pytest
import trio

from p2phub.errors import NoSourceError, RemoteError, WrongBytesError
from p2phub.formats.limits import MIB
from p2phub.formats.pieces import Run
from p2phub.network.limits import Patience
from p2phub.network.throttle import Throttle
from p2phub.network.web_client import WebClient
from p2phub.network.web_guard import Guard
from p2phub.network.web_source import MOST_STREAMS, WebSource
from p2phub.node.fetch import FileFetch
from p2phub.protocol.ports import Holding
from p2phub.protocol.source_state import MAX_FAILURES
from p2phub.testing import web
from p2phub.testing.samples import MemorySink, make_sample
from p2phub.testing.sources import HonestSource
from p2phub.testing.web import WebServer

LARGE = make_sample(24 * MIB, seed="web streams", piece=MIB)
SMALL = make_sample(1000, seed="small")
FILES = {"/large.bin": LARGE.data, "/small.bin": SMALL.data}
IN_ORDER = Holding(complete=True, in_order=True)
QUICK = Patience(connect=1, handshake=1, request=0.5, progress=0.5)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@asynccontextmanager
async def served(answer=web.without_ranges, samples=(LARGE, SMALL), down=None):
    files = {f"/{sample.content}": sample.data for sample in samples}
    server = WebServer(files, answer)
    await trio.to_thread.run_sync(server.__enter__)
    more = {} if down is None else {"down": down}
    source = WebSource(
        server.host,
        {sample.content: [f"{server.url}/{sample.content}"] for sample in samples},
        guard=Guard(frozenset({server.host})),
        make_client=lambda name: WebClient(name, patience=QUICK, **more),
    )
    try:
        yield source, server
    finally:
        with trio.CancelScope(shield=True):
            await source.close()
            await trio.to_thread.run_sync(server.__exit__)
            gc.collect()


async def fetch(source, run, sample=LARGE):
    sink = MemorySink(sample.table)
    with trio.fail_after(20):
        await source.fetch(sample.content, sample.table, run, sink)
    return sink.order


class TestOneAnswer:
    @pytest.mark.parametrize(
        "answer",
        [web.without_ranges, web.in_chunks, web.as_of_old],
        ids=["length", "chunks", "1.0"],
    )
    async def test_serves_every_run_of_a_file(self, answer):
        async with served(answer) as (source, server):
            assert await source.holds(LARGE.content) == IN_ORDER
            assert await fetch(source, Run(0, 8)) == list(range(8))
            assert await fetch(source, Run(8, 15)) == list(range(8, 23))
            assert await fetch(source, Run(23, 1)) == [23]
            assert len(server.asked) == 1
            assert not source._streams

    async def test_hands_on_what_comes_before_a_run(self):
        async with served() as (source, server):
            await source.holds(LARGE.content)
            assert await fetch(source, Run(5, 2)) == list(range(7))
            assert await fetch(source, Run(9, 1)) == [7, 8, 9]
            assert len(server.asked) == 1

    async def test_cannot_go_back(self):
        async with served() as (source, server):
            await source.holds(LARGE.content)
            await fetch(source, Run(5, 2))
            assert await fetch(source, Run(2, 1)) == [0, 1, 2]
            assert [each.range for each in server.asked] == ["bytes=0-0", ""]

    async def test_that_the_server_cut_while_it_waited_is_asked_for_anew(self):
        async with served() as (source, server):
            await source.holds(LARGE.content)
            await trio.to_thread.run_sync(server._server.cut)
            with pytest.raises(RemoteError):  # what had come before is not enough
                await fetch(source, LARGE.all)
            assert await fetch(source, LARGE.all) == list(range(24))
            assert len(server.asked) == 2

    async def test_is_not_needed_for_small_files(self):
        async with served() as (source, _):
            assert await source.holds(SMALL.content) == Holding(complete=True)
            assert await fetch(source, SMALL.all, SMALL) == [0]
            assert not source._streams

    async def test_is_cut_when_it_breaks_off_and_begun_anew(self):
        async with served(web.breaking_off(10 * MIB + 5)) as (source, server):
            await source.holds(LARGE.content)
            sink = MemorySink(LARGE.table)
            with pytest.raises(RemoteError, match="early"):
                await source.fetch(LARGE.content, LARGE.table, LARGE.all, sink)
            assert sink.order == list(range(10))
            server.answer = web.without_ranges
            assert await fetch(source, Run(10, 1)) == list(range(11))

    async def test_waits_for_few_files_only(self):
        samples = [make_sample(2 * MIB, seed=n, piece=MIB) for n in range(MOST_STREAMS + 3)]
        async with served(samples=samples) as (source, _):
            for sample in samples:
                assert await source.holds(sample.content) == IN_ORDER
            assert len(source._streams) == MOST_STREAMS
            for sample in samples:
                assert await fetch(source, sample.all, sample) == [0, 1]
            assert not source._streams

    async def test_obeys_our_own_limit(self):
        taken = []

        class Counting(Throttle):
            def take(self, size, peer=""):
                taken.append(size)

        async with served(down=Counting(50 * MIB)) as (source, _):
            await source.holds(LARGE.content)
            await fetch(source, Run(0, 4))
        assert 4 * MIB <= sum(taken) <= 4 * MIB + 64 * 1024
        assert max(taken) <= Counting(50 * MIB).portion


class TestInASwarm:
    async def race(self, *sources, missing=None, patience=2):
        """What each source brought, whether it ended well or not."""
        sink, brought = MemorySink(LARGE.table), {}

        def count(name, size):
            brought[name] = brought.get(name, 0) + size

        job = FileFetch(
            "large.bin",
            LARGE.content,
            LARGE.table,
            sink,
            missing=missing,
            brought=count,
            patience=patience,
        )
        with trio.fail_after(30):
            await job.run([(each, await each.holds(LARGE.content)) for each in sources])
        return job, brought, sink

    async def test_it_is_enough_alone(self):
        async with served() as (mirror, server):
            _, brought, sink = await self.race(mirror)
            assert sink.data == LARGE.data
            assert brought == {mirror.name: LARGE.content.size}
            assert len(server.asked) == 1

    async def test_it_resumes_a_file_and_counts_nothing_twice(self):
        async with served() as (mirror, server):
            _, brought, _ = await self.race(mirror, missing=[Run(20, 4)])
            assert brought == {mirror.name: 4 * MIB}
            assert len(server.asked) == 1

    async def test_it_helps_a_peer(self):
        async with served() as (mirror, server):
            peer = HonestSource("peer", [LARGE], latency=0.02)
            _, brought, sink = await self.race(mirror, peer)
            assert sink.data == LARGE.data
            assert all(brought[name] for name in ("peer", mirror.name))
            assert len(server.asked) <= 2

    async def test_one_that_breaks_off_gives_what_came_and_peers_the_rest(self):
        async with served(web.breaking_off(10 * MIB + 5)) as (mirror, _):
            peer = HonestSource("peer", [LARGE], latency=0.02)
            _, brought, sink = await self.race(mirror, peer)
            assert sink.data == LARGE.data
            assert brought["peer"] > 0

    async def test_one_that_always_breaks_off_is_given_up(self):
        async with served(web.breaking_off(10 * MIB + 5)) as (mirror, server):
            with pytest.raises(NoSourceError, match="14 pieces"):
                await self.race(mirror)
            assert MAX_FAILURES <= len(server.asked) <= 2 * MAX_FAILURES + 2

    async def test_one_wrong_bit_costs_it_its_place(self):
        async with served(web.whole_and_wrong) as (mirror, _):
            with pytest.raises(WrongBytesError):
                await self.race(mirror)
            peer = HonestSource("peer", [LARGE], latency=0.02)
            job, brought, sink = await self.race(mirror, peer)
            assert sink.data == LARGE.data
            assert job.liars <= {mirror.name}
            assert brought["peer"] > 0

    async def test_one_that_is_cancelled_leaves_nothing_open(self):
        async with served(web.dripping_body) as (mirror, server):
            server.answer = web.without_ranges
            await mirror.holds(LARGE.content)
            with trio.move_on_after(0.001):
                await fetch(mirror, LARGE.all)
            await mirror.close()
            assert not mirror._streams
