"""Adapters of engines in a pool, in virtual time: attached once, bounded, counted and let go."""

from contextlib import aclosing, asynccontextmanager
from dataclasses import replace

import pytest
import trio
import trio.testing

from p2phub.errors import BusyError, EngineError, NoMemoryError, UnsupportedError
from p2phub.formats.ids import ContentId
from p2phub.inference import pool_adapters
from p2phub.inference.memory import Device
from p2phub.inference.pool import open_pool
from p2phub.inference.requests import Generate, Piece
from p2phub.inference.spec import Adapter, ModelFile
from p2phub.testing.engines import GIB, FakeStart, fake_spec

BASE = fake_spec("lab/base")
LONG = "word " * 200


class Machine:
    async def devices(self):
        await trio.sleep(0.01)
        return (Device("cpu", 100 * GIB, 100 * GIB),)


def adapter(number, size=0, name=""):
    content = ContentId(size, bytes([number]) * 32)
    file = ModelFile(("adapter_model.safetensors",), content, "/none")
    return Adapter(name or f"lab/poet{number}", (file,) if size else (), f"{number:02x}" * 32)


def with_adapters(*adapters):
    return replace(BASE, adapters=adapters)


@asynccontextmanager
async def pool_of(start, **options):
    async with open_pool(start=start, machine=Machine(), **options) as pool:
        yield pool


@pytest.fixture
def start():
    return FakeStart()


async def hold(pool, spec, seconds=0.0):
    async with pool.lease(spec) as engine:
        await trio.sleep(seconds)
        return engine.behind


async def test_the_base_alone_and_two_adapters_are_one_engine(autojump_clock, start):
    async with pool_of(start) as pool:
        engines = [
            await hold(pool, spec)
            for spec in (BASE, with_adapters(adapter(1)), with_adapters(adapter(2), adapter(1)))
        ]
        assert len(set(engines)) == 1
        assert engines[0].info.adapters == ("lab/poet1", "lab/poet2")
        assert start.started == [BASE]
        assert set(pool.loaded()[0].spec.adapters) == {adapter(1), adapter(2)}


async def test_many_leases_at_once_attach_an_adapter_once(autojump_clock, start):
    async with pool_of(start) as pool, trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(hold, pool, with_adapters(adapter(1)), 1.0)
    assert start.engines[0].attached == [adapter(1)]


async def test_an_adapter_is_attached_while_others_answer(autojump_clock, start):
    async with (
        pool_of(start) as pool,
        pool.lease(BASE) as engine,
        aclosing(engine.generate(Generate(LONG))) as answer,
    ):
        await anext(answer)
        assert await hold(pool, with_adapters(adapter(1))) is engine.behind
        assert len([each async for each in answer if isinstance(each, Piece)]) == 199


async def test_one_that_fails_costs_that_lease_and_is_tried_again(autojump_clock, start):
    async with pool_of(start) as pool:
        engine = await hold(pool, BASE)
        engine.attaching = UnsupportedError("DoRA")
        for _ in range(2):
            with pytest.raises(UnsupportedError, match="DoRA"):
                await hold(pool, with_adapters(adapter(1)))
        assert pool.loaded()[0].busy == 0
        engine.attaching = None
        assert await hold(pool, with_adapters(adapter(1))) is engine
        assert engine.info.adapters == ("lab/poet1",)


async def test_who_is_cancelled_in_the_middle_leaves_it_counted_and_others_get_it(
    autojump_clock, start
):
    async with pool_of(start) as pool:
        engine = await hold(pool, BASE)
        with trio.move_on_after(0.015):
            await hold(pool, with_adapters(adapter(1, GIB)))
        row = pool.loaded()[0]
        assert (row.spec.adapters, row.size, row.busy) == ((), GIB, 0)
        await hold(pool, with_adapters(adapter(1, GIB)))
        assert engine.attached == [adapter(1, GIB)] * 2
        assert pool.loaded()[0].spec.adapters == (adapter(1, GIB),)


async def test_an_adapter_that_was_taken_back_ends_its_requests_and_no_others(
    autojump_clock, start
):
    errors, pieces = [], []

    async def use(spec, name):
        async with pool.lease(spec) as engine:
            try:
                async for each in engine.generate(Generate(LONG, adapter=name)):
                    pieces.append(each)
            except EngineError as error:
                errors.append((name, error))

    async with pool_of(start) as pool:
        engine = await hold(pool, with_adapters(adapter(1), adapter(2)))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(use, with_adapters(adapter(1)), "lab/poet1")
            nursery.start_soon(use, with_adapters(adapter(2)), "lab/poet2")
            nursery.start_soon(use, BASE, "")
            await trio.sleep(0.1)
            await pool.detach(adapter(1).release)
            assert engine.info.adapters == ("lab/poet2",)
        assert [name for name, _ in errors] == ["lab/poet1"]
        assert len([each for each in pieces if isinstance(each, Piece)]) >= 400
        assert await hold(pool, with_adapters(adapter(1))) is engine
        assert engine.attached.count(adapter(1)) == 2


async def test_for_one_more_the_least_recently_used_one_goes(autojump_clock, start, monkeypatch):
    monkeypatch.setattr(pool_adapters, "MOST", 2)
    async with pool_of(start) as pool:
        for number in (1, 2, 1, 3):
            engine = await hold(pool, with_adapters(adapter(number)))
        assert engine.info.adapters == ("lab/poet1", "lab/poet3")


async def test_one_that_is_needed_never_goes(autojump_clock, start, monkeypatch):
    monkeypatch.setattr(pool_adapters, "MOST", 2)
    async with pool_of(start) as pool, pool.lease(with_adapters(adapter(1))):
        await hold(pool, with_adapters(adapter(2)))
        engine = await hold(pool, with_adapters(adapter(3)))
        assert engine.info.adapters == ("lab/poet1", "lab/poet3")
        async with pool.lease(with_adapters(adapter(3))):
            with pytest.raises(BusyError) as raised:
                await hold(pool, with_adapters(adapter(2)))
            assert raised.value.retry_after > 0


async def test_memory_of_adapters_counts_and_is_given_back(autojump_clock, start):
    start.sizes["lab/base"] = 4 * GIB
    async with pool_of(start, memory=6 * GIB) as pool:
        await hold(pool, with_adapters(adapter(1, GIB)))
        assert pool.loaded()[0].size == 5 * GIB
        with pytest.raises(NoMemoryError, match=r"needs 2\.0 GiB"):
            await hold(pool, with_adapters(adapter(2, 2 * GIB)))
        assert pool.loaded()[0].size == 5 * GIB
        await pool.detach(adapter(1).release)
        assert pool.loaded()[0].size == 4 * GIB
        await hold(pool, with_adapters(adapter(2, 2 * GIB)))
        assert pool.loaded()[0].size == 6 * GIB


async def test_for_an_adapter_an_engine_that_nobody_holds_gives_way(autojump_clock, start):
    start.sizes["lab/base"] = start.sizes["lab/other"] = 2 * GIB
    async with pool_of(start, memory=5 * GIB) as pool:
        await hold(pool, fake_spec("lab/other"), 0.1)
        await hold(pool, with_adapters(adapter(1, 2 * GIB)))
        assert [each.spec.name for each in pool.loaded()] == ["lab/base"]


async def test_a_new_release_by_the_same_name_is_attached_anew(autojump_clock, start):
    async with pool_of(start) as pool:
        first, second = (adapter(number, name="lab/poet") for number in (1, 2))
        for each in (first, second, first, first):
            engine = await hold(pool, with_adapters(each))
        assert engine.attached == [first, second, first]


async def test_an_engine_started_anew_gets_its_adapters_again(autojump_clock, start):
    async with pool_of(start) as pool:
        first = await hold(pool, with_adapters(adapter(1)))
        first.crash()
        await trio.testing.wait_all_tasks_blocked()
        second = await hold(pool, with_adapters(adapter(1)))
        assert second is not first
        assert second.attached == [adapter(1)]
        await pool.detach(adapter(1).release)


async def test_an_engine_that_cannot_have_them_says_which_can(autojump_clock, start):
    class Plain:
        def __init__(self, engine):
            self.info, self.lost, self.close = engine.info, engine.lost, engine.close

    async def plain(*arguments):
        return Plain(await start(*arguments))

    async with pool_of(plain) as pool:
        await hold(pool, BASE)
        with pytest.raises(UnsupportedError, match=r"transformers, not with fake"):
            await hold(pool, with_adapters(adapter(1)))
        await pool.detach(adapter(1).release)
