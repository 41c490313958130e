"""Gossip over libp2p: what a peer can do to it, and what the library would do to us."""

import random
from contextlib import asynccontextmanager, suppress

import pytest
import trio
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.peer.id import ID
from libp2p.peer.peerstore import env_to_send_in_RPC
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.pubsub import PUBSUB_SIGNING_PREFIX
from libp2p.utils import encode_varint_prefixed

from p2phub.errors import RemoteError
from p2phub.formats.limits import MAX_GOSSIP
from p2phub.network import libp2p_gossip
from p2phub.network.libp2p_gossip import (
    BURST,
    MAX_IDS,
    MAX_MESSAGES,
    MAX_RPC,
    MESHSUB,
    STREAMS_OF_ONE,
)
from p2phub.network.libp2p_settings import NetworkSettings
from tests.network.loopback import address_of, echo, network, running, seed, talk, until

TOPIC = NetworkSettings(listen=()).gossip_topic


class Listener:
    """A network whose judge lets everything pass, and notes it."""

    def __init__(self, name: str) -> None:
        self.heard: list[bytes] = []
        self.network = network(name)
        self.network.listen(self.judge)
        self.network.handle("/echo/1", echo)

    async def judge(self, peer: str, message: bytes) -> bool:
        self.heard.append(message)
        return True

    @property
    def service(self):
        return self.network._session.gossip

    @property
    def pubsub(self):
        return self.service._pubsub

    def hears(self, other) -> bool:
        """Whether what it says goes to `other` at once."""
        mesh = self.pubsub.router.mesh.get(TOPIC, ())
        return ID.from_base58(other.network.peer_id) in mesh


@asynccontextmanager
async def pair():
    """Two that gossip with each other."""
    one, two = Listener("one"), Listener("two")
    async with running(one.network, two.network):
        await two.network.connect(address_of(one.network))
        await until(lambda: one.hears(two) and two.hears(one))
        yield one, two


@asynccontextmanager
async def stranger_and_pair():
    """A pair, and a peer of the first one that speaks for itself."""
    async with pair() as (one, two):
        mallory = network("mallory")
        async with running(mallory):
            await mallory.connect(address_of(one.network))
            yield mallory, one, two


def message(data: bytes, *, name: str = "mallory", topics=(TOPIC,), number: int = 1):
    """A message that is signed by the peer `name`."""
    keys = create_new_key_pair(seed(name))
    made = rpc_pb2.Message(
        data=data,
        topicIDs=list(topics),
        from_id=ID.from_pubkey(keys.public_key).to_bytes(),
        seqno=number.to_bytes(8, "big"),
    )
    made.signature = keys.private_key.sign(
        PUBSUB_SIGNING_PREFIX.encode() + made.SerializeToString()
    )
    made.key = keys.public_key.serialize()
    return made


def publishing(*messages) -> bytes:
    return encode_varint_prefixed(rpc_pb2.RPC(publish=messages).SerializeToString())


def saying(**control) -> bytes:
    said = rpc_pb2.RPC(control=rpc_pb2.ControlMessage(**control))
    return encode_varint_prefixed(said.SerializeToString())


async def say(mallory, one, *words: bytes):
    """A stream on which a stranger said something."""
    stream = await mallory.open_stream(one.network.peer_id, MESHSUB)
    for each in words:
        await stream.write(each)
    return stream


async def is_cut_off(stream) -> bool:
    with trio.fail_after(10), suppress(RemoteError):
        while await stream.read(1000):
            continue
    return True


def changed(made, **fields):
    wrong = rpc_pb2.Message()
    wrong.CopyFrom(made)
    for name, value in fields.items():
        setattr(wrong, name, value)
    return wrong


NOTHING = b"\0"
"""An RPC that says nothing."""
GOOD = message(b"good")
UNSIGNED = message(b"unsigned")
UNSIGNED.ClearField("signature")
BAD = {
    "unsigned": publishing(UNSIGNED),
    "signed by nobody": publishing(changed(GOOD, signature=bytes(64))),
    "a signature of half the length": publishing(changed(GOOD, signature=bytes(32))),
    "changed after it was signed": publishing(changed(GOOD, data=b"evil")),
    "in the name of another": publishing(
        changed(GOOD, from_id=message(b"x", name="alice").from_id)
    ),
    "a name that is none": publishing(changed(GOOD, from_id=b"\xff" * 34, key=b"\x01\x02")),
    "without a name": publishing(changed(GOOD, from_id=b"")),
    "of another topic": publishing(message(b"good", topics=["/other/1"])),
    "of our topic and another": publishing(message(b"good", topics=[TOPIC, "/other/1"])),
    "of our topic twice": publishing(message(b"good", topics=[TOPIC, TOPIC])),
    "too long": publishing(message(b"x" * (MAX_GOSSIP + 1))),
    "no protobuf": b"\x20" + random.Random(0).randbytes(32),
    "a length without end": b"\xff" * 20,
    "a gigabyte, as it says": b"\x80\x80\x80\x80\x04" + b"x" * 100,
    "too many messages": publishing(
        *(message(b"good", number=number) for number in range(MAX_MESSAGES + 1))
    ),
    "too many subscriptions": encode_varint_prefixed(
        rpc_pb2.RPC(
            subscriptions=[
                rpc_pb2.RPC.SubOpts(subscribe=True, topicid=f"/t/{n}") for n in range(65)
            ]
        ).SerializeToString()
    ),
    "half a message": publishing(GOOD)[:-10],
    "a web server": b"HTTP/1.1 400 Bad Request\r\n\r\n",
}


@pytest.mark.parametrize("words", BAD.values(), ids=BAD.keys())
async def test_a_bad_message_is_neither_heard_nor_handed_on_and_harms_nobody(words):
    async with stranger_and_pair() as (mallory, one, two):
        with suppress(RemoteError):  # it may be cut off while it still speaks
            await (await say(mallory, one, words)).close()
        good = await say(mallory, one, publishing(message(b"still there", number=7)))
        await until(lambda: two.heard == [b"still there"])
        assert one.heard == [b"still there"]
        assert (one.network.restarts, one.service.deaths) == (0, 0)
        assert await talk(mallory, one.network.peer_id) == b"hello"
        await good.close()


@pytest.mark.parametrize("size", [MAX_RPC, MAX_RPC + 1])
async def test_what_is_said_in_one_go_has_a_limit(size):
    async with stranger_and_pair() as (mallory, one, _two):
        said = rpc_pb2.RPC(publish=[GOOD], senderRecord=bytes(size - 1000))
        said.senderRecord = bytes(size - 1000 + size - said.ByteSize())
        assert said.ByteSize() == size
        with suppress(RemoteError):
            stream = await say(mallory, one, encode_varint_prefixed(said.SerializeToString()))
            if size <= MAX_RPC:
                await until(lambda: one.heard == [b"good"])
            else:
                assert await is_cut_off(stream)
        assert len(one.heard) == (size <= MAX_RPC)


@pytest.mark.parametrize("count", [MAX_MESSAGES, MAX_MESSAGES + 1])
async def test_as_many_messages_as_may_be_are_heard_at_once(count):
    async with stranger_and_pair() as (mallory, one, _two):
        words = [message(b"number %d" % number, number=number) for number in range(count)]
        stream = await say(mallory, one, publishing(*words))
        if count <= MAX_MESSAGES:
            await until(lambda: len(one.heard) == count)
        else:
            assert await is_cut_off(stream)
            assert one.heard == []


async def test_a_burst_arrives():
    async with pair() as (one, two):
        for number in range(100):
            await one.network.spread(b"number %d" % number)
            if number % 20 == 19:
                await until(lambda: len(two.heard) == number + 1)  # noqa: B023
        assert len(set(two.heard)) == 100


async def test_a_storm_of_one_peer_is_heard_slowly():
    async with stranger_and_pair() as (mallory, one, two):
        storm = [
            publishing(*(message(b"%d" % n, number=n) for n in range(start, start + 50)))
            for start in range(0, 800, 50)
        ]
        stream, began = await say(mallory, one), trio.current_time()
        for words in storm:
            await stream.write(words)
        await until(lambda: len(one.heard) >= 100)
        await two.network.spread(b"an honest word")
        await until(lambda: b"an honest word" in one.heard)
        await trio.sleep(max(0.0, began + 3 - trio.current_time()))
        passed = trio.current_time() - began
        assert len(one.heard) <= 1 + BURST + libp2p_gossip.MESSAGES_A_SECOND * passed + MAX_MESSAGES


async def test_what_a_peer_says_of_other_topics_is_forgotten():
    async with stranger_and_pair() as (mallory, one, _two):
        router = one.pubsub.router
        for number in range(5):
            names = [f"/nobody/{number}/{each}" for each in range(200)]
            await say(
                mallory,
                one,
                saying(
                    prune=[rpc_pb2.ControlPrune(topicID=name, backoff=2**40) for name in names],
                    graft=[rpc_pb2.ControlGraft(topicID=name) for name in names],
                    ihave=[rpc_pb2.ControlIHave(topicID=name) for name in names],
                ),
                publishing(message(b"heard %d" % number, number=number)),
            )
            await until(lambda: len(one.heard) == number + 1)  # noqa: B023
            if number == STREAMS_OF_ONE - 1:
                break
        assert set(router.back_off) <= {TOPIC}
        assert set(router.mesh) == {TOPIC}
        assert all(set(each) <= {TOPIC} for each in router.graft_flood_tracking.values())
        assert all(set(each) <= {TOPIC} for each in router.ihave_message_limits.values())
        assert set(one.pubsub.peer_topics) == {TOPIC}


async def test_a_stranger_whom_a_peer_names_is_not_dialled():
    async with stranger_and_pair() as (mallory, one, _two):
        victim = network("victim")
        async with running(victim):
            where, _ = env_to_send_in_RPC(victim._session.host)
            named = rpc_pb2.PeerInfo(
                peerID=ID.from_base58(victim.peer_id).to_bytes(), signedPeerRecord=where
            )
            prune = rpc_pb2.ControlPrune(topicID=TOPIC, peers=[named])
            await say(mallory, one, saying(prune=[prune]), publishing(message(b"heard")))
            await until(lambda: one.heard == [b"heard"])
            assert not victim.peers()


async def test_a_message_is_sent_once_however_often_it_is_asked_for():
    async with pair() as (one, two):
        await one.network.spread(b"x" * MAX_GOSSIP)
        await until(lambda: len(two.heard) == 1)
        cached = list(one.pubsub.router.mcache.msgs)
        asked = [rpc_pb2.ControlIWant(messageIDs=cached * 100)] * 20
        sent = []
        one.pubsub.router.send_rpc = lambda peer, rpc, priority=False: sent.append(rpc)
        await say(two.network, one, saying(iwant=asked))
        await until(lambda: sent)
        assert [len(rpc.publish) for rpc in sent] == [1]


@pytest.mark.parametrize("count", [MAX_MESSAGES, MAX_MESSAGES + 1])
async def test_so_many_subscriptions_are_heard_in_one_go_and_no_more(count):
    topics = [rpc_pb2.RPC.SubOpts(subscribe=True, topicid=f"/t/{n}") for n in range(count)]
    said = rpc_pb2.RPC(subscriptions=topics, publish=[message(b"good")])
    async with stranger_and_pair() as (mallory, one, _two):
        stream = await say(mallory, one, encode_varint_prefixed(said.SerializeToString()))
        if count <= MAX_MESSAGES:
            await until(lambda: one.heard == [b"good"])
        else:
            assert await is_cut_off(stream)
            assert one.heard == []


@pytest.mark.parametrize("count", [MAX_IDS, MAX_IDS + 1])
def test_so_many_ids_are_heard_and_no_more(count):
    ids = [b"%d" % number for number in range(count)]
    said = rpc_pb2.ControlMessage(
        ihave=[rpc_pb2.ControlIHave(topicID=TOPIC, messageIDs=ids)],
        iwant=[rpc_pb2.ControlIWant(messageIDs=ids)],
    )
    heard = libp2p_gossip._about(said, TOPIC)
    assert list(heard.ihave[0].messageIDs) == ids[:MAX_IDS]
    assert list(heard.iwant[0].messageIDs) == ids[:MAX_IDS]


def test_of_many_ids_some_are_heard():
    many = rpc_pb2.ControlMessage(
        ihave=[rpc_pb2.ControlIHave(topicID=TOPIC, messageIDs=[b"%d" % n for n in range(1000)])],
        iwant=[rpc_pb2.ControlIWant(messageIDs=[b"%d" % n for n in range(1000)])],
    )
    heard = libp2p_gossip._about(many, TOPIC)
    assert len(heard.ihave[0].messageIDs) == MAX_IDS
    assert len(heard.iwant[0].messageIDs) == MAX_IDS


async def test_a_peer_opens_no_more_streams_of_gossip_than_it_needs():
    async with stranger_and_pair() as (mallory, one, _two):
        streams = [await say(mallory, one, NOTHING) for _ in range(STREAMS_OF_ONE)]
        await until(lambda: len(one.pubsub._streams[mallory.peer_id]) == STREAMS_OF_ONE)
        one_more = await say(mallory, one, publishing(message(b"one more")))
        assert await is_cut_off(one_more)
        await streams[0].write(publishing(message(b"heard", number=2)))
        await until(lambda: one.heard == [b"heard"])
        for each in streams:
            await each.close()
        await until(lambda: mallory.peer_id not in one.pubsub._streams)


async def test_a_peer_that_does_not_gossip_is_left_in_peace():
    async with pair() as (one, _two):
        deaf = network("deaf")
        async with running(deaf):
            await deaf.connect(address_of(one.network))
            await until(lambda: deaf.peer_id in one.network._session.known)
            assert ID.from_base58(deaf.peer_id) not in one.pubsub.peers
            assert not one.pubsub._peer_stream_retries_pending
            assert deaf.peer_id not in one.service._speakers()


async def test_gossip_that_died_lives_again(monkeypatch, caplog):
    monkeypatch.setattr(libp2p_gossip, "REST", 0.05)
    async with pair() as (one, two):

        async def die() -> None:
            raise ValueError("a bug in the library")

        one.pubsub.manager.run_task(die)
        await until(lambda: one.service.deaths == 1 and one.pubsub.is_ready)
        assert one.network.restarts == 0
        await until(lambda: one.hears(two))
        await one.network.spread(b"back again")
        await until(lambda: b"back again" in two.heard)
    assert "gossip died" in caplog.text


async def test_a_bug_in_the_judge_is_logged_and_lets_nothing_pass(caplog):
    async with pair() as (one, two):

        async def buggy(peer: str, message: bytes) -> bool:
            raise ValueError("a bug of ours")

        two.pubsub._judge_message = buggy
        await one.network.spread(b"hello")
        await until(lambda: "failed in our own code" in caplog.text)
        assert (two.network.restarts, two.service.deaths) == (0, 0)


async def test_gossip_of_another_network_is_not_ours():
    one, other = Listener("one"), Listener("other")
    other.network = network("other", gossip_topic="/lab/news/1.0.0")
    other.network.listen(other.judge)
    async with running(one.network, other.network):
        await other.network.connect(address_of(one.network))
        me = ID.from_base58(other.network.peer_id)
        await until(lambda: me in one.pubsub.peers)
        await other.network.spread(b"of the lab")
        await one.network.spread(b"of the world")
        await trio.sleep(0.3)
        assert one.heard == other.heard == []


async def test_no_thread_stays_behind():
    import threading

    def sweepers() -> int:
        return sum("_background_cleanup" in each.name for each in threading.enumerate())

    before = sweepers()
    async with pair():
        assert sweepers() == before + 2
    await until(lambda: sweepers() == before)


async def test_memory_of_what_was_handed_on_does_not_grow():
    async with pair() as (one, two):
        for number in range(50):
            await one.network.spread(b"%d" % number)
        await until(lambda: len(two.heard) == 50)
        for each in (one, two):
            assert not each.pubsub.router.recent_message_deliveries
