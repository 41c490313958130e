"""Real networks on 127.0.0.1 for tests, with a record anybody can make: b"<number>:<anything>"."""

import hashlib
from contextlib import asynccontextmanager

import trio

from p2phub.network.libp2p_host import Libp2pNetwork, NetworkSettings
from p2phub.protocol.ports import PeerAddress

LISTEN = ("/ip4/127.0.0.1/tcp/0",)
KEY = "/p2phub/" + "k" * 40
PEACE = 0.01
"""Seconds between two looks at something that is about to happen."""
AT_LEISURE = {"query_timeout": 20.0, "patience": 8.0, "dial_timeout": 20.0}
"""So much time have networks of a test on a busy machine, unless it asks for less."""


def seed(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def validate(key: str, record: bytes) -> None:
    number, _, _ = record.partition(b":")
    if not key.startswith("/p2phub/") or not number.isdigit():
        raise ValueError("not a record of this test")


def select(records) -> int:
    """The greatest number, and of equals the last."""
    numbers = [int(record.partition(b":")[0]) for record in records]
    return len(numbers) - 1 - numbers[::-1].index(max(numbers))


def network(name: str, **settings) -> Libp2pNetwork:
    usual = {"listen": LISTEN, "agent": f"p2phub/{name}"} | AT_LEISURE
    chosen = NetworkSettings(**usual | settings)
    return Libp2pNetwork(seed(name), chosen, validate=validate, select=select)


def address_of(one: Libp2pNetwork) -> PeerAddress:
    found = tuple(each.partition("/p2p/")[0] for each in one.addresses())
    return PeerAddress(one.peer_id, found)


@asynccontextmanager
async def running(*some: Libp2pNetwork):
    """Run networks for as long as the block lasts."""
    async with trio.open_nursery() as nursery:
        for one in some:
            await nursery.start(start, one)
        yield
        nursery.cancel_scope.cancel()


async def start(one: Libp2pNetwork, task_status) -> None:
    await one.run(task_status=task_status)


@asynccontextmanager
async def swarm(count: int, **settings):
    """`count` networks that all know the first, and each other through the DHT."""
    first, *others = [network(f"node-{number}", **settings) for number in range(count)]
    async with trio.open_nursery() as nursery:
        await nursery.start(start, first)
        rest = []
        for number, _ in enumerate(others, 1):
            one = network(f"node-{number}", bootstrap=first.addresses(), **settings)
            await nursery.start(start, one)
            rest.append(one)
        yield [first, *rest]
        nursery.cancel_scope.cancel()


async def until(condition, seconds: float = 25.0) -> None:
    """Wait for something that another task is about to do."""
    with trio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110 - what we wait for has no event of ours
            await trio.sleep(PEACE)


def kill(one: Libp2pNetwork) -> None:
    """A bug in the library ends the host."""

    async def die():
        raise ValueError("a bug in the library")

    one._session.host.get_network().manager.run_task(die)


async def echo(peer_id, stream) -> None:
    while data := await stream.read(65536):
        await stream.write(data)


async def talk(one: Libp2pNetwork, peer_id: str, words: bytes = b"hello") -> bytes:
    """What a peer that serves `echo` answers."""
    stream = await one.open_stream(peer_id, "/echo/1")
    await stream.write(words)
    heard = b""
    while len(heard) < len(words):
        more = await stream.read(65536)
        if not more:
            break
        heard += more
    await stream.close()
    return heard
