"""Gossip: small messages to everybody who listens, handed on from peer to peer (GossipSub 1.1).

A message is judged before it is handed on; nobody here believes it. It may be lost: what must
arrive is also told and asked for (`p2phub.node.spreading`).

Defects of libp2p 0.8.1 it answers, and what fails without it (all in test_libp2p_gossip.py)
- A heartbeat comes every 120 s and more than 10 messages a second are dropped in silence
  (gossipsub.py:2887): 1 s, and our own allowances. `test_a_burst_arrives`.
- One RPC may hold thousands of messages, each of which becomes a task (pubsub.py
  `continuously_read_stream`): we read ourselves, a few at once, one after the other, and a peer
  that says more than its allowance waits. `test_a_storm_of_one_peer_is_heard_slowly`.
- Topics nobody knows fill the memory, a message may be asked for a thousand times in one question,
  and a peer may name strangers whom we would dial (gossipsub.py `handle_prune`, `handle_iwant`,
  `_do_px`): of other topics and of strangers nothing is heard, and of many ids some.
  `test_what_a_peer_says_of_other_topics_is_forgotten`,
  `test_a_message_is_sent_once_however_often_it_is_asked_for`,
  `test_a_stranger_whom_a_peer_names_is_not_dialled`.
- A bug in one task of the service ends it for ever: it is started again.
  `test_gossip_that_died_lives_again`.
- A peer that does not speak it is asked again and again (pubsub.py
  `_handle_new_peer_with_retry`): only peers that say they speak it are.
  `test_a_peer_that_does_not_gossip_is_left_in_peace`.
- Signed records of addresses in an RPC go into the peer store: they are not looked at.

Rules it keeps: one topic; a message has at most `MAX_GOSSIP` bytes and the signature of the peer
that began it; whatever is wrong with what a peer sends costs its stream, and nothing else.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final

import trio
from libp2p.peer.id import ID
from libp2p.pubsub.gossipsub import GossipSub
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.pubsub import Pubsub
from libp2p.tools.anyio_service import background_trio_service
from libp2p.utils.varint import read_varint_prefixed_bytes_limited

from p2phub.errors import GarbageError, MalformedError, P2PHubError, RemoteError
from p2phub.formats.limits import KIB, MAX_GOSSIP
from p2phub.network.libp2p_patches import log, quietly
from p2phub.network.lookup import peer_id_bytes
from p2phub.protocol.allowance import Allowances
from p2phub.protocol.ports import GossipJudge

MESHSUB: Final = "/meshsub/1.1.0"
MAX_RPC: Final = 256 * KIB
"""Bytes that a peer says in one go: messages, and what it says of others."""
MAX_MESSAGES: Final = 64
"""Messages in one of them."""
MAX_IDS: Final = 64
"""Messages that a peer offers or asks for in one of them, of those that are heard."""
MESSAGES_A_SECOND: Final = 20.0
"""Of one peer, in the long run."""
BURST: Final = 200.0
"""Messages of one peer at once."""
STREAMS_OF_ONE: Final = 4
"""Streams on which one peer may gossip at once: it opens a new one where the old one failed."""
HEARTBEAT: Final = 1
"""Seconds."""
AGAIN: Final = 3.0
"""Seconds until a stream that failed is opened again."""
OPENING: Final = 30.0
"""Seconds for which that is tried."""
REST: Final = 5.0
"""Seconds between a death of the service and its next life."""
FAREWELL: Final = 2.0
"""Seconds that resetting all streams may take."""
_MOST_A_SECOND: Final = 1000.0
"""Above our own allowances, so that the library drops nothing."""


class GossipService:
    """Gossip on one host. `speakers()`: who is connected and speaks `MESHSUB`."""

    def __init__(
        self, host: Any, topic: str, judge: GossipJudge, speakers: Callable[[], Iterable[str]]
    ) -> None:
        self._host, self._topic = host, topic
        self._judge, self._speakers = judge, speakers
        self._pubsub = self._built()
        self.deaths = 0

    async def run(self) -> None:
        """Gossip until cancelled."""
        while True:
            try:
                await self._live()
            except Exception as error:
                log.error("gossip died and lives again in %g s", REST, exc_info=error)
            self.deaths += 1
            await trio.sleep(REST)
            self._pubsub = self._built()

    def met(self, peer_id: str) -> None:
        """A peer that speaks `MESHSUB` is connected."""
        if self._pubsub.is_ready:
            self._pubsub.manager.run_task(self._pubsub.welcome, ID(peer_id_bytes(peer_id)))

    async def spread(self, message: bytes) -> None:
        """Hand a message to peers. Raises `MalformedError` (too long), `RemoteError`."""
        if not 0 < len(message) <= MAX_GOSSIP:
            raise MalformedError(
                f"a message of gossip has 1 to {MAX_GOSSIP} bytes, not {len(message)}"
            )
        if not self._pubsub.is_ready:
            raise RemoteError("gossip is starting", remedy="Try again in a few seconds.")
        try:
            await self._pubsub.publish(self._topic, message)
        except Exception as error:
            raise RemoteError("nobody could be gossiped to") from error

    def close(self) -> None:
        """End the thread that the library keeps for each service, run or not."""
        self._pubsub.seen_messages.stop()

    def _built(self) -> Any:
        return _Pubsub(self._host, _Router(), self._topic, self._judge)

    async def _live(self) -> None:
        pubsub = self._pubsub
        try:
            async with (
                background_trio_service(pubsub) as manager,
                background_trio_service(pubsub.router),
            ):
                await pubsub.wait_until_ready()
                await pubsub.subscribe(self._topic)
                pubsub.is_ready = True
                for peer_id in self._speakers():
                    self.met(peer_id)
                await manager.wait_finished()
        finally:
            pubsub.is_ready = False
            self.close()
            with trio.move_on_after(FAREWELL) as scope:
                scope.shield = True
                await pubsub.hang_up()


class _Router(GossipSub):
    """The library's mesh, without what it does not need for one topic among few peers."""

    def __init__(self) -> None:
        super().__init__(
            protocols=[MESHSUB],
            degree=6,
            degree_low=4,
            degree_high=12,
            heartbeat_interval=HEARTBEAT,
            max_messages_per_topic_per_second=_MOST_A_SECOND,
            adaptive_gossip_enabled=False,
        )

    async def publish(self, msg_forwarder: Any, pubsub_msg: Any) -> None:
        await super().publish(msg_forwarder, pubsub_msg)
        self.recent_message_deliveries.clear()  # grows for ever where nobody adapts to it


class _Pubsub(Pubsub):
    """The library's service, of which reading is our own."""

    def __init__(self, host: Any, router: Any, topic: str, judge: GossipJudge) -> None:
        super().__init__(
            host,
            router,
            strict_signing=True,
            max_subscriptions_per_peer=1,
            max_inbound_rpc_size=MAX_RPC,
            allowed_topics={topic},
        )
        self.is_ready = False
        self._topic, self._judge_message = topic, judge
        self._allowances = Allowances(MESSAGES_A_SECOND, BURST)
        self._streams: dict[str, set[Any]] = {}
        self.set_topic_validator(topic, self._validate, True)

    async def welcome(self, peer_id: Any) -> None:
        """Gossip to a peer from now on."""
        await self._handle_new_peer_with_retry(peer_id, OPENING)

    async def handle_peer_queue(self) -> None:
        """Whoever connects is no peer yet: `welcome` is called for those that speak our tongue."""
        async with self.peer_receive_channel:
            self.event_handle_peer_queue_started.set()
            async for _ in self.peer_receive_channel:
                continue

    async def _peer_stream_retry_task(self, peer_id: Any) -> None:
        try:
            await trio.sleep(AGAIN)
            await self._handle_new_peer_with_retry(peer_id, OPENING)
        finally:
            self._peer_stream_retries_pending.discard(peer_id)

    def notify_subscriptions(self, publish_message: Any) -> None:
        """Nobody waits for messages: the judge has had them."""

    async def _validate(self, forwarder: Any, message: Any) -> bool:
        if forwarder == self.my_id:
            return True
        try:
            return await self._judge_message(str(forwarder), message.data)
        except P2PHubError as error:
            log.debug("a message of gossip could not be judged: %s", error)
        except Exception:
            log.exception("a message of gossip of %s failed in our own code", forwarder)
        return False

    async def stream_handler(self, stream: Any) -> None:
        peer = stream.muxed_conn.peer_id
        streams = self._streams.setdefault(str(peer), set())
        if len(streams) >= STREAMS_OF_ONE:
            await quietly(stream.reset)
            return
        streams.add(stream)
        try:
            await self.event_handle_peer_queue_started.wait()
            self._introduce_again(peer)
            while self.manager.is_running:
                await self._hear(peer, await read_varint_prefixed_bytes_limited(stream, MAX_RPC))
        except Exception as error:
            log.debug("gossip of %s ends: %r", peer, error)
            await quietly(stream.reset)
        finally:
            streams.discard(stream)
            if not streams:
                self._streams.pop(str(peer), None)

    def _introduce_again(self, peer: Any) -> None:
        """Who opens a stream may have lost ours: it hears again what we listen to, and if ours is
        gone, writing to it shows that.
        """
        if peer in self.peer_queues:
            self.peer_queues[peer].push(self.get_hello_packet())

    async def hang_up(self) -> None:
        """Reset every stream, so that peers notice that nobody hears them here."""
        for stream in [
            *self.peers.values(),
            *(each for some in self._streams.values() for each in some),
        ]:
            await quietly(stream.reset)

    async def _hear(self, peer: Any, data: bytes) -> None:
        """What a peer says in one go. Raises `GarbageError`, and what the library raises."""
        rpc = rpc_pb2.RPC()
        rpc.ParseFromString(data)
        if len(rpc.publish) > MAX_MESSAGES or len(rpc.subscriptions) > MAX_MESSAGES:
            raise GarbageError(f"{len(rpc.publish)} messages in one go")
        cost = 1 + len(rpc.publish)
        await trio.sleep(self._allowances.wait(str(peer), cost, trio.current_time()))
        self._allowances.charge(str(peer), cost, trio.current_time())
        for message in rpc.publish:
            if list(message.topicIDs) != [self._topic] or len(message.data) > MAX_GOSSIP:
                raise GarbageError("a message of another topic, or one too long")
            await self.push_msg(peer, message)
        for subscription in rpc.subscriptions:
            self.handle_subscription(peer, subscription)
        if rpc.HasField("control"):
            heard = rpc_pb2.RPC(control=_about(rpc.control, self._topic))
            await self.router.handle_rpc(heard, peer)


def _about(said: Any, topic: str) -> Any:
    """What a peer says of one topic; of many ids of messages some, and none twice."""
    heard = rpc_pb2.ControlMessage()
    for each in said.ihave:
        if each.topicID == topic and not heard.ihave:
            heard.ihave.add(topicID=topic, messageIDs=_some(each.messageIDs))
    wanted = _some(one for each in said.iwant for one in each.messageIDs)
    if wanted:
        heard.iwant.add(messageIDs=wanted)
    if any(each.topicID == topic for each in said.graft):
        heard.graft.add(topicID=topic)
    for each in said.prune:
        if each.topicID == topic and not heard.prune:
            heard.prune.add(topicID=topic, backoff=each.backoff)
    return heard


def _some(ids: Iterable[bytes]) -> list[bytes]:
    return list(dict.fromkeys(ids))[:MAX_IDS]
