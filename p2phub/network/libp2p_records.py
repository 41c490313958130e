"""The client half of the DHT: heads and providers, over our own walk and the library's messages.

Defects of libp2p 0.8.1 it answers, by not using the library's client
- `get_value` returns the local copy without asking (kad_dht.py:1415).
  Test: test_libp2p_records.py::test_a_newer_record_is_found_though_we_hold_an_older_one.
- `find_providers` returns only local records if there are any, and counts duplicates
  (provider_store.py:371, 433).
  Test: test_libp2p_records.py::test_a_provider_finds_the_other_providers.
- `provide` reports success for records that were refused (provider_store.py:326).
  Test: test_libp2p_records.py::test_a_refused_provide_is_told_again.
- Records and keys are republished by the library only every 22 h, and never after a restart with
  nobody connected (value_store.py:259): whoever owns a record puts it again in time.

Rules it keeps
- The network is always asked; only `enough` ends a walk early.
- Heads are looked up on two disjoint paths. Whoever holds an older head is given the best one.
- Provider records are paced below what a receiver takes, and told again to those who refused.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import trio
from libp2p.kad_dht.pb.kademlia_pb2 import Message, Record
from multiaddr import Multiaddr

from p2phub.errors import NoSourceError, RemoteError, TooSlowError
from p2phub.network.libp2p_kad import MAX_KEY, KadServer, Select
from p2phub.network.libp2p_patches import log
from p2phub.network.libp2p_questions import Questions, peers_told, question
from p2phub.network.libp2p_settings import NetworkSettings
from p2phub.network.lookup import ALPHA, K, Lookup, peer_id_bytes
from p2phub.protocol.ports import PeerAddress

SHA256_MULTIHASH: Final = b"\x12\x20"
MAX_PROVIDERS_FOUND: Final = 1000
WRITING_PATIENCE: Final = 2.5
"""How many times more silence is forgiven to a peer that is to keep something."""
PROVIDE_BURST: Final = 60
PROVIDES_A_SECOND: Final = 12.0
"""Below the 200 in 10 s that our servers take from one peer, bursts included."""
PROVIDE_AGAIN: Final = (1.0, 3.0, 7.0)
"""Seconds until a receiver that refused is told again."""


class DhtRecords:
    """`ports.Records` over one host."""

    def __init__(
        self,
        own: Callable[[], PeerAddress],
        kad: KadServer,
        questions: Questions,
        settings: NetworkSettings,
        select: Select,
        spawn: Callable[..., None],
    ) -> None:
        self._own, self._kad, self._questions = own, kad, questions
        self._settings, self._select, self._spawn = settings, select, spawn
        self._pace = _Pace(PROVIDE_BURST, PROVIDES_A_SECOND)

    async def put_head(self, key: str, record: bytes) -> int:
        self._kad.validator.validate(key, record)
        held = self._held(key)
        if held is None or self._select([held, record]) == 1:
            self._kad.values.put_record(key.encode(), _record(key, record))
        peers = await self.near(key.encode())
        return await self._tell(peers, _put(key, record))

    async def get_heads(self, key: str) -> tuple[bytes, ...]:
        valid: dict[bytes, bool] = {}
        holders: dict[str, tuple[PeerAddress, bytes]] = {}

        async def query(peer: PeerAddress) -> Sequence[PeerAddress]:
            answer = await self._questions.ask(peer, question("GET_VALUE", _checked(key)))
            value = answer.record.value
            if value and value not in valid:
                valid[value] = self._is_valid(key, value)
            if value and valid[value]:
                holders[peer.peer_id] = (peer, value)
            return peers_told(answer.closerPeers)

        answers = await self._walk(key.encode(), query, paths=2)
        held = self._held(key)
        if not answers and held is None:
            raise NoSourceError(
                "nobody in the network answered",
                remedy="Is this machine online? `p2phub peers` shows who is connected.",
            )
        found = [value for value, is_valid in valid.items() if is_valid]
        if held is not None and held not in found:
            found.append(held)
        ordered = self._best_last(found)
        outdated = [peer for peer, value in holders.values() if value != ordered[-1]]
        if outdated:
            self._spawn(self._tell, outdated, _put(key, ordered[-1]))
        return tuple(ordered)

    async def provide(self, digest: bytes) -> int:
        key, own = SHA256_MULTIHASH + digest, self._own()
        message = question("ADD_PROVIDER", key)
        provider = message.providerPeers.add()
        provider.id = peer_id_bytes(own.peer_id)
        provider.addrs.extend(Multiaddr(address).to_bytes() for address in own.addresses)
        await self._pace.turn()
        peers = await self.near(key)
        return await self._tell(peers, message, again=PROVIDE_AGAIN)

    async def providers(self, digest: bytes, enough: int) -> tuple[PeerAddress, ...]:
        key, own_id = SHA256_MULTIHASH + digest, self._own().peer_id
        found: dict[str, tuple[str, ...]] = {}

        def keep(peers: Sequence[PeerAddress]) -> None:
            for peer in peers:
                if peer.peer_id != own_id and len(found) < MAX_PROVIDERS_FOUND:
                    both = (*found.get(peer.peer_id, ()), *peer.addresses)
                    found[peer.peer_id] = tuple(dict.fromkeys(both))

        async def query(peer: PeerAddress) -> Sequence[PeerAddress]:
            answer = await self._questions.ask(peer, question("GET_PROVIDERS", key))
            keep(peers_told(answer.providerPeers))
            return peers_told(answer.closerPeers)

        await self._walk(key, query, enough=lambda: len(found) >= enough)
        local = self._kad.provider_records.get_providers(key)
        keep([PeerAddress(str(each.peer_id), tuple(map(str, each.addrs))) for each in local])
        return tuple(PeerAddress(peer_id, addresses) for peer_id, addresses in found.items())

    async def near(self, key: bytes) -> tuple[PeerAddress, ...]:
        """The peers nearest to `key` that answer."""
        found: list[PeerAddress] = []

        async def query(peer: PeerAddress) -> Sequence[PeerAddress]:
            answer = await self._questions.ask(peer, question("FIND_NODE", key))
            return peers_told(answer.closerPeers)

        await self._walk(key, query, found=found, patience=WRITING_PATIENCE)
        return tuple(found)

    async def _walk(
        self,
        key: bytes,
        query: Callable[[PeerAddress], Any],
        *,
        paths: int = 1,
        enough: Callable[[], bool] = lambda: False,
        found: list[PeerAddress] | None = None,
        patience: float = 1.0,
    ) -> int:
        lookup = Lookup(
            key,
            query,
            own_id=self._own().peer_id,
            timeout=self._settings.query_timeout,
            paths=paths,
            patience=patience * self._settings.patience,
            enough=enough,
        )
        nearest = await lookup.run(self._kad.nearest(key, K))
        if found is not None:
            found.extend(nearest)
        return lookup.answers

    async def _tell(
        self, peers: Sequence[PeerAddress], message: Any, again: Sequence[float] = ()
    ) -> int:
        """Send `message` to all `peers`; the number of those that confirmed it."""
        taken, slots = 0, trio.Semaphore(ALPHA)

        async def tell(peer: PeerAddress) -> None:
            nonlocal taken
            for pause in (*again, None):
                try:
                    async with slots:
                        await self._questions.ask(peer, message)
                    taken += 1
                    return
                except TooSlowError:
                    return
                except RemoteError as error:
                    log.debug("peer %s does not take a record: %s", peer.peer_id, error)
                if pause is None:
                    return
                await trio.sleep(pause)

        async with trio.open_nursery() as nursery:
            for peer in peers:
                nursery.start_soon(tell, peer)
        return taken

    def _held(self, key: str) -> bytes | None:
        record = self._kad.values.get(_checked(key))
        return bytes(record.value) if record is not None else None

    def _is_valid(self, key: str, value: bytes) -> bool:
        try:
            self._kad.validator.validate(key, value)
        except Exception as error:
            log.debug("a record under %s is not valid: %s", key, error)
            return False
        return True

    def _best_last(self, values: list[bytes]) -> list[bytes]:
        rest, best_first = list(values), []
        while rest:
            best_first.append(rest.pop(self._select(rest)))
        return best_first[::-1]


class _Pace:
    """`burst` turns at once, then so many a second."""

    def __init__(self, burst: int, a_second: float) -> None:
        self._saved, self._step = burst / a_second, 1 / a_second
        self._ready = -math.inf

    async def turn(self) -> None:
        now = trio.current_time()
        self._ready = max(self._ready, now - self._saved) + self._step
        await trio.sleep(max(0.0, self._ready - now))


def _checked(key: str) -> bytes:
    data = key.encode()
    if len(data) > MAX_KEY:
        raise ValueError(f"a key of {len(data)} bytes: servers of the DHT take {MAX_KEY}")
    return data


def _record(key: str, value: bytes) -> Any:
    return Record(key=key.encode(), value=value)


def _put(key: str, value: bytes) -> Any:
    return Message(
        type=Message.MessageType.PUT_VALUE, key=_checked(key), record=_record(key, value)
    )
