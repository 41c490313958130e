"""The walk in virtual time, over simulated networks whose peers die, freeze and lie."""

import random

import pytest
import trio

from p2phub.errors import RemoteError
from p2phub.network.libp2p_identity import peer_id_of_public
from p2phub.network.lookup import MAX_KNOWN, K, Lookup, position_of_key, position_of_peer
from p2phub.protocol.ports import PeerAddress

OWN = peer_id_of_public(b"o" * 32)
TIMEOUT = 2.5


class World:
    """Peers that know each other as Kademlia peers do; some are dead, frozen or liars."""

    def __init__(self, size: int, seed: int = 0, latency: float = 0.02) -> None:
        self.random = random.Random(seed)
        keys = [self.random.randbytes(32) for _ in range(size)]
        self.peers = [
            PeerAddress(peer_id_of_public(key), ("/ip4/192.0.2.1/tcp/1",)) for key in keys
        ]
        self.dead: set[str] = set()
        self.frozen: set[str] = set()
        self.asked: list[str] = []
        self.latency = latency

    def some(self, share: float) -> set[str]:
        chosen = self.random.sample(self.peers, int(len(self.peers) * share))
        return {peer.peer_id for peer in chosen}

    def nearest(self, key: bytes, count: int = K) -> list[PeerAddress]:
        target = position_of_key(key)
        return sorted(self.peers, key=lambda peer: position_of_peer(peer.peer_id) ^ target)[:count]

    def alive_nearest(self, key: bytes) -> tuple[PeerAddress, ...]:
        gone = self.dead | self.frozen
        return tuple([p for p in self.nearest(key, 1000) if p.peer_id not in gone][:K])

    def query(self, key: bytes):
        async def query(peer: PeerAddress) -> list[PeerAddress]:
            self.asked.append(peer.peer_id)
            if peer.peer_id in self.dead:
                raise RemoteError("refused")
            if peer.peer_id in self.frozen:
                await trio.sleep_forever()
            await trio.sleep(self.latency)
            return self.nearest(key)

        return query

    def lookup(self, key: bytes, **options) -> Lookup:
        return Lookup(key, self.query(key), own_id=OWN, timeout=TIMEOUT, **options)


async def test_finds_the_nearest_from_one_distant_seed(autojump_clock):
    world = World(200)
    seed = world.nearest(b"key", 200)[-1]
    assert await world.lookup(b"key").run([seed]) == tuple(world.nearest(b"key"))
    assert len(world.asked) < 40


async def test_nobody_to_ask_ends_at_once(autojump_clock):
    lookup = World(0).lookup(b"key")
    assert await lookup.run([]) == ()
    assert lookup.answers == 0


@pytest.mark.parametrize("paths", [1, 2])
@pytest.mark.parametrize("share", [0.3, 0.6])
async def test_dead_peers_are_replaced_by_the_next_nearest(autojump_clock, share, paths):
    world = World(100)
    world.dead = world.some(share)
    found = await world.lookup(b"key", paths=paths).run(world.nearest(b"key", 60))
    assert found == world.alive_nearest(b"key")
    assert trio.current_time() < 0.5


@pytest.mark.parametrize("seed", range(5))
async def test_a_third_of_frozen_peers_costs_patience_and_not_time_outs(autojump_clock, seed):
    world = World(100, seed)
    world.frozen = world.some(0.3)
    start = trio.current_time()
    found = await world.lookup(b"key").run(world.nearest(b"key", 60))
    assert found == world.alive_nearest(b"key")
    assert trio.current_time() - start <= 1.5


async def test_when_all_are_frozen_it_ends_after_one_time_out(autojump_clock):
    world = World(10)
    world.frozen = world.some(1.0)
    start = trio.current_time()
    assert await world.lookup(b"key").run(world.peers) == ()
    assert trio.current_time() - start == pytest.approx(TIMEOUT)


async def test_on_a_slow_machine_answers_after_the_patience_count(autojump_clock):
    world = World(30, latency=1.5)
    found = await world.lookup(b"key").run(world.peers)
    assert len(found) >= K // 2


async def test_enough_stops_the_walk(autojump_clock):
    world = World(200)
    lookup = world.lookup(b"key", enough=lambda: len(world.asked) >= 10)
    await lookup.run(world.peers[:20])
    assert len(world.asked) == 10


async def test_a_liar_with_endless_new_peers_does_not_keep_us_walking(autojump_clock):
    asked = []

    async def query(peer):
        asked.append(peer)
        await trio.sleep(0.01)
        keys = [random.randbytes(32) for _ in range(100)]
        return [PeerAddress(peer_id_of_public(key), ()) for key in keys]

    lookup = Lookup(b"key", query, own_id=OWN, timeout=TIMEOUT)
    await lookup.run([PeerAddress(peer_id_of_public(b"l" * 32), ())])
    assert len(asked) <= MAX_KNOWN


@pytest.mark.parametrize(("paths", "reaches_all"), [(1, False), (2, True)])
async def test_a_liar_does_not_keep_another_path_from_the_truth(autojump_clock, paths, reaches_all):
    world = World(60)
    honest, key = world.nearest(b"key"), b"key"
    invented = [PeerAddress(peer_id_of_public(random.randbytes(32)), ()) for _ in range(500)]
    target = position_of_key(key)
    invented.sort(key=lambda peer: position_of_peer(peer.peer_id) ^ target)
    clique = {peer.peer_id for peer in invented}

    async def query(peer):
        await trio.sleep(0.01)
        world.asked.append(peer.peer_id)
        return invented[:K] if peer.peer_id in {honest[0].peer_id} | clique else world.nearest(key)

    seeds = [honest[0], honest[10]]  # one liar, one honest peer
    await Lookup(key, query, own_id=OWN, timeout=TIMEOUT, paths=paths).run(seeds)
    assert ({peer.peer_id for peer in honest} <= set(world.asked)) == reaches_all


async def test_no_peer_is_asked_twice_on_two_paths(autojump_clock):
    world = World(80)
    await world.lookup(b"key", paths=2).run(world.peers)
    assert len(world.asked) == len(set(world.asked))


async def test_we_never_ask_ourselves(autojump_clock):
    world = World(5)
    world.peers.append(PeerAddress(OWN, ()))
    found = await world.lookup(b"key").run(world.peers)
    assert OWN not in world.asked
    assert len(found) == 5


async def test_a_bug_in_the_question_is_not_taken_for_a_dead_peer(autojump_clock):
    async def query(peer):
        raise ValueError("a bug")

    lookup = Lookup(b"key", query, own_id=OWN, timeout=TIMEOUT)
    with pytest.raises(ExceptionGroup):
        await lookup.run(World(3).peers)
