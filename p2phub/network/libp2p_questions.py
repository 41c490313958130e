"""One question of the DHT to one peer: a stream, a message out, a message in, our errors.

Rules it keeps
- A question takes `query_timeout` at most, the dial included: a frozen peer costs the library two
  time-outs of 10 s (kad_dht/common.py `QUERY_TIMEOUT`).
- A peer that could not be reached is not dialled again for `DEAD_FOR` seconds by look-ups, and is
  taken out of the routing table, where the library lets answers of others bring it back
  (peer_routing.py:461); here only a peer that connects comes back.
  Test: test_libp2p_kad.py::test_a_peer_that_dies_leaves_the_routing_table_when_it_is_asked.
- Of what a stranger answers, a few well-formed peers are kept and the rest is dropped.
- No signed peer records are sent or read: the library refuses all messages of a peer whose clock
  was set back (peerstore.py `consume_peer_record`), and addresses prove themselves when dialled.

It leaves which question to ask of whom to `libp2p_records`.
"""

import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

import trio
from libp2p.kad_dht.pb.kademlia_pb2 import Message
from libp2p.peer.id import ID
from libp2p.utils.varint import encode_uvarint, read_varint_prefixed_bytes_limited
from multiaddr import Multiaddr

from p2phub.errors import GarbageError, RemoteError, TooSlowError
from p2phub.network.libp2p_addresses import MAX_ADDRESSES, dialable
from p2phub.network.libp2p_identity import (
    ED25519_PROTOBUF,
    IDENTITY_MULTIHASH,
    PUBLIC_LENGTH,
    peer_id_of_public,
)
from p2phub.network.libp2p_kad import KadServer
from p2phub.network.libp2p_negotiation import agreement, proposal
from p2phub.network.libp2p_patches import quietly
from p2phub.network.libp2p_settings import NetworkSettings
from p2phub.network.lookup import peer_id_bytes
from p2phub.protocol.ports import PeerAddress

MAX_ANSWER: Final = 512 * 1024
"""Bytes of an answer: a record, 20 peers, and room for what others add to them."""
MAX_PEERS_TOLD: Final = 64
"""Peers of one answer that we look at."""
DEAD_FOR: Final = 30.0
"""Seconds for which look-ups leave an unreachable peer alone."""
MAX_DEAD: Final = 10_000
_ID_HEADER: Final = IDENTITY_MULTIHASH + ED25519_PROTOBUF
Reach = Callable[[PeerAddress, float], Awaitable[None]]


class Questions:
    """Asks peers; `reach` connects to one within some seconds, or raises `RemoteError`."""

    def __init__(self, host: Any, kad: KadServer, settings: NetworkSettings, reach: Reach) -> None:
        self._host, self._kad, self._settings, self._reach = host, kad, settings, reach
        self._dead: dict[str, float] = {}

    async def ask(self, peer: PeerAddress, request: Any) -> Any:
        """The answer of `peer`. Raises `RemoteError`."""
        within = self._settings.query_timeout
        with trio.move_on_after(within):
            await self._connected(peer, within)
            answer = await self._exchange(peer.peer_id, request)
            if answer.type != request.type:
                raise GarbageError(f"peer {peer.peer_id} answered another question")
            return answer
        raise TooSlowError(f"peer {peer.peer_id} did not answer the DHT within {within:g} s")

    def revive(self, peer_id: str) -> None:
        """A peer that was dead is here again."""
        self._dead.pop(peer_id, None)

    async def _connected(self, peer: PeerAddress, within: float) -> None:
        if self._host.get_network().get_connections(ID(peer_id_bytes(peer.peer_id))):
            return
        if self._dead.get(peer.peer_id, 0.0) > time.monotonic():
            raise RemoteError(f"peer {peer.peer_id} could not be reached a moment ago")
        try:
            await self._reach(peer, within)
        except RemoteError:
            self._bury(peer.peer_id)
            raise
        except trio.Cancelled:
            self._bury(peer.peer_id)
            raise
        self._dead.pop(peer.peer_id, None)

    def _bury(self, peer_id: str) -> None:
        now = time.monotonic()
        if len(self._dead) >= MAX_DEAD:
            self._dead = {each: until for each, until in self._dead.items() if until > now}
        self._dead[peer_id] = now + DEAD_FOR
        self._kad.forget(peer_id)

    async def _exchange(self, peer_id: str, request: Any) -> Any:
        stream, protocol = None, self._settings.kad_protocol
        try:
            stream = await self._host.get_network().new_stream(ID(peer_id_bytes(peer_id)))
            data = request.SerializeToString()
            await stream.write(proposal(protocol) + encode_uvarint(len(data)) + data)
            await agreement(stream, protocol)
            answer = Message()
            answer.ParseFromString(await read_varint_prefixed_bytes_limited(stream, MAX_ANSWER))
        except BaseException as error:
            if stream is not None:
                with trio.CancelScope(shield=True), trio.move_on_after(1):
                    await quietly(stream.reset)
            if isinstance(error, Exception):
                raise RemoteError(f"peer {peer_id} did not answer the DHT: {error!r}") from error
            raise
        await quietly(stream.close)
        return answer


def question(kind: str, key: bytes) -> Any:
    """A message of this kind ("FIND_NODE", "GET_VALUE", …) about `key`."""
    message: Any = Message()
    message.type = Message.MessageType.Value(kind)
    message.key = key
    return message


def peers_told(told: Iterable[Any]) -> tuple[PeerAddress, ...]:
    """The peers of an answer that have an id of our kind; addresses may be missing."""
    found = []
    for each, _ in zip(told, range(MAX_PEERS_TOLD), strict=False):
        if each.id.startswith(_ID_HEADER) and len(each.id) == len(_ID_HEADER) + PUBLIC_LENGTH:
            peer_id = peer_id_of_public(each.id[len(_ID_HEADER) :])
            found.append(PeerAddress(peer_id, dialable(address_texts(each.addrs))))
    return tuple(found)


def address_texts(addresses: Iterable[bytes]) -> Iterable[str]:
    """Those of a stranger's binary multiaddrs that can be read, as text, at most a few."""
    for raw, _ in zip(addresses, range(2 * MAX_ADDRESSES), strict=False):
        try:
            yield str(Multiaddr(raw))
        except Exception:  # whatever cannot be read is not an address
            continue
