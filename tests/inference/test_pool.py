"""The pool in virtual time: who starts, who waits, who gives way, and who is told no."""

import math
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import trio
import trio.testing

from p2phub.errors import BusyError, EngineError, NoMemoryError, UnsupportedError, WrongBytesError
from p2phub.formats.digest import sha256
from p2phub.formats.ids import ContentId
from p2phub.inference.memory import Device, Need
from p2phub.inference.pool import open_pool
from p2phub.inference.pool_entry import CALM, key_of
from p2phub.inference.requests import Generate
from p2phub.inference.spec import Adapter, ModelFile, ModelSpec, RunOptions
from p2phub.inference.turns import places_of
from p2phub.testing.engines import GIB, STEP, FakeStart, fake_spec
from tests.inference.echo import echo_spec, text_of

X, Y, Z = (fake_spec(name) for name in ("lab/x", "lab/y", "lab/z"))


class Machine:
    """A machine of which the tests say what it has."""

    def __init__(self, *devices):
        self.now = devices or (Device("cpu", 100 * GIB, 100 * GIB),)

    async def devices(self):
        await trio.sleep(0.01)
        return self.now


@asynccontextmanager
async def pool_of(start=None, *, machine=None, **options):
    async with open_pool(
        start=start or FakeStart(), machine=machine or Machine(), **options
    ) as pool:
        yield pool


async def held(pool, spec, seconds=0.0, **options):
    """One lease, of so many seconds."""
    async with pool.lease(spec, **options) as engine:
        await trio.sleep(seconds)
        return engine.behind


def names(pool):
    return [each.spec.name for each in pool.loaded()]


class TestStarting:
    async def test_many_who_ask_at_once_start_one_engine(self, autojump_clock):
        start, engines = FakeStart(), []

        async def ask():
            engines.append(await held(pool, X))

        async with pool_of(start) as pool, trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(ask)
        assert len(start.started) == 1
        assert len({id(each) for each in engines}) == 1
        assert start.engines[0].closed == 1

    async def test_a_loaded_engine_is_used_again(self, autojump_clock):
        start = FakeStart()
        async with pool_of(start) as pool:
            assert await held(pool, X) is await held(pool, X)
        assert len(start.started) == 1

    async def test_progress_is_told_to_all_who_wait(self, autojump_clock):
        one, two = [], []
        async with pool_of(FakeStart(4.0)) as pool, trio.open_nursery() as nursery:
            nursery.start_soon(lambda: held(pool, X, report=lambda *step: one.append(step)))
            await trio.sleep(1.5)
            nursery.start_soon(lambda: held(pool, X, report=lambda *step: two.append(step)))
        assert [step[1] for step in one] == [0, 1, 2, 3]
        assert two
        assert set(two) < set(one)

    async def test_a_failed_load_is_told_to_all_who_waited_and_tried_once(self, autojump_clock):
        start, told = FakeStart(), []
        start.fails = WrongBytesError("a tensor is not what was signed")

        async def ask():
            with pytest.raises(WrongBytesError, match="not what was signed") as raised:
                await held(pool, X)
            told.append(raised.value)

        async with pool_of(start) as pool:
            async with trio.open_nursery() as nursery:
                for _ in range(5):
                    nursery.start_soon(ask)
            assert len(start.started) == 1
            assert len({id(each) for each in told}) == 5
            assert pool.loaded() == ()
            start.fails = None
            assert await held(pool, X)

    async def test_a_load_that_nobody_waits_for_any_more_is_given_up(self, autojump_clock):
        start = FakeStart(10.0)
        async with pool_of(start) as pool:
            with trio.move_on_after(3):
                await held(pool, X)
            assert pool.loaded() == ()
            assert await held(pool, X)  # at once: a load of its own
        assert (start.cancelled, len(start.started)) == (1, 2)

    async def test_a_load_goes_on_while_one_still_waits(self, autojump_clock):
        start = FakeStart(10.0)
        async with pool_of(start) as pool, trio.open_nursery() as nursery:
            nursery.start_soon(held, pool, X)
            with trio.move_on_after(3):
                await held(pool, X)
        assert (start.cancelled, len(start.engines)) == (0, 1)

    @pytest.mark.parametrize(
        "other",
        [
            fake_spec("lab/y"),
            fake_spec("lab/x", dtype="float32"),
            ModelSpec("lab/x", "lab/x", "llamacpp", "text-generation", ()),
        ],
    )  # fmt: skip
    async def test_what_runs_otherwise_is_another_engine(self, autojump_clock, other):
        async with pool_of() as pool:
            assert await held(pool, X) is not await held(pool, other)
            assert key_of(X) != key_of(other)

    async def test_a_name_alone_makes_no_other_engine(self, autojump_clock):
        named = ModelSpec("lab/x", "lab/x@v1", "transformers", "text-generation", ())
        async with pool_of() as pool:
            assert await held(pool, X) is await held(pool, named)


class TestKeeping:
    async def test_an_engine_stays_for_a_while_after_its_last_lease(self, autojump_clock):
        start = FakeStart()
        async with pool_of(start, keep_alive=300) as pool:
            await held(pool, X)
            await trio.sleep(299)
            await held(pool, X)
            await trio.sleep(299)
            assert names(pool) == ["lab/x"]
            assert pool.loaded()[0].keep_seconds == pytest.approx(1)
            await trio.sleep(2)
            assert names(pool) == []
            assert start.engines[0].closed == 1

    async def test_an_engine_stays_as_long_as_somebody_holds_it(self, autojump_clock):
        async with pool_of(keep_alive=1) as pool:
            engine = await held(pool, X, 1000)
            assert not engine.lost.is_set()

    @pytest.mark.parametrize(("keep_alive", "stays"), [(0, False), (5000, True), (math.inf, True)])
    async def test_a_lease_may_say_how_long_it_stays(self, autojump_clock, keep_alive, stays):
        async with pool_of() as pool:
            await held(pool, X, keep_alive=keep_alive)
            await trio.sleep(4000)
            assert bool(pool.loaded()) == stays

    async def test_what_is_loaded_is_told(self, autojump_clock):
        async with pool_of(FakeStart(2.0)) as pool, trio.open_nursery() as nursery:
            for _ in range(6):
                nursery.start_soon(held, pool, X, 10)
            await trio.sleep(1)
            [row] = pool.loaded()
            assert (row.info, row.busy, row.waiting) == (None, 0, 6)
            await trio.sleep(2)
            [row] = pool.loaded()
            assert (row.info.slots, row.busy, row.waiting, row.device) == (4, 4, 2, "cpu")


class TestLosing:
    async def test_a_lost_engine_is_started_anew_for_the_next_lease(self, autojump_clock):
        start = FakeStart()
        async with pool_of(start) as pool:
            async with pool.lease(X) as engine:
                engine.behind.crash()
                with pytest.raises(EngineError, match="SIGSEGV"):
                    await text_of(engine, "hello")
            assert await text_of(await held(pool, X), "hello") == "hello"
        assert [each.closed for each in start.engines] == [1, 1]

    async def test_one_that_is_lost_again_and_again_rests_for_longer_each_time(
        self, autojump_clock
    ):
        rests = []
        async with pool_of() as pool:
            for number in range(10):
                (await held(pool, X)).crash()
                if not number:
                    continue
                with pytest.raises(BusyError, match=f"lost {number + 1} times in a row") as raised:
                    await held(pool, X)
                rests.append(raised.value.retry_after)
                await trio.sleep(raised.value.retry_after)
        assert rests == pytest.approx([1, 2, 4, 8, 16, 32, 60, 60, 60])

    async def test_a_loss_after_a_long_life_is_the_first_one_again(self, autojump_clock):
        async with pool_of(keep_alive=math.inf) as pool:
            for _ in range(5):
                engine = await held(pool, X)
                await trio.sleep(CALM + 1)
                engine.crash()
            assert await held(pool, X)

    async def test_a_process_that_dies_while_it_loads_rests_too(self, autojump_clock):
        start = FakeStart()
        start.fails = EngineError("the process was killed by signal 11")
        async with pool_of(start) as pool:
            for _ in range(2):
                with pytest.raises(EngineError, match="signal 11"):
                    await held(pool, X)
            with pytest.raises(BusyError, match="signal 11"):
                await held(pool, X)

    async def test_what_is_wrong_with_the_model_is_no_reason_to_rest(self, autojump_clock):
        start = FakeStart()
        start.fails = UnsupportedError("no such architecture")
        async with pool_of(start) as pool:
            for _ in range(5):
                with pytest.raises(UnsupportedError):
                    await held(pool, X)

    async def test_an_adapter_that_is_taken_back_is_in_no_engine_any_more(self, autojump_clock):
        adapted = replace(X, adapters=(Adapter("poet/sonnet", (), "ab" * 32),))
        async with pool_of() as pool:
            await held(pool, adapted)
            await held(pool, Y)
            await pool.detach("cd" * 32)
            assert "lab/x" in names(pool)
            await pool.detach("ab" * 32)
            assert not any(each.spec.adapters for each in pool.loaded())
            assert names(pool) == ["lab/x", "lab/y"]

    async def test_unloading_ends_what_is_under_way_and_what_loads(self, autojump_clock):
        start, told = FakeStart(5.0), []

        async def ask(spec):
            with pytest.raises(EngineError) as raised:
                async with pool.lease(spec) as engine:
                    await text_of(engine, Generate("word " * 4000))
            told.append(raised.value.message)

        async with pool_of(start) as pool:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask, X)
                await trio.sleep(6)
                nursery.start_soon(ask, Y)
                await trio.sleep(1)
                await pool.unload("lab/x")
                await pool.unload("lab/y")
                await pool.unload("lab/none")
                assert pool.loaded() == ()
            assert told == ["lab/x was unloaded", "lab/y was taken back"]
            assert await held(pool, X) is start.engines[-1]


class TestQueue:
    async def test_who_comes_when_there_is_no_place_is_told_when_to_come_again(
        self, autojump_clock
    ):
        async with pool_of(queue=10) as pool, trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(held, pool, X, 20)
            await trio.sleep(5)
            with pytest.raises(BusyError, match="takes no more") as raised:
                await held(pool, X)
            assert 1 <= raised.value.retry_after <= 60
            assert await held(pool, Y)  # another model has a queue of its own
            await trio.sleep(20)
            assert await held(pool, X)

    async def test_the_longer_requests_take_the_later_one_may_come_again(self, autojump_clock):
        waits = []
        for seconds in (1, 30):
            async with pool_of(queue=8) as pool:
                for _ in range(30):
                    async with pool.lease(X) as engine:
                        await text_of(engine, "word " * round(seconds / STEP))
                async with trio.open_nursery() as nursery:
                    for _ in range(8):
                        nursery.start_soon(held, pool, X, seconds)
                    await trio.sleep(0.5)
                    with pytest.raises(BusyError) as raised:
                        await held(pool, X)
                    waits.append(raised.value.retry_after)
        assert waits == pytest.approx([1, 30], rel=0.05)


class TestTurns:
    async def test_a_client_with_a_hundred_requests_does_not_hold_up_another(self, autojump_clock):
        start, done = FakeStart(), []

        async def ask(client):
            async with pool.lease(X, client=client) as engine:
                await text_of(engine, "word " * 100)
                done.append(client)

        async with pool_of(start) as pool, trio.open_nursery() as nursery:
            await held(pool, X)
            for _ in range(100):
                nursery.start_soon(ask, "many")
            await trio.sleep(0.5)
            assert start.engines[0].under_way == places_of(start.engines[0].info.slots)
            nursery.start_soon(ask, "few")
        assert done.index("few") < 3 * start.engines[0].info.slots

    async def test_a_client_alone_has_all_slots_of_the_engine(self, autojump_clock):
        async def ask():
            async with pool.lease(X, client="alone") as engine:
                await text_of(engine, "word " * 100)

        async with pool_of() as pool:
            slots = (await held(pool, X)).info.slots
            before = trio.current_time()
            async with trio.open_nursery() as nursery:
                for _ in range(10 * slots):
                    nursery.start_soon(ask)
            assert trio.current_time() - before == pytest.approx(10 * 100 * STEP, rel=0.1)


class TestMemory:
    async def test_the_least_recently_used_gives_way(self, autojump_clock):
        start = FakeStart()
        async with pool_of(start, memory=10 * GIB) as pool:
            for spec in (X, Y, X):
                await held(pool, spec, need=Need(4 * GIB))
                await trio.sleep(1)
            await held(pool, Z, need=Need(4 * GIB))
            assert sorted(names(pool)) == ["lab/x", "lab/z"]
            assert [each.closed for each in start.engines] == [0, 1, 0]

    async def test_who_is_held_never_gives_way_and_the_error_names_what_is_loaded(
        self, autojump_clock
    ):
        async with pool_of(memory=10 * GIB) as pool, pool.lease(X, need=Need(8 * GIB)) as engine:
            with pytest.raises(NoMemoryError, match=r"needs 4\.0 GiB.*lab/x \(8\.0 GiB\)"):
                await held(pool, Y, need=Need(4 * GIB))
            assert await text_of(engine, "still here") == "still here"

    async def test_nothing_is_unloaded_for_what_would_not_fit_even_then(self, autojump_clock):
        async with pool_of(memory=10 * GIB) as pool:
            await held(pool, X, need=Need(8 * GIB))
            with pytest.raises(NoMemoryError):
                await held(pool, Y, need=Need(11 * GIB))
            assert names(pool) == ["lab/x"]

    async def test_what_only_a_load_takes_is_free_again_after_it(self, autojump_clock):
        need = Need(4 * GIB, loading_bytes=5 * GIB)
        async with pool_of(memory=10 * GIB) as pool:
            await held(pool, X, need=Need(2 * GIB))
            await held(pool, Y, need=need)
            assert names(pool) == ["lab/y"]
            assert pool.loaded()[0].size == 4 * GIB
            await held(pool, Z, need=Need(6 * GIB))
            assert sorted(names(pool)) == ["lab/y", "lab/z"]

    async def test_two_loads_do_not_count_on_the_same_memory(self, autojump_clock):
        failed = []

        async def ask(spec):
            try:
                await held(pool, spec, 10, need=Need(6 * GIB))
            except NoMemoryError:
                failed.append(spec)

        machine = Machine(Device("cpu", 10 * GIB, 10 * GIB))
        async with pool_of(machine=machine) as pool, trio.open_nursery() as nursery:
            nursery.start_soon(ask, X)
            nursery.start_soon(ask, Y)
        assert len(failed) == 1

    async def test_what_an_engine_takes_in_truth_counts_once_it_is_loaded(self, autojump_clock):
        start = FakeStart()
        start.sizes["lab/x"] = 9 * GIB
        async with pool_of(start, memory=10 * GIB) as pool, pool.lease(X, need=Need(GIB)):
            assert pool.loaded()[0].size == 9 * GIB
            with pytest.raises(NoMemoryError):
                await held(pool, Y, need=Need(2 * GIB))

    async def test_what_it_takes_beside_weights_and_cache_stays_as_it_was_told(
        self, autojump_clock
    ):
        start = FakeStart()
        start.sizes["lab/x"] = 4 * GIB
        need = Need(6 * GIB, GIB, 2 * GIB)
        async with pool_of(start, memory=10 * GIB) as pool, pool.lease(X, need=need):
            assert pool.loaded()[0].size == 6 * GIB
            await held(pool, Y, need=Need(4 * GIB))

    async def test_a_limit_above_what_the_machine_has_promises_no_more_than_that(
        self, autojump_clock
    ):
        machine = Machine(Device("cpu", 10 * GIB, 10 * GIB))
        async with pool_of(machine=machine, memory=100 * GIB) as pool:
            with pytest.raises(NoMemoryError, match=r"9\.5 GiB of 9\.5 GiB are left"):
                await held(pool, X, need=Need(10 * GIB))

    async def test_without_an_estimate_the_size_of_the_files_is_taken(self, autojump_clock):
        file = ModelFile(("model.safetensors",), ContentId(9 * GIB, sha256(b"")), "/nowhere")
        spec = ModelSpec("r", "lab/big", "transformers", "text-generation", (file,))
        async with pool_of(memory=8 * GIB) as pool:
            with pytest.raises(NoMemoryError, match=r"9\.0 GiB"):
                await held(pool, spec)

    async def test_a_model_goes_to_the_gpu_with_most_room_and_stays_within_it(self, autojump_clock):
        gpus = Device("cuda:0", 24 * GIB, 4 * GIB), Device("cuda:1", 24 * GIB, 20 * GIB)
        start = FakeStart()
        machine = Machine(Device("cpu", 64 * GIB, 64 * GIB), *gpus)
        async with pool_of(start, machine=machine) as pool:
            assert (await held(pool, X, need=Need(GIB))).info.device == "cuda:1"
            assert (await held(pool, Y, need=Need(GIB))).info.device == "cuda:1"
            with pytest.raises(NoMemoryError, match="on cuda:1"):
                await held(pool, Z, need=Need(30 * GIB))
            own = fake_spec("lab/z", device="cpu")
            assert (await held(pool, own, need=Need(30 * GIB))).info.device == "cpu"
        assert start.started[0].options == RunOptions(device="cuda:1")


class TestWithProcesses:
    async def test_a_worker_that_crashes_is_replaced_and_the_pool_leaves_none(self):
        spec = echo_spec()
        async with open_pool() as pool:
            async with pool.lease(spec) as first:
                with pytest.raises(EngineError, match="SIGABRT"):
                    await text_of(first, "one #abort")
            async with pool.lease(spec) as second:
                assert await text_of(second, "on it goes") == "on it goes"
                assert pool.loaded()[0].pid == second.behind.pid
            assert first.behind.pid != second.behind.pid
        assert second.behind.gone.is_set()


class TestAnEngineThatSetsItsCacheAsideItself:
    """vLLM takes what it is given, once and for all."""

    GPUS = (Device("cpu", 100 * GIB, 90 * GIB), Device("cuda:0", 80 * GIB, 80 * GIB))
    SERVED = replace(X, engine="vllm")

    async def test_it_is_given_what_is_left_of_a_gpu_and_that_is_counted(self, autojump_clock):
        start = FakeStart()
        async with pool_of(start, machine=Machine(*self.GPUS)) as pool:
            await held(pool, self.SERVED, need=Need(10 * GIB))
            assert start.started[0].options.cache_bytes == 66 * GIB
            assert pool.loaded()[0].size == 76 * GIB

    async def test_no_more_than_models_may_take_is_given(self, autojump_clock):
        start = FakeStart()
        async with pool_of(start, machine=Machine(*self.GPUS), memory=40 * GIB) as pool:
            await held(pool, Y, need=Need(5 * GIB))
            await held(pool, self.SERVED, need=Need(10 * GIB))
            assert start.started[1].options.cache_bytes == 25 * GIB

    async def test_on_a_processor_it_is_little(self, autojump_clock):
        start = FakeStart()
        async with pool_of(start) as pool:
            await held(pool, self.SERVED, need=Need(10 * GIB))
            assert start.started[0].options.cache_bytes == 4 * GIB

    async def test_others_are_told_of_none(self, autojump_clock):
        start = FakeStart()
        async with pool_of(start, machine=Machine(*self.GPUS)) as pool:
            await held(pool, X, need=Need(10 * GIB))
            assert start.started[0].options.cache_bytes == 0
