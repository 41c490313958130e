"""Heads and providers among real nodes on loopback, some of them dead, frozen or lying."""

import time
from contextlib import asynccontextmanager

import pytest
import trio

from p2phub.errors import NoSourceError, RemoteError
from p2phub.network import libp2p_kad, libp2p_records
from tests.network.loopback import KEY, address_of, network, running, start, swarm, until

KAD = "/p2phub/kad/1.0.0"
DIGEST = b"d" * 32
SHA256 = libp2p_records.SHA256_MULTIHASH
pytestmark = pytest.mark.budget(90)  # many nodes share one loop, and that may be a busy one


@asynccontextmanager
async def full_swarm(count: int, **settings):
    """`count` networks, each of which knows all others."""
    async with swarm(count, **settings) as nodes:
        await until(lambda: all(each._session.kad.size() == count - 1 for each in nodes), 60)
        yield nodes


def held(node):
    record = node._session.kad.values.get(KEY.encode())
    return bytes(record.value) if record is not None else None


async def test_a_head_is_found_by_a_peer_that_never_met_its_publisher():
    async with full_swarm(4) as (first, publisher, reader, _):
        assert await publisher.put_head(KEY, b"1:head") == 3
        await first.disconnect(publisher.peer_id)
        assert await reader.get_heads(KEY) == (b"1:head",)


async def test_the_newest_head_wins_and_an_older_one_is_refused():
    async with full_swarm(3) as (one, two, three):
        assert await one.put_head(KEY, b"1:old") == 2
        assert await two.put_head(KEY, b"2:new") == 2
        assert await three.put_head(KEY, b"1:old") == 0
        for node in (one, two, three):
            assert await node.get_heads(KEY) == (b"2:new",)


async def test_a_newer_record_is_found_though_we_hold_an_older_one():
    async with full_swarm(3) as (one, two, three):
        await one.put_head(KEY, b"1:old")
        for node in (two, three):
            node._session.kad.values.remove(KEY.encode())
        two._session.kad.values.put_record(KEY.encode(), libp2p_records._record(KEY, b"2:new"))
        assert await one.get_heads(KEY) == (b"1:old", b"2:new")


async def test_a_peer_that_holds_an_older_head_is_given_the_newer():
    async with full_swarm(3) as (one, two, three):
        await one.put_head(KEY, b"1:old")
        two._session.kad.values.put_record(KEY.encode(), libp2p_records._record(KEY, b"2:new"))
        assert await three.get_heads(KEY) == (b"1:old", b"2:new")
        await until(lambda: held(one) == b"2:new")


async def test_a_second_put_of_the_same_record_extends_its_life():
    async with full_swarm(2) as (one, two):
        await one.put_head(KEY, b"1:head")
        store = two._session.kad.values.store
        record, _ = store[KEY.encode()]
        store[KEY.encode()] = (record, time.time() + 60)
        assert await one.put_head(KEY, b"1:head") == 1
        assert store[KEY.encode()][1] > time.time() + 3600


async def test_nobody_there_is_an_error_and_nothing_there_is_not():
    one, two = network("one"), network("two")
    async with running(one, two):
        with pytest.raises(NoSourceError, match="nobody"):
            await one.get_heads(KEY)
        assert await one.providers(DIGEST, 5) == ()
        assert await one.put_head(KEY, b"1:mine") == 0
        assert await one.get_heads(KEY) == (b"1:mine",)
        await two.connect(address_of(one))
        assert await two.get_heads("/p2phub/" + "x" * 40) == ()


@pytest.mark.parametrize("record", [b"not a record", b"1:" + bytes(10 * 1024)])
async def test_our_own_invalid_head_is_refused_before_it_leaves(record):
    one = network("one")
    async with running(one):
        with pytest.raises(ValueError, match="record"):
            await one.put_head(KEY, record)


async def test_a_key_that_servers_would_refuse_is_refused_here():
    one = network("one")
    async with running(one):
        with pytest.raises(ValueError, match="51 bytes"):
            await one.get_heads("/p2phub/" + "k" * 43)


async def test_a_provider_finds_the_other_providers():
    async with full_swarm(5) as (one, two, three, *_):
        for node in (one, two, three):
            assert await node.provide(DIGEST) == 4
        del one._session.kad.provider_records.providers[SHA256 + DIGEST][three.peer_id]
        found = {each.peer_id: each for each in await one.providers(DIGEST, 10)}
        assert set(found) == {two.peer_id, three.peer_id}
        assert found[two.peer_id] == address_of(two)


async def test_providers_are_distinct_and_a_stranger_can_reach_them():
    async with full_swarm(4) as nodes:
        await nodes[1].provide(DIGEST)
        await nodes[1].provide(DIGEST)
        stranger = network("stranger", bootstrap=nodes[0].addresses())
        async with running(stranger):
            assert await stranger.providers(DIGEST, 10) == (address_of(nodes[1]),)


@pytest.mark.parametrize("stock", [False, True])
async def test_thirty_quick_provides_are_all_found(stock, monkeypatch):
    monkeypatch.setattr(libp2p_records, "PROVIDE_AGAIN", ())
    if stock:  # the library's limit: 20 are lost, and at least we hear of it
        monkeypatch.setattr(libp2p_kad, "PROVIDES_IN_WINDOW", 10)
    told = {}

    async def provide(one, number: int) -> None:
        told[number] = await one.provide(bytes([number]) * 32)

    async with full_swarm(3) as (one, two, three):
        async with trio.open_nursery() as nursery:
            for number in range(30):
                nursery.start_soon(provide, one, number)
        kept = [len(each._session.kad.provider_records.providers) for each in (two, three)]
        assert kept == ([10, 10] if stock else [30, 30])
        assert sum(told.values()) == sum(kept)
        found = [await two.providers(bytes([number]) * 32, 1) for number in range(30)]
        assert all(found) != stock


async def test_a_refused_provide_is_told_again(monkeypatch):
    monkeypatch.setattr(libp2p_records, "PROVIDE_AGAIN", (0.3,) * 20)
    async with full_swarm(2) as (one, two):
        two._session.kad._dht._provider_rate_max = 3
        two._session.kad._dht._provider_rate_window = 0.4
        told = []

        async def provide(number: int) -> None:
            told.append(await one.provide(bytes([number]) * 32))

        async with trio.open_nursery() as nursery:
            for number in range(8):
                nursery.start_soon(provide, number)
        assert told == [1] * 8
        assert len(two._session.kad.provider_records.providers) == 8


async def test_a_provide_that_nobody_confirms_is_not_counted(monkeypatch):
    monkeypatch.setattr(libp2p_records, "PROVIDE_AGAIN", (0.1,))
    async with full_swarm(3) as (one, two, _):
        dht = two._session.kad._dht
        dht._provider_rate_max = 1
        dht._provider_rate_limits[one.peer_id] = (time.time(), 1)
        assert await one.provide(DIGEST) == 1


async def freeze(peer_id, stream):
    await trio.sleep_forever()


async def lie(peer_id, stream):
    await stream.write(b"\x20" + b"\x0a" * 32)


@pytest.mark.parametrize("behaviour", [freeze, lie])
async def test_a_third_of_frozen_or_lying_peers_cost_patience_and_not_time_outs(behaviour):
    async with full_swarm(6, query_timeout=200.0, patience=0.7) as nodes:
        for node in nodes[:2]:
            node.handle(KAD, behaviour)
        assert await nodes[2].put_head(KEY, b"1:head") >= 2
        assert await nodes[3].get_heads(KEY) == (b"1:head",)
        assert await nodes[4].provide(DIGEST) >= 2
        assert await nodes[5].providers(DIGEST, 1)


async def test_what_is_found_survives_the_death_of_a_third():
    names = [f"node-{number}" for number in range(9)]
    first = network(names[0])
    async with trio.open_nursery() as nursery:
        await nursery.start(start, first)
        scopes, nodes = [], [first]
        for name in names[1:]:
            node = network(name, bootstrap=first.addresses())
            scopes.append(await nursery.start(start_in_scope, node))
            nodes.append(node)
        await until(lambda: all(each._session.kad.size() == 8 for each in nodes), 60)
        publisher, reader = nodes[1], nodes[-1]
        published_at = address_of(publisher)
        await publisher.put_head(KEY, b"1:head")
        await publisher.provide(DIGEST)
        for scope in scopes[:3]:
            scope.cancel()
        await until(lambda: len(reader.peers()) == 5)
        for _ in range(3):
            assert await reader.get_heads(KEY) == (b"1:head",)
            assert await reader.providers(DIGEST, 5) == (published_at,)
        nursery.cancel_scope.cancel()


async def start_in_scope(node, task_status):
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            await nursery.start(start, node)
            task_status.started(scope)


async def test_an_answer_of_a_stranger_cannot_make_us_dial_nonsense():
    async def invent(peer_id, stream):
        from libp2p.kad_dht.pb.kademlia_pb2 import Message

        await stream.read(1000)
        answer = Message(type=Message.MessageType.GET_VALUE)
        for number in range(200):
            peer = answer.closerPeers.add()
            peer.id = bytes([number]) * (number % 50)
            peer.addrs.append(bytes([number]) * 20)
        data = answer.SerializeToString()
        await stream.write(bytes([len(data) & 0x7F | 0x80, len(data) >> 7]) + data)

    one, two = network("one"), network("two")
    async with running(one, two):
        await two.connect(address_of(one))
        one.handle(KAD, invent)
        assert await two.get_heads(KEY) == ()


async def test_an_operation_during_a_restart_is_a_remote_error():
    one = network("one")
    async with running(one):
        one._session.host.get_network().manager.cancel()
        await until(lambda: one.state == "restarting")
        with pytest.raises(RemoteError, match="restarting"):
            await one.provide(DIGEST)
