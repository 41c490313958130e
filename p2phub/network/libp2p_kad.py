"""The server half of the DHT: the library's Kademlia with our protocol, validator and limits.

Defects of libp2p 0.8.1 it answers
- `KadDHT(protocol_prefix=)` is ignored, a private DHT would mix with that of IPFS (kad_dht.py:340):
  the handler is moved to our protocol.
  Test: test_libp2p_kad.py::test_the_dht_of_ipfs_is_not_ours.
- 10 provider records in 10 s per peer, the rest is dropped while the sender hears of success
  (kad_dht.py:313): the limit is raised, and our client waits for the answer (`libp2p_records`).
  Test: test_libp2p_records.py::test_thirty_quick_provides_are_all_found.
- Keys without a validator are accepted unchecked (kad_dht.py `strict_validation=False`).
  Test: test_libp2p_kad.py::test_a_record_under_a_key_that_is_not_ours_is_refused.
- FIND_NODE for a key of more than 50 bytes is refused (kad_dht.py:706): our keys have 48, and a
  longer one is refused before it leaves.
  Tests: test_libp2p_records.py::test_a_key_that_servers_would_refuse_is_refused_here,
  test_libp2p_kad.py::test_nobody_is_found_near_a_long_key.
- A re-put of the same record is refused, because the validator picks the first of equals
  (kad_dht.py:1156): ours picks the last, so that a record's life can be extended.
  Test: test_libp2p_records.py::test_a_second_put_of_the_same_record_extends_its_life.
- Twelve idle streams make a server refuse everybody; there is no time limit (kad_dht.py:323, 587).
  Test: test_libp2p_kad.py::test_idle_streams_of_one_peer_do_not_deafen.
- Whoever asks lands in the routing table, also clients that answer nothing (kad_dht.py:632): only
  peers whose identify names our protocol do.
  Test: test_libp2p_kad.py::test_a_client_is_not_put_into_the_routing_table.
- The routing table keeps the first addresses it heard of a peer (routing_table.py:203).
  Test: test_libp2p_kad.py::test_a_peer_on_a_new_port_is_known_by_its_new_address.
- It waits without a limit for an old peer that may have to make room (routing_table.py:236).
  Test: test_libp2p_kad.py::test_an_old_peer_that_says_nothing_does_not_hold_up_a_new_one.

It leaves asking others to `libp2p_records`, and upkeep to `libp2p_upkeep`.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

import trio
from libp2p.kad_dht.common import PROTOCOL_ID
from libp2p.kad_dht.kad_dht import DHTMode, KadDHT
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import PeerInfo
from libp2p.records.validator import NamespacedValidator, Validator
from multiaddr import Multiaddr

from p2phub.network.libp2p_addresses import dialable
from p2phub.network.libp2p_patches import log, quietly
from p2phub.network.libp2p_settings import NetworkSettings
from p2phub.network.libp2p_stores import BoundedProviders, BoundedValues, sender
from p2phub.network.lookup import peer_id_bytes
from p2phub.protocol.ports import PeerAddress

NAMESPACE: Final = "p2phub"
MAX_KEY: Final = 50
"""Bytes; servers of 0.8.1 refuse FIND_NODE for longer keys (kad_dht.py:706)."""
MAX_RECORD: Final = 10 * 1024
"""Bytes of a value."""
SLOTS: Final = 512
"""Streams of the DHT that are answered at once."""
SLOTS_OF_ONE: Final = 32
"""The same for one peer."""
STREAM_LIFE: Final = 60.0
"""Seconds after which a stream of the DHT is ended; peers open another."""
LEARNING: Final = 10.0
"""Seconds that an old peer has to show that it is still there, when a new one wants its place."""
PROVIDES_IN_WINDOW: Final = 200
"""Provider records we take from one peer in 10 s."""
Validate = Callable[[str, bytes], None]
Select = Callable[[Sequence[bytes]], int]


class KadServer:
    """Answers the DHT's questions on one host, and keeps the routing table."""

    def __init__(
        self, host: Any, settings: NetworkSettings, validate: Validate, select: Select
    ) -> None:
        self.validator = NamespacedValidator(
            {NAMESPACE: RecordValidator(validate, select)}, strict_validation=True
        )
        self._host = host
        self._dht = KadDHT(
            host,
            DHTMode.SERVER,
            validator=self.validator,
            validator_changed=True,
            strict_validation=True,
        )
        self._dht.value_store = self.values = BoundedValues(host, host.get_id())
        self._dht.provider_store = self.provider_records = BoundedProviders(host)
        self._dht._provider_rate_max = PROVIDES_IN_WINDOW
        self._dht._inbound_limiter = trio.CapacityLimiter(SLOTS)
        self._dht.add_peer = _add_nobody
        self._table = self._dht.routing_table
        self._streams: Counter[str] = Counter()
        host.remove_stream_handler(PROTOCOL_ID)
        host.set_stream_handler(settings.kad_protocol, self._handle)

    async def _handle(self, stream: Any) -> None:
        peer_id = str(stream.muxed_conn.peer_id)
        if self._streams[peer_id] >= SLOTS_OF_ONE:
            log.debug("peer %s has too many streams of the DHT open", peer_id)
            await quietly(stream.reset)
            return
        self._streams[peer_id] += 1
        sender.set(peer_id)
        try:
            with trio.move_on_after(STREAM_LIFE) as life:
                await self._dht.handle_stream(stream)
            if life.cancelled_caught:
                await quietly(stream.reset)
        finally:
            self._streams[peer_id] -= 1
            if not self._streams[peer_id]:
                del self._streams[peer_id]

    async def learn(self, peer: PeerAddress) -> None:
        """Put a peer that serves our DHT into the routing table, under the addresses it has now."""
        addresses = [Multiaddr(address) for address in dialable(peer.addresses)]
        if not addresses:
            return
        peer_id = ID(peer_id_bytes(peer.peer_id))
        self._host.get_peerstore().add_addrs(peer_id, addresses, 24 * 3600)
        known = self._table.get_peer_info(peer_id)
        if known is not None and known.addrs != addresses:
            self._table.remove_peer(peer_id)
        with trio.move_on_after(LEARNING):
            await self._table.add_peer(PeerInfo(peer_id, addresses), skip_server_mode_check=True)

    def forget(self, peer_id: str) -> None:
        """Take a peer that does not answer out of the routing table."""
        self._table.remove_peer(ID(peer_id_bytes(peer_id)))

    def serves(self, peer_id: str) -> bool:
        """Whether a peer is in the routing table."""
        return bool(self._table.peer_in_table(ID(peer_id_bytes(peer_id))))

    def size(self) -> int:
        """How many peers the routing table holds."""
        return int(self._table.size())

    def nearest(self, key: bytes, count: int) -> tuple[PeerAddress, ...]:
        """The peers of the routing table that are nearest to `key`."""
        found = []
        for peer_id in self._table.find_local_closest_peers(key, count):
            info = self._table.get_peer_info(peer_id)
            found.append(PeerAddress(str(peer_id), dialable(map(str, info.addrs))))
        return tuple(found)

    def clean(self) -> None:
        """Forget what has expired."""
        self.values.cleanup_expired()
        self.provider_records.cleanup_expired()


class RecordValidator(Validator):
    """The two questions the DHT asks of a record, answered by pure code."""

    def __init__(self, validate: Validate, select: Select) -> None:
        self._validate, self._select = validate, select

    def validate(self, key: str, value: bytes) -> None:
        if len(key.encode()) > MAX_KEY:
            raise ValueError(f"a key of {len(key.encode())} bytes, more than {MAX_KEY}")
        if len(value) > MAX_RECORD:
            raise ValueError(f"a record of {len(value)} bytes, more than {MAX_RECORD}")
        self._validate(key, value)

    def select(self, key: str, values: list[bytes]) -> int:
        return self._select(values)


async def _add_nobody(peer_id: Any, *, skip_server_mode_check: bool = False) -> bool:
    """Asking is not serving: the routing table learns from identify only."""
    return False
