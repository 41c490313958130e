"""What is told of files on their way: each byte once it is verified, and where the file lies."""

from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest
import trio

from p2phub.formats.manifest import Release
from p2phub.inference.wire import Arrived, Moved, Tabled
from p2phub.node.arriving import Coming, leased
from p2phub.node.pressure import QUIET, Pressure
from p2phub.store.layout import Layout
from p2phub.store.store import Store
from p2phub.testing.publishers import FakePublisher

MIB = 1 << 20
WEIGHTS = bytes(range(256)) * (3 * MIB // 256)


@pytest.fixture
def scene(tmp_path):
    lab = FakePublisher(1)
    made = lab.publish("x", {"config.json": b"{}", "model.safetensors": WEIGHTS})
    with Store.open(Layout.of(tmp_path / "home", "store")) as store:
        services = SimpleNamespace(store=store, on_disk=trio.to_thread.run_sync)
        files = Release.from_payload(made.release.payload).files
        (config,) = [each for each in files if each.path == ("config.json",)]
        (weights,) = [each for each in files if each.path == ("model.safetensors",)]
        yield SimpleNamespace(
            lab=lab,
            store=store,
            config=config,
            weights=weights,
            coming=Coming(services, [config, weights]),
            tmp_path=tmp_path,
        )


def adopt(scene, file):
    path = scene.tmp_path / "arrived"
    path.write_bytes(scene.lab.contents[file.content])
    scene.store.blobs.adopt(path, file.content, scene.store.blobs.table(file.content))


async def test_loading_begins_once_the_configuration_is_here(scene, autojump_clock):
    async with trio.open_nursery() as nursery:
        done = trio.Event()

        async def wait():
            await scene.coming.ready()
            done.set()

        nursery.start_soon(wait)
        await trio.sleep(1)
        assert not done.is_set()
        adopt(scene, scene.config)
        await done.wait()


async def test_a_piece_table_that_comes_late_is_told_before_any_byte_of_its_file(scene):
    store, content = scene.store, scene.weights.content
    adopt(scene, scene.config)
    send, receive = trio.open_memory_channel(10)

    async def hear():
        async with send:
            async for each in scene.coming.news():
                await send.send(each)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hear)
        while type(await receive.receive()) is not Arrived:
            pass  # the configuration
        table = store.blobs.put_table(content, scene.lab.tables[content])
        partial = store.partials.open(content, table)
        assert await receive.receive() == Tabled("model.safetensors", table.pack())
        for index in range(table.count):
            start = table.offset(index)
            partial.accept(index, memoryview(WEIGHTS[start : start + table.length(index)]))
        told = Arrived("model.safetensors", 0, len(WEIGHTS))
        while await receive.receive() != told:
            pass  # not a blob yet, and told all the same
        assert not store.blobs.has(content)
        store.partials.commit_many([partial])
        async for each in receive:
            assert each == Moved("model.safetensors", str(store.blobs.path(content)))


async def test_every_piece_is_told_once_it_is_verified_and_the_end_says_where(scene):
    store, content = scene.store, scene.weights.content
    table = store.blobs.put_table(content, scene.lab.tables[content])
    adopt(scene, scene.config)
    partial = store.partials.open(content, table)
    told = []
    send, receive = trio.open_memory_channel(0)

    async def hear():
        async with send:
            async for each in scene.coming.news():
                told.append(each)
                await send.send(each)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hear)
        for index in (2, 0):
            start = table.offset(index)
            part = WEIGHTS[start : start + table.length(index)]
            partial.accept(index, memoryview(part))
            async for each in receive:
                if each == Arrived("model.safetensors", start, start + len(part)):
                    break
        assert Moved("model.safetensors", str(partial.data)) in told
        start = table.offset(1)
        partial.accept(1, memoryview(WEIGHTS[start : start + table.length(1)]))
        store.partials.commit_many([partial])
        store.partials.close(partial)
        async for _ in receive:
            pass
    assert Moved("model.safetensors", str(store.blobs.path(content))) in told[-2:]
    assert Arrived("model.safetensors", 0, len(WEIGHTS)) in told[-3:]
    assert Arrived("config.json", 0, 2) in told
    assert len(told) == len(set(map(repr, told)))


class Slowly:
    """Something of a file that comes after so many seconds each."""

    def __init__(self, *pauses):
        self._pauses = pauses

    async def news(self):
        for pause in self._pauses:
            await trio.sleep(pause)
            yield Arrived("model.safetensors", 0, 1)


def worker(takes, *, hears=True):
    """A lease of an engine that hears of what comes, and then needs so many seconds."""

    @asynccontextmanager
    async def lease(arriving):
        if hears and arriving is not None:
            async for _ in arriving:
                pass
        await trio.sleep(takes)
        yield "engine"

    return lease


async def watched(lease, coming, *, until):
    """Whether it is pressure, in the middle of each second until the engine is there, and then."""
    pressure, seen = Pressure(trio.current_time), []

    async def load():
        async with leased(lease, pressure, coming) as engine:
            assert engine == "engine"
            await trio.sleep(5)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(load)
        await trio.sleep(0.5)
        for _ in range(until):
            seen.append(pressure.busy)
            await trio.sleep(1)
    return seen


class TestALoad:
    async def test_is_pressure_until_its_engine_is_there(self, autojump_clock):
        assert await watched(worker(3), None, until=5) == [True, True, True, False, False]

    async def test_that_waits_for_its_own_fetch_is_none(self, autojump_clock):
        """Something comes after 4 seconds, and once more after 8; then it works for two."""
        seen = await watched(worker(2), Slowly(4, 4), until=11)
        assert QUIET == 1.0
        busy = [second for second, each in enumerate(seen) if each]
        assert busy == [0, 4, 8, 9]

    async def test_that_joins_the_load_of_another_is_none(self, autojump_clock):
        assert await watched(worker(3, hears=False), Slowly(), until=4) == [True, *[False] * 3]

    async def test_that_is_given_up_is_none_any_more(self, autojump_clock):
        pressure = Pressure(trio.current_time)
        with trio.move_on_after(2):
            async with leased(worker(10), pressure):
                pass
        assert not pressure.busy
