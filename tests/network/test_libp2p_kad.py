"""The server half of the DHT: whom it believes, whom it remembers, and what it will not do."""

from contextlib import nullcontext

import pytest
import trio
from libp2p.kad_dht.common import PROTOCOL_ID
from libp2p.kad_dht.kad_dht import DHTMode, KadDHT
from libp2p.kad_dht.pb.kademlia_pb2 import Message, Record
from libp2p.peer.id import ID

from p2phub.errors import RemoteError
from p2phub.network import libp2p_kad as kad
from p2phub.network.libp2p_build import build_host
from p2phub.network.libp2p_build import running as running_host
from p2phub.network.libp2p_dial import dial
from p2phub.network.libp2p_questions import question
from p2phub.network.libp2p_settings import NetworkSettings
from p2phub.protocol.ports import PeerAddress
from tests.network.loopback import (
    KEY,
    LISTEN,
    address_of,
    network,
    running,
    seed,
    select,
    until,
    validate,
)

OURS = "/p2phub/kad/1.0.0"


def put(key: bytes, value: bytes):
    record = Record(key=key, value=value)
    return Message(type=Message.MessageType.PUT_VALUE, key=key, record=record)


async def ask(two, one, message):
    return await two._session.questions.ask(address_of(one), message)


async def test_the_dht_of_ipfs_is_not_ours():
    one, two = network("one"), network("two", kad_protocol="/lab/kad/1.0.0")
    async with running(one, two):
        await two.connect(address_of(one))
        with pytest.raises(RemoteError):
            await two.open_stream(one.peer_id, PROTOCOL_ID)
        assert two._session.kad.size() == 0  # another network's DHT
        with pytest.raises(RemoteError):
            await one._session.questions.ask(address_of(two), question("PING", b"x"))


async def test_the_librarys_prefix_is_ignored():
    """The defect itself."""
    host = build_host(seed("stock"), NetworkSettings(listen=()), ())
    KadDHT(host, DHTMode.SERVER, protocol_prefix="/p2phub")
    assert PROTOCOL_ID == "/ipfs/kad/1.0.0"
    assert PROTOCOL_ID in host.get_mux().get_protocols()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b"plain", b"1:x"),
        (b"/pk/" + b"k" * 40, b"1:x"),
        (b"/other/" + b"k" * 40, b"1:x"),
        (b"/p2phub/" + b"k" * 43, b"1:x"),
        (KEY.encode(), b"not a record"),
        (KEY.encode(), b"1:" + bytes(kad.MAX_RECORD)),
        (b"/p2phub/\xff\xfe", b"1:x"),
    ],
    ids=["plain", "pk", "other", "long-key", "invalid", "large", "not-text"],
)
async def test_a_record_under_a_key_that_is_not_ours_is_refused(key, value):
    one, two = network("one"), network("two")
    async with running(one, two):
        with pytest.raises(RemoteError):
            await ask(two, one, put(key, value))
        assert one._session.kad.values.store == {}
        assert await ask(two, one, put(KEY.encode(), b"1:x"))
        assert list(one._session.kad.values.store) == [KEY.encode()]


@pytest.mark.parametrize(("length", "is_found"), [(kad.MAX_KEY, True), (kad.MAX_KEY + 1, False)])
async def test_nobody_is_found_near_a_long_key(length, is_found):
    one, two, three = network("one"), network("two"), network("three")
    async with running(one, two, three):
        await two.connect(address_of(one))
        await three.connect(address_of(one))
        await until(lambda: one._session.kad.size() == 2)
        with nullcontext() if is_found else pytest.raises(RemoteError):
            answer = await ask(two, one, question("FIND_NODE", b"k" * length))
            assert len(answer.closerPeers) == 1


@pytest.mark.parametrize(
    ("slots", "of_one", "deaf"),
    [(kad.SLOTS, kad.SLOTS_OF_ONE, False), (36, kad.SLOTS_OF_ONE, False), (12, 100, True)],
    ids=["ours", "a-share", "stock"],
)
async def test_idle_streams_of_one_peer_do_not_deafen(slots, of_one, deaf, monkeypatch):
    monkeypatch.setattr(kad, "SLOTS", slots)
    monkeypatch.setattr(kad, "SLOTS_OF_ONE", of_one)
    one, two, three = network("one"), network("two"), network("three")
    async with running(one, two, three):
        await two.connect(address_of(one))
        await three.connect(address_of(one))
        for _ in range(40):
            try:
                await (await two.open_stream(one.peer_id, OURS)).write(b"\x05")
            except RemoteError:
                continue
        with pytest.raises(RemoteError) if deaf else nullcontext():
            assert await ask(three, one, question("FIND_NODE", b"key"))


async def test_an_idle_stream_is_ended(monkeypatch):
    monkeypatch.setattr(kad, "STREAM_LIFE", 0.2)
    one, two = network("one"), network("two")
    async with running(one, two):
        await two.connect(address_of(one))
        stream = await two.open_stream(one.peer_id, OURS)
        with trio.fail_after(20), pytest.raises(RemoteError):
            await stream.read(1)
        assert await ask(two, one, question("FIND_NODE", b"key"))


@pytest.mark.parametrize("garbage", [b"\x05hello", b"\xff" * 11, b"\x00", b"\xff\xff\xff\x7f"])
async def test_garbage_costs_its_stream_only(garbage):
    one, two = network("one"), network("two")
    async with running(one, two):
        await two.connect(address_of(one))
        stream = await two.open_stream(one.peer_id, OURS)
        await stream.write(garbage)
        await stream.close()
        assert await ask(two, one, question("FIND_NODE", b"key"))
        assert one.restarts == 0


async def test_a_client_is_not_put_into_the_routing_table():
    one = network("one")
    client = build_host(seed("client"), NetworkSettings(listen=LISTEN), LISTEN)
    async with running(one), running_host(client, LISTEN):
        await dial(client.get_network(), address_of(one), 5)
        await until(lambda: one.peer_agent(str(client.get_id())))
        stream = await client.new_stream(ID.from_string(one.peer_id), [OURS])
        data = question("FIND_NODE", b"key").SerializeToString()
        await stream.write(bytes([len(data)]) + data)
        assert await stream.read(1)
        assert one._session.kad.size() == 0


async def test_an_old_peer_that_says_nothing_does_not_hold_up_a_new_one(autojump_clock):
    async def wait_for_the_oldest(*_, **__):
        await trio.sleep_forever()

    host = build_host(seed("one"), NetworkSettings(listen=()), ())
    server = kad.KadServer(host, NetworkSettings(listen=()), validate, select)
    server._table.add_peer = wait_for_the_oldest
    await server.learn(PeerAddress(network("two").peer_id, ("/ip4/127.0.0.1/tcp/1",)))
    assert trio.current_time() <= kad.LEARNING + 1


async def test_a_server_that_connects_is_put_into_the_routing_table():
    one, two = network("one"), network("two")
    async with running(one, two):
        await two.connect(address_of(one))
        await until(lambda: one._session.kad.serves(two.peer_id))
        assert two._session.kad.serves(one.peer_id)


async def test_a_peer_on_a_new_port_is_known_by_its_new_address():
    one, two, again = network("one"), network("two"), network("two")
    async with running(one):
        async with running(two):
            await two.connect(address_of(one))
            await until(lambda: one._session.kad.nearest(b"key", 1) == (address_of(two),))
        async with running(again):
            await again.connect(address_of(one))
            assert address_of(again) != address_of(two)
            await until(lambda: one._session.kad.nearest(b"key", 1) == (address_of(again),))


async def test_a_peer_that_dies_leaves_the_routing_table_when_it_is_asked():
    one, two = network("one"), network("two")
    async with running(one):
        async with running(two):
            await two.connect(address_of(one))
            await until(lambda: one._session.kad.serves(two.peer_id))
        await until(lambda: not one.peers())
        with pytest.raises(RemoteError):
            await one.get_heads(KEY)
        assert one._session.kad.size() == 0
