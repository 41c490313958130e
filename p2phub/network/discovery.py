"""Peers on the local network, found by multicast DNS as libp2p's mDNS specification says.

A node announces `<random name>._p2p._udp.local` with one TXT string `dnsaddr=<multiaddr>/p2p/<id>`
for each address it listens on, asks for the service, and connects to whoever answers.

Rules it keeps
- Only while it runs: nothing is bound or sent before the host listens, and nothing at all where it
  is switched off or where only loopback is listened on (libp2p 0.8.1 binds every interface and
  announces 127.0.0.1:4001 when nobody listens; discovery/mdns/mdns.py:55, broadcaster.py:103).
- Multicast goes through the interfaces we listen on and no others; when they or our addresses
  change, it starts anew.
- The name is random: it tells nobody who we are. A private network has a service name of its own,
  made of its key in a way that does not give the key away.
- What a stranger announces is cut: few peers, few addresses, IPs only, no loopback. An address
  proves itself when it is dialled.
- A local network without multicast is everyday life: it is told once and tried again later.

It leaves dialling, and what to do with a peer, to `found`. It speaks IPv4 multicast only.

>>> peer = PeerAddress("12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN",
...                    ("/ip4/192.0.2.7/tcp/4042",))
>>> read_txt(write_txt(peer)) == (peer,)
True
>>> service_name(None), multicast_ips(["/ip4/0.0.0.0/tcp/4042"], ["127.0.0.1", "192.0.2.7"])
('_p2p._udp.local.', ('192.0.2.7',))
"""

import asyncio
import concurrent.futures
import hashlib
import ipaddress
import logging
import math
import secrets
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import trio
import zeroconf

from p2phub.errors import UsageError
from p2phub.network.libp2p_addresses import announced, check_listen, parse_peer
from p2phub.protocol.ports import PeerAddress

MAX_TOLD: Final = 8
"""Addresses that we announce; the answer is to fit into one packet."""
MAX_TXT: Final = 4096
"""Bytes of a TXT record that we read."""
MAX_SIGHTED: Final = 256
"""Peers on the local network that we keep in mind."""
MAX_LIFE: Final = 4500.0
"""Seconds for which an announcement counts at most."""
RENEW: Final = 60.0
"""Seconds between two looks at our own addresses and interfaces."""
REST: Final = 10.0
"""Seconds between two tries of one peer, however often it announces itself."""
AGAIN: Final = 300.0
"""Seconds until a peer that is silent now is tried again."""
AT_ONCE: Final = 4
"""Peers that are being connected to at once."""
FAREWELL: Final = 3.0
"""Seconds that saying goodbye may take."""
_KEY: Final = b"dnsaddr="
_TXT: Final = 16
"""The number of the DNS type TXT."""
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Place:
    """Where we can be met: our addresses, and the IPs of the interfaces to multicast on."""

    peer: PeerAddress
    interfaces: tuple[str, ...]


async def discover(
    place: Callable[[], Place],
    found: Callable[[PeerAddress], Awaitable[None]],
    network_key: bytes | None = None,
) -> None:
    """Announce `place()` and call `found` for whoever is near, until cancelled."""
    sightings, told = Sightings(), False
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_follow, sightings, found)
        while True:
            problem = await _announce(place, service_name(network_key), sightings)
            if problem is not None:
                level = logging.DEBUG if told else logging.WARNING
                log.log(level, "no peers are looked for on the local network: %r", problem)
                told = True
                await trio.sleep(RENEW)


async def _announce(
    place: Callable[[], Place], service: str, sightings: "Sightings"
) -> Exception | None:
    """Be heard and listen until we are to be met elsewhere; what went wrong, if anything did."""
    here = place()
    if not here.interfaces or not here.peer.addresses:
        await trio.sleep(RENEW)
        return None
    try:
        async with _multicast(here, service, sightings):
            while place() == here:  # noqa: ASYNC110 - the system tells of no change
                await trio.sleep(RENEW)
    except (OSError, zeroconf.Error) as error:
        return error
    return None


async def _follow(sightings: "Sightings", found: Callable[[PeerAddress], Awaitable[None]]) -> None:
    limit = trio.CapacityLimiter(AT_ONCE)

    async def meet(peer: PeerAddress) -> None:
        async with limit:
            await found(peer)

    async with trio.open_nursery() as nursery:
        while True:
            for peer in sightings.due(trio.current_time()):
                nursery.start_soon(meet, peer)
            with trio.move_on_after(REST):
                await sightings.changed.wait()
                sightings.changed = trio.Event()


@asynccontextmanager
async def _multicast(here: Place, service: str, sightings: "Sightings") -> AsyncIterator[None]:
    """Announce and listen in zeroconf's own thread for as long as the block lasts."""
    station = _Station(here, service, _Listener(here.peer.peer_id, service, sightings))
    try:
        await trio.to_thread.run_sync(station.start)
        yield
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(station.stop)


class _Station:
    """zeroconf on our interfaces. It has a thread of its own, and nobody waits for it to announce
    us: that takes it more than a second.
    """

    def __init__(self, here: Place, service: str, listener: "_Listener") -> None:
        self._here, self._service, self._listener = here, service, listener
        self._network: zeroconf.Zeroconf | None = None
        self._announcing: concurrent.futures.Future[object] | None = None

    def start(self) -> None:
        """Bind and begin to announce. Raises `OSError` and zeroconf's errors."""
        network = self._network = zeroconf.Zeroconf(
            interfaces=list(self._here.interfaces),
            ip_version=zeroconf.IPVersion.V4Only,
            use_asyncio=False,
        )
        network.add_listener(self._listener, None)
        network.add_service_listener(self._service, _Asker())
        if network.loop is not None:
            announce = network.async_register_service(self._announcement(), strict=False)
            self._announcing = asyncio.run_coroutine_threadsafe(announce, network.loop)
            self._announcing.add_done_callback(_tell_of_failure)

    def stop(self) -> None:
        """Say goodbye and unbind."""
        if self._announcing is not None:
            self._announcing.cancel()
        if self._network is not None:
            farewell = threading.Thread(target=self._network.close, name="mdns-end", daemon=True)
            farewell.start()
            farewell.join(FAREWELL)

    def _announcement(self) -> zeroconf.ServiceInfo:
        name = secrets.token_hex(16)
        _, port = check_listen(self._here.peer.addresses[0])
        return zeroconf.ServiceInfo(
            self._service,
            f"{name}.{self._service}",
            port=port,
            properties=write_txt(self._here.peer),
            server=f"{name}.local.",
            parsed_addresses=list(self._here.interfaces),
        )


def _tell_of_failure(announcing: "concurrent.futures.Future[object]") -> None:
    if not announcing.cancelled() and announcing.exception() is not None:
        log.warning("we are not announced on the local network: %r", announcing.exception())


class _Asker(zeroconf.ServiceListener):
    """Makes zeroconf ask for the service; the answers are read by `_Listener`."""

    def add_service(self, zc: zeroconf.Zeroconf, type_: str, name: str) -> None: ...

    def remove_service(self, zc: zeroconf.Zeroconf, type_: str, name: str) -> None: ...

    def update_service(self, zc: zeroconf.Zeroconf, type_: str, name: str) -> None: ...


class _Listener(zeroconf.RecordUpdateListener):
    """Reads the TXT records of the service as they arrive, in zeroconf's thread."""

    def __init__(self, own_id: str, service: str, sightings: "Sightings") -> None:
        self._own_id, self._suffix = own_id, f".{service}".lower()
        self._sightings = sightings
        self._token = trio.lowlevel.current_trio_token()

    def async_update_records(
        self, zc: zeroconf.Zeroconf, now: float, records: list[zeroconf.RecordUpdate]
    ) -> None:
        seen = [
            (peer, float(each.new.ttl))
            for each in records
            if each.new.type == _TXT and each.new.name.lower().endswith(self._suffix)
            for peer in read_txt(getattr(each.new, "text", b""))
            if peer.peer_id != self._own_id
        ]
        try:
            for peer, life in seen:
                self._token.run_sync_soon(self._see, peer, life)
        except trio.RunFinishedError:
            log.debug("a peer was seen after the end")

    def async_update_records_complete(self) -> None: ...

    def _see(self, peer: PeerAddress, life: float) -> None:
        self._sightings.see(peer, life, trio.current_time())


@dataclass(slots=True)
class _Sighting:
    peer: PeerAddress
    ends: float
    due: float
    tried: float


class Sightings:
    """Who was seen on the local network, and who is to be tried next."""

    def __init__(self) -> None:
        self.changed = trio.Event()
        self._seen: dict[str, _Sighting] = {}

    def see(self, peer: PeerAddress, life: float, now: float) -> None:
        """A peer announces itself for `life` seconds; 0 is its goodbye."""
        known = self._seen.get(peer.peer_id)
        self._seen = {each: seen for each, seen in self._seen.items() if seen.ends > now}
        if life <= 0:
            self._seen.pop(peer.peer_id, None)
        elif known is not None or len(self._seen) < MAX_SIGHTED:
            tried = known.tried if known is not None else -math.inf
            due = max(now, tried + REST)
            self._seen[peer.peer_id] = _Sighting(peer, now + min(life, MAX_LIFE), due, tried)
            self.changed.set()

    def due(self, now: float) -> tuple[PeerAddress, ...]:
        """Those to be tried now; they are due again after a while."""
        ready = [seen for seen in self._seen.values() if seen.due <= now < seen.ends]
        for each in ready:
            each.tried, each.due = now, now + AGAIN
        return tuple(each.peer for each in ready)


# ---------------------------------------------------------------- what is said


def service_name(network_key: bytes | None) -> str:
    """`_p2p._udp.local.`, or that of a private network with a fingerprint of its key."""
    if network_key is None:
        return "_p2p._udp.local."
    fingerprint = hashlib.sha256(b"p2phub mDNS name of a private network" + network_key)
    return f"_p2p-{fingerprint.hexdigest()[:32]}._udp.local."


def multicast_ips(listen: Iterable[str], interfaces: Sequence[str]) -> tuple[str, ...]:
    """The IPv4 addresses of the interfaces that `listen` listens on, loopback left out."""
    chosen: dict[str, None] = {}
    for host, _ in map(check_listen, listen):
        address = ipaddress.ip_address(host)
        if address.version == 4:
            chosen.update(dict.fromkeys(interfaces if address.is_unspecified else [host]))
    return tuple(ip for ip in chosen if _can_multicast(ip) and ip in interfaces)


def place_of(peer_id: str, listening: Sequence[str], interfaces: Sequence[str]) -> Place:
    """What to announce: `listening` as others on the same network can dial it."""
    addresses = announced(listening, interfaces)
    near = [text for text in addresses if not ipaddress.ip_address(_host(text)).is_loopback]
    return Place(PeerAddress(peer_id, tuple(near[:MAX_TOLD])), multicast_ips(listening, interfaces))


def write_txt(peer: PeerAddress) -> bytes:
    """The data of a TXT record: strings of at most 255 bytes, each after its length."""
    strings = [_KEY + f"{text}/p2p/{peer.peer_id}".encode() for text in peer.addresses]
    return b"".join(bytes([len(each)]) + each for each in strings if len(each) < 256)


def read_txt(data: bytes) -> tuple[PeerAddress, ...]:
    """The peer that a TXT record announces, if it is a peer of our kind.

    A record that speaks of several peers, or of none, is nobody's.
    """
    peers = []
    for text in _strings(data[:MAX_TXT]):
        try:
            peers.append(parse_peer(text))
        except UsageError:
            continue
    near = [peer for peer in peers if _is_near(peer.addresses[0])][:MAX_TOLD]
    if len({peer.peer_id for peer in near}) != 1:
        return ()
    addresses = dict.fromkeys(peer.addresses[0] for peer in near)
    return (PeerAddress(near[0].peer_id, tuple(addresses)),)


def _strings(data: bytes) -> Iterator[str]:
    while data:
        string, data = data[1 : 1 + data[0]], data[1 + data[0] :]
        if string.lower().startswith(_KEY):
            yield string[len(_KEY) :].decode("ascii", "replace")


def _host(address: str) -> str:
    return address.split("/")[2]


def _is_near(address: str) -> bool:
    """Whether it is an IP that is not our own loopback."""
    return address.startswith("/ip") and not ipaddress.ip_address(_host(address)).is_loopback


def _can_multicast(ip: str) -> bool:
    address = ipaddress.ip_address(ip)
    return address.version == 4 and not address.is_loopback
