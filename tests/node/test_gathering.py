"""Who is found while a pull lasts, in virtual time: peers named by peers, newcomers, crowds."""

import trio

from p2phub.errors import GarbageError
from p2phub.network.libp2p_identity import peer_id_of_seed
from p2phub.node.acquaintances import Acquaintances
from p2phub.node.gathering import EXCHANGE_EVERY, LOOK_UP_EVERY, MOST_SOURCES, Gathering
from p2phub.node.neighbours import Neighbours
from p2phub.protocol.ports import PeerAddress
from p2phub.testing.sources import HonestSource

RELEASE = b"r" * 32


def named(number: int) -> str:
    return peer_id_of_seed(number.to_bytes(32, "big"))


class World:
    """Peers that answer `exchange` with whom they know; everybody can be dialled."""

    peer_id = named(0)

    def __init__(self, knows=None, providers=()):
        self.knows = knows or {}
        self.dht = list(providers)
        self.connected: dict[str, PeerAddress] = {}
        self.asked: list[str] = []

    def peers(self):
        return tuple(self.connected.values())

    async def connect(self, peer):
        await trio.sleep(0.01)
        self.connected[peer.peer_id] = peer

    async def providers(self, digest, enough):
        await trio.sleep(0.1)
        return tuple(self.address(each) for each in self.dht)

    async def source(self, peer):
        await trio.sleep(0.01)
        return HonestSource(peer.peer_id)

    async def exchange(self, peer_id, digest):
        await trio.sleep(0.01)
        self.asked.append(peer_id)
        known = self.knows.get(peer_id, ())
        if known == "garbage":
            raise GarbageError("the peer sent what is not our protocol")
        return tuple(f"/ip4/127.0.0.1/tcp/1/p2p/{each}" for each in known)

    def address(self, peer_id):
        return PeerAddress(peer_id, ("/ip4/127.0.0.1/tcp/1",))


def gathering_in(world, unwanted=()):
    acquaintances = Acquaintances(world, lambda peer_id: "127.0.0.1")
    neighbours = Neighbours(world, world, world.source)
    gathering = Gathering(RELEASE, neighbours, world, acquaintances, unwanted)
    return gathering, acquaintances


def names(gathering):
    return {source.name for source in gathering.sources}


async def test_peers_named_by_peers_are_found_step_by_step(autojump_clock, nursery):
    a, b, c = named(1), named(2), named(3)
    world = World(knows={a: [b], b: [c, a]}, providers=[a])
    gathering, _ = gathering_in(world)
    told = []
    gathering.listen(lambda source: told.append(source.name))
    nursery.start_soon(lambda: gathering.run())
    await trio.sleep(1)
    assert told == [a, b, c]
    nursery.cancel_scope.cancel()


async def test_who_asks_us_for_the_same_is_found_at_once(autojump_clock, nursery):
    a = named(1)
    world = World()
    gathering, acquaintances = gathering_in(world)
    nursery.start_soon(lambda: gathering.run(near=True, after=LOOK_UP_EVERY))
    await trio.sleep(1)
    await world.connect(world.address(a))
    acquaintances.wants(a, RELEASE)
    await trio.sleep(0.1)
    assert names(gathering) == {a}
    nursery.cancel_scope.cancel()


async def test_everybody_is_asked_again_every_few_seconds_while_it_lasts(autojump_clock, nursery):
    a, b = named(1), named(2)
    world = World(providers=[a])
    gathering, _ = gathering_in(world)
    nursery.start_soon(lambda: gathering.run())
    await trio.sleep(EXCHANGE_EVERY)
    world.knows[a] = [b]
    await trio.sleep(EXCHANGE_EVERY + 1)
    assert names(gathering) == {a, b}
    await trio.sleep(10 * EXCHANGE_EVERY)
    assert world.asked.count(a) <= 14
    nursery.cancel_scope.cancel()


async def test_the_dht_is_asked_again_from_time_to_time(autojump_clock, nursery):
    world = World()
    gathering, _ = gathering_in(world)
    nursery.start_soon(lambda: gathering.run())
    await trio.sleep(1)
    world.dht.append(named(1))
    await trio.sleep(LOOK_UP_EVERY + 1)
    assert names(gathering) == {named(1)}
    nursery.cancel_scope.cancel()


async def test_a_crowd_does_not_grow_beyond_bounds(autojump_clock, nursery):
    crowd = [named(n) for n in range(1, 200)]
    world = World(knows={each: crowd[at : at + 16] for at, each in enumerate(crowd)})
    world.dht = crowd[:1]
    gathering, _ = gathering_in(world)
    nursery.start_soon(lambda: gathering.run())
    await trio.sleep(60)
    assert len(names(gathering)) == MOST_SOURCES
    nursery.cancel_scope.cancel()


async def test_who_lied_is_not_gathered_and_who_talks_garbage_is_no_loss(autojump_clock, nursery):
    a, b, liar = named(1), named(2), named(3)
    world = World(knows={a: "garbage", b: [liar]}, providers=[a, b])
    unwanted = {liar}
    gathering, _ = gathering_in(world, unwanted)
    nursery.start_soon(lambda: gathering.run())
    await trio.sleep(5)
    assert names(gathering) == {a, b}
    unwanted.add(b)
    assert names(gathering) == {a}
    nursery.cancel_scope.cancel()
