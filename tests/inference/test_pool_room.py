"""Room on several devices for one engine: all of it, or nothing is unloaded."""

from dataclasses import replace

import pytest

from p2phub.errors import NoMemoryError, UnsupportedError
from p2phub.inference.memory import Device, Need
from p2phub.inference.pool import open_pool
from p2phub.testing.engines import GIB, FakeStart, fake_spec

CPU = Device("cpu", 64 * GIB, 64 * GIB)
GPUS = Device("cuda:0", 24 * GIB, 24 * GIB), Device("cuda:1", 24 * GIB, 24 * GIB)
BOTH = "cuda:0,cuda:1"


class Machine:
    def __init__(self, *devices):
        self.now = devices

    async def devices(self):
        return self.now


def on(name, device):
    return fake_spec(name, device=device)


async def load(pool, spec, size):
    async with pool.lease(spec, need=Need(size)) as engine:
        return engine


def pool_of(*devices, start=None, **options):
    return open_pool(start=start or FakeStart(), machine=Machine(CPU, *devices), **options)


def names(pool):
    return [each.spec.name for each in pool.loaded()]


async def test_each_device_gives_its_share_and_no_more(autojump_clock):
    start = FakeStart()
    async with pool_of(*GPUS, start=start, memory=10 * GIB) as pool:
        await load(pool, on("lab/both", BOTH), 18 * GIB)
        (row,) = pool.loaded()
        assert (row.device, row.size) == (BOTH, 18 * GIB)
        assert start.started[0].options.device == BOTH
        await load(pool, on("lab/one", "cuda:1"), GIB)
        assert names(pool) == ["lab/both", "lab/one"]


async def test_a_model_that_shares_gives_way_to_one_that_wants_one_of_its_gpus(autojump_clock):
    async with pool_of(*GPUS, memory=10 * GIB) as pool:
        await load(pool, on("lab/both", BOTH), 18 * GIB)
        await load(pool, on("lab/one", "cuda:1"), 2 * GIB)
        assert names(pool) == ["lab/one"]


async def test_one_that_is_full_unloads_nothing_on_the_other(autojump_clock):
    """The second GPU is held; what idles on the first stays, for it would be lost for nothing."""
    async with pool_of(*GPUS, memory=10 * GIB) as pool:
        await load(pool, on("lab/idle", "cuda:0"), 9 * GIB)
        async with pool.lease(on("lab/held", "cuda:1"), need=Need(9 * GIB)):
            with pytest.raises(NoMemoryError, match=r"8\.0 GiB on 2 GPUs, 4\.0 GiB on cuda:1"):
                await load(pool, on("lab/both", BOTH), 8 * GIB)
            assert names(pool) == ["lab/idle", "lab/held"]


async def test_what_goes_for_the_first_gpu_makes_room_on_the_second_too(autojump_clock):
    async with pool_of(*GPUS, memory=10 * GIB) as pool:
        await load(pool, on("lab/small", "cuda:1"), 2 * GIB)
        await load(pool, on("lab/both", BOTH), 16 * GIB)
        await load(pool, on("lab/more", BOTH), 14 * GIB)
        assert names(pool) == ["lab/small", "lab/more"]


async def test_a_gpu_that_is_not_there_is_named_before_anything_is_loaded(autojump_clock):
    start = FakeStart()
    async with pool_of(*GPUS, start=start) as pool:
        with pytest.raises(UnsupportedError, match="no cuda:2 here") as told:
            await load(pool, on("lab/x", "cuda:0,cuda:2"), GIB)
        assert "cuda:1" in told.value.remedy
        assert start.started == []


async def test_a_machine_that_tells_of_no_gpu_leaves_it_to_the_load(autojump_clock):
    start = FakeStart()
    async with pool_of(start=start) as pool:
        await load(pool, on("lab/x", BOTH), GIB)
        assert len(start.started) == 1


async def test_what_keeps_a_cache_gets_what_the_fuller_gpu_leaves(autojump_clock):
    fuller = Device("cuda:1", 24 * GIB, 20 * GIB)
    start, spec = FakeStart(), replace(on("lab/x", BOTH), engine="vllm")
    async with pool_of(GPUS[0], fuller, start=start) as pool:
        await load(pool, spec, 4 * GIB)
        left = 2 * (20 * GIB - int(24 * GIB * 0.05)) - 4 * GIB
        assert start.started[0].options.cache_bytes == left
        assert pool.loaded()[0].size == left + 4 * GIB


@pytest.mark.parametrize(
    ("engine", "task", "device"),
    [
        ("transformers", "feature-extraction", "cuda:1"),
        ("transformers", "automatic-speech-recognition", "cuda:1"),
        ("transformers", "text-generation", BOTH),
        ("vllm", "text-generation", BOTH),
        ("llamacpp", "text-generation", "cpu"),
        ("llamacpp", "feature-extraction", "cpu"),
    ],
)
async def test_what_cannot_be_shared_goes_to_one_of_the_gpus(engine, task, device, autojump_clock):
    spec = replace(on("lab/x", BOTH), engine=engine, task=task)
    third, start = Device("cuda:2", 80 * GIB, 80 * GIB), FakeStart()
    taken = replace(GPUS[0], free=20 * GIB)
    async with pool_of(taken, GPUS[1], third, start=start) as pool:
        await load(pool, spec, GIB)
        assert pool.loaded()[0].device == device
        assert start.started[0].options.device == device


async def test_a_gpu_that_is_not_there_is_missed_by_what_needs_one_too(autojump_clock):
    spec = replace(on("lab/x", "cuda:0,cuda:2"), task="feature-extraction")
    async with pool_of(*GPUS) as pool:
        with pytest.raises(UnsupportedError, match="no cuda:2"):
            await load(pool, spec, GIB)
