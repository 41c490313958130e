"""What the faulty networks in memory do, so that scenarios can rely on it."""

from contextlib import asynccontextmanager

import pytest
import trio

from p2phub.errors import RemoteError
from p2phub.testing.networks import (
    DroppingNetwork,
    GarbageNetwork,
    MemoryNetwork,
    MemoryWorld,
    SilentNetwork,
)
from tests.network.loopback import KEY, address_of, echo, running, seed, select, talk, validate

DIGEST = b"d" * 32
RULES = {"validate": validate, "select": select}


@asynccontextmanager
async def meeting(kind):
    world = MemoryWorld()
    one, two, bad = (
        cls(world, seed(name), **RULES)
        for cls, name in ((MemoryNetwork, "one"), (MemoryNetwork, "two"), (kind, "bad"))
    )
    bad.handle("/echo/1", echo)
    async with running(one, two, bad):
        await one.connect(address_of(bad))
        await one.connect(address_of(two))
        yield one, two, bad


async def test_a_silent_peer_opens_streams_and_says_nothing(autojump_clock):
    async with meeting(SilentNetwork) as (one, _, bad):
        stream = await one.open_stream(bad.peer_id, "/anything/1")
        with trio.move_on_after(3600) as scope:
            await stream.read(1)
        assert scope.cancelled_caught


async def test_a_silent_peer_costs_a_look_up_a_moment(autojump_clock):
    async with meeting(SilentNetwork) as (one, two, _):
        assert await two.put_head(KEY, b"1:head") == 1
        began = trio.current_time()
        assert await one.get_heads(KEY) == (b"1:head",)
        assert 0.4 < trio.current_time() - began < 1.5


async def test_a_lying_peer_answers_noise(autojump_clock):
    async with meeting(GarbageNetwork) as (one, two, bad):
        stream = await one.open_stream(bad.peer_id, "/anything/1")
        assert len(await stream.read(1000)) == 500
        await two.put_head(KEY, b"1:head")
        assert await one.get_heads(KEY) == (b"1:head",)
        assert await one.providers(DIGEST, 5)  # of which nobody can be reached


async def test_a_dropping_peer_hangs_up_in_the_middle(autojump_clock):
    async with meeting(DroppingNetwork) as (one, _, bad):
        assert await talk(one, bad.peer_id, b"short") == b"short"
        stream = await one.open_stream(bad.peer_id, "/echo/1")
        await stream.write(bytes(5000))
        with pytest.raises(RemoteError):
            await everything(stream)


async def test_records_in_memory_expire(autojump_clock):
    world = MemoryWorld()
    one, two = (MemoryNetwork(world, seed(name), **RULES) for name in ("one", "two"))
    async with running(one, two):
        await one.connect(address_of(two))
        await one.put_head(KEY, b"1:head")
        await one.provide(DIGEST)
        await trio.sleep(25 * 3600)
        assert await two.get_heads(KEY) == ()
        assert await two.providers(DIGEST, 1)
        await trio.sleep(25 * 3600)
        assert await two.providers(DIGEST, 1) == ()


async def everything(stream) -> bytes:
    heard = b""
    while more := await stream.read(500):
        heard += more
    return heard
