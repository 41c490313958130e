"""A libp2p host made of the parts that are safe to use, and taken down without leftovers.

Rules it keeps
- Noise first, TLS second, nothing else. The library offers SECIO and plaintext as well, so that a
  client without encryption connects to a default host (`new_host`, __init__.py:661).
  TLS comes second because js-libp2p does not understand that of 0.8.1 (certificate.py:232).
  Tests: test_libp2p_host.py::test_a_dial_without_encryption_is_refused,
  test_libp2p_host.py::test_peers_speak_noise_to_each_other.
- TCP and yamux only. Through QUIC a peer gets past the key of a private network, and QUIC streams
  lose bytes from the middle (transport/quic/stream.py:635, swarm.py:1138).
  Test: test_libp2p_host.py::test_nothing_but_tcp_can_be_dialled_or_listened_on.
- A dial is tried once: three tries with pauses cost 0.7 s for every dead peer (swarm.py:982).
  Test: test_libp2p_dial.py::test_a_dead_peer_is_known_at_once.
- All connections may be inbound, and those that are refused cost the others nothing. The library's
  "degradation" is off: it takes away a fifth of a limit that is reached (rcmgr/manager.py:338).
  Tests: test_libp2p_host.py::test_refusals_do_not_close_the_door,
  test_libp2p_faults.py::test_a_limit_that_is_reached_stays_what_it_is.
- The library does not dial by itself: it would fill half of the connections with whoever it heard
  of, every 30 s, also when it is told to keep none (network/auto_connector.py:297).
  Test: test_libp2p_host.py::test_nobody_is_dialled_whom_we_did_not_ask_for.
- Taking a host down closes its sockets first, whatever ended it: leaving `host.run()` leaves them
  open and peers see a frozen node (host/basic_host.py:574). What will not say goodbye in time, or
  was being dialled just then, is cut.
  Tests: test_libp2p_host.py::test_a_host_that_ends_closes_its_sockets,
  test_libp2p_host.py::test_a_connection_that_takes_no_goodbye_is_cut.

It leaves who is dialled, and when, to `libp2p_session`.
"""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final
from weakref import WeakSet

import libp2p.identity.identify.identify as identify
import trio
from libp2p import new_host
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_new_x25519_key_pair
from libp2p.network.config import ConnectionConfig, RetryConfig
from libp2p.rcmgr.connection_limits import ConnectionLimits
from libp2p.rcmgr.manager import ResourceLimits, ResourceManager
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as NoiseTransport
from libp2p.security.tls.transport import PROTOCOL_ID as TLS
from libp2p.security.tls.transport import TLSTransport
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX
from libp2p.stream_muxer.yamux.yamux import Yamux
from multiaddr import Multiaddr

from p2phub.errors import PortInUseError
from p2phub.network.libp2p_addresses import announced, interface_ips
from p2phub.network.libp2p_patches import install, quietly
from p2phub.network.libp2p_settings import NetworkSettings

MAX_STREAMS: Final = 4000
MAX_CONNECTIONS_PER_PEER: Final = 8
HANDSHAKE_TIMEOUT: Final = 10
"""Seconds in which whoever connects must have proved who they are."""
INTERFACES_KEPT: Final = 30.0
"""Seconds after which the addresses of our interfaces are looked up again."""
CLOSING: Final = 5.0
"""Seconds that taking a host down may take."""


def build_host(seed: bytes, settings: NetworkSettings, listen: Sequence[str]) -> Any:
    """A host that is not running yet."""
    install()
    identify.AGENT_VERSION = settings.agent
    keys = create_new_key_pair(seed)
    noise_key = create_new_x25519_key_pair().private_key
    host = new_host(
        key_pair=keys,
        listen_addrs=[Multiaddr(address) for address in listen],
        sec_opt={NOISE: NoiseTransport(keys, noise_privkey=noise_key), TLS: TLSTransport(keys)},
        muxer_opt={YAMUX: Yamux},
        connection_config=_connection_config(settings),
        resource_manager=_resource_manager(settings),
        psk=settings.psk.hex() if settings.psk else None,
        addrs_factory=_Announcer(settings).addresses,
        disable_identify_address_discovery=True,
        enable_quic=False,
        enable_mDNS=False,
    )
    swarm = host.get_network()
    swarm.retry_config = RetryConfig(max_retries=0)
    swarm.auto_connector.maybe_connect = _dial_nobody
    return host


async def _dial_nobody() -> None: ...


@asynccontextmanager
async def running(host: Any, listen: Sequence[str]) -> AsyncIterator[None]:
    """Run `host` and listen. Raises `PortInUseError` when one of the addresses cannot be had."""
    addresses = [Multiaddr(address) for address in listen]
    dialled = _remember_dialled(host)
    async with host.run(addresses):
        try:
            for address in addresses:
                if str(address) not in host.get_network().listeners:
                    raise PortInUseError(
                        f"cannot listen on {address}: somebody else does, or it is not ours",
                        remedy="Stop the other program, or change [network] listen in node.toml.",
                    )
            yield
        finally:
            with trio.move_on_after(CLOSING) as scope:
                scope.shield = True
                await _close(host)
            for stream in list(dialled):
                stream.socket.close()


def _remember_dialled(host: Any) -> WeakSet[trio.SocketStream]:
    """The sockets of the connections that `host` makes from now on."""
    dialled: WeakSet[trio.SocketStream] = WeakSet()
    for transport in host.get_network().transport_manager.get_transports():
        transport.dial = _remembering(transport.dial, dialled)
    return dialled


def _remembering(dial: Any, dialled: WeakSet[trio.SocketStream]) -> Any:
    async def dial_and_remember(address: Multiaddr) -> Any:
        connection = await dial(address)
        dialled.add(connection.stream.stream)
        return connection

    return dial_and_remember


async def _close(host: Any) -> None:
    """Close all connections at once: the library takes 0.2 s for each, one after the other."""
    async with trio.open_nursery() as nursery:
        for connection in host.get_network().get_connections():
            nursery.start_soon(_close_connection, connection)
    await quietly(host.close)


async def _close_connection(connection: Any) -> None:
    """Close the socket too: a cancelled `close` says "closed" and leaves it open."""
    await quietly(connection.close)
    if not connection.muxed_conn.is_closed:
        await quietly(connection.muxed_conn.close)


def _connection_config(settings: NetworkSettings) -> Any:
    return ConnectionConfig(
        max_connections=settings.max_connections,
        min_connections=0,
        low_watermark=0,
        high_watermark=settings.max_connections * 9 // 10,
        max_connections_per_peer=MAX_CONNECTIONS_PER_PEER,
        dial_timeout=settings.dial_timeout,
        inbound_upgrade_timeout=HANDSHAKE_TIMEOUT,
        outbound_upgrade_timeout=settings.dial_timeout,
    )


def _resource_manager(settings: NetworkSettings) -> Any:
    limits = ConnectionLimits(
        max_established_per_peer=MAX_CONNECTIONS_PER_PEER,
        max_established_total=settings.max_connections,
    )
    return ResourceManager(
        limits=ResourceLimits(2 * settings.max_connections, max_streams=MAX_STREAMS),
        connection_limits=limits,
        enable_metrics=False,
        enable_memory_limits=False,
        enable_circuit_breaker=False,
        enable_graceful_degradation=False,
        enable_rate_limiting=False,
    )


class _Announcer:
    """What the host tells others of where it listens; asked for with every message of the DHT."""

    def __init__(self, settings: NetworkSettings) -> None:
        self._settings = settings
        self._interfaces: tuple[str, ...] = ()
        self._looked_up = -INTERFACES_KEPT
        self._told: dict[tuple[str, ...], list[Any]] = {}

    def addresses(self, listening: list[Any]) -> list[Any]:
        if self._settings.announce:
            return [Multiaddr(address) for address in self._settings.announce]
        if time.monotonic() - self._looked_up >= INTERFACES_KEPT:
            self._interfaces, self._looked_up = interface_ips(), time.monotonic()
            self._told.clear()
        key = tuple(str(address) for address in listening)
        if key not in self._told:
            self._told[key] = [Multiaddr(each) for each in announced(key, self._interfaces)]
        return list(self._told[key])
