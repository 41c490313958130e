"""What a host does by itself: stay connected, keep its routing table fresh, forget the expired.

The library's own maintenance is not run: it looks peers up with long time-outs and republishes
from stores that we do not use (kad_dht.py `_run_main_loop`).

Rules it keeps
- While nobody is connected the bootstraps are tried again, with pauses that double up to a minute.
- A new peer of the DHT refreshes the routing table, at most every few seconds, and only while the
  table is small; after that, every ten minutes is enough.
- Addresses of connected peers are said again before the library forgets them.
- Where it is wanted, peers are looked for on the local network once we listen (`discovery`).
"""

import random
import secrets
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

import trio

from p2phub.errors import RemoteError
from p2phub.network.libp2p_addresses import interface_ips
from p2phub.network.libp2p_kad import KadServer
from p2phub.network.libp2p_patches import log
from p2phub.network.libp2p_records import DhtRecords
from p2phub.network.libp2p_settings import NetworkSettings
from p2phub.network.lookup import K, peer_id_bytes
from p2phub.protocol.ports import PeerAddress

FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 60.0
"""Seconds between two rounds over the bootstraps."""
REFRESH: Final = 600.0
"""Seconds between two refreshes of the routing table when nothing happens."""
SETTLING: Final = 0.2
"""Seconds in which several new peers count as one event."""
REST: Final = 5.0
"""Seconds between two refreshes at least."""
RANDOM_WALKS: Final = 3
"""Look-ups of random keys in one refresh, beside that of our own."""


class Household(Protocol):
    """What there is to look after: a session."""

    host: Any
    settings: NetworkSettings
    kad: KadServer
    records: DhtRecords

    def own(self) -> PeerAddress: ...

    def connected(self) -> tuple[str, ...]: ...

    def is_connected(self, peer_id: str) -> bool: ...

    def listening(self) -> tuple[str, ...]: ...

    def peers(self) -> tuple[PeerAddress, ...]: ...

    async def connect(self, peer: PeerAddress) -> None: ...

    def spawn(self, task: Callable[..., Awaitable[object]], *arguments: Any) -> None: ...


class Upkeep:
    def __init__(self, session: Household) -> None:
        self._session = session
        self._bootstraps = session.settings.bootstrap_peers()
        self._alone, self._refresh = trio.Event(), trio.Event()

    async def start(self) -> None:
        """Try the bootstraps once, then keep going in the background."""
        if self._session.settings.mdns:
            self._session.spawn(self._look_around)
        await self._connect_bootstraps()
        self._session.spawn(self._stay_connected)
        self._session.spawn(self._stay_fresh)
        self._session.spawn(self._clean)

    def on_new_server(self, peer_id: str) -> None:
        """A peer that serves the DHT is known now."""
        if self._session.kad.size() <= K or peer_id in {each.peer_id for each in self._bootstraps}:
            self._refresh.set()

    def on_disconnected(self) -> None:
        """A peer is gone."""
        if not self._session.connected():
            self._alone.set()

    async def _stay_connected(self) -> None:
        pause = FIRST_PAUSE
        while True:
            if self._session.connected():
                pause, self._alone = FIRST_PAUSE, trio.Event()
                if not self._session.connected():
                    continue
                await self._alone.wait()
            await trio.sleep(pause * random.uniform(0.8, 1.2))
            pause = min(LONGEST_PAUSE, 2 * pause)
            if not self._session.connected():
                await self._connect_bootstraps()

    async def _connect_bootstraps(self) -> None:
        async with trio.open_nursery() as nursery:
            for peer in self._bootstraps:
                nursery.start_soon(self._connect, peer, "a bootstrap")

    async def _connect(self, peer: PeerAddress, what: str) -> None:
        try:
            await self._session.connect(peer)
        except RemoteError as error:
            log.info("%s: %s", what, error)

    async def _look_around(self) -> None:
        from p2phub.network.discovery import Place, discover, place_of  # only where it is wanted

        session = self._session

        def here() -> Place:
            return place_of(session.own().peer_id, session.listening(), interface_ips())

        async def meet(peer: PeerAddress) -> None:
            if not session.is_connected(peer.peer_id):
                await self._connect(peer, "a peer on the local network")

        await discover(here, meet, session.settings.psk)

    async def _stay_fresh(self) -> None:
        while True:
            with trio.move_on_after(REFRESH * random.uniform(0.8, 1.2)):
                await self._refresh.wait()
            await trio.sleep(SETTLING)
            self._refresh = trio.Event()
            await self._session.records.near(peer_id_bytes(self._session.own().peer_id))
            for _ in range(RANDOM_WALKS if self._session.kad.size() > K else 0):
                await self._session.records.near(secrets.token_bytes(32))
            await trio.sleep(REST)

    async def _clean(self) -> None:
        while True:
            await trio.sleep(REFRESH)
            self._session.kad.clean()
            for peer in self._session.peers():
                if self._session.kad.serves(peer.peer_id):
                    await self._session.kad.learn(peer)
            self._session.host.get_peerstore()._cleanup_expired_records()
