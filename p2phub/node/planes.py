"""The two planes of one node: what they are told from the configuration, and how a peer is greeted.

The data plane listens first; the control plane then tells peers where it is. Both show the same
`Library`. Greeting a peer (`hello`) gives us its data addresses and a ticket, and that makes a
`PeerSource`.
"""

import logging
import re
from pathlib import Path

from p2phub import __version__
from p2phub.config import Config
from p2phub.errors import ConfigError
from p2phub.network.addresses import data_addresses
from p2phub.network.control_client import ControlClient
from p2phub.network.data_server import DataServer
from p2phub.network.libp2p_certificate import make_certificate
from p2phub.network.libp2p_settings import NetworkSettings
from p2phub.network.peer_source import PeerSource
from p2phub.network.throttle import UNLIMITED, Throttle
from p2phub.network.tickets import Tickets
from p2phub.node.library import Library
from p2phub.protocol.ports import ControlNetwork, PeerAddress

log = logging.getLogger(__name__)
AGENT = f"p2phub/{__version__}"


def network_settings(config: Config, home: Path) -> NetworkSettings:
    """The control plane's settings; relative paths are meant from `home`. Raises `ConfigError`."""
    wanted = config.network
    return NetworkSettings(
        listen=wanted.listen,
        announce=wanted.announce,
        bootstrap=wanted.bootstrap,
        kad_protocol=f"/{wanted.name}/kad/1.0.0",
        gossip_topic=f"/{wanted.name}/news/1.0.0",
        psk=_private_key(home / wanted.psk_file) if wanted.psk_file else None,
        mdns=wanted.mdns,
        agent=AGENT,
    )


def data_server(
    config: Config, seed: bytes, library: Library, tickets: Tickets, up: Throttle
) -> DataServer:
    """The data plane, which listens once it is started."""
    where = config.network.data_listen
    return DataServer(
        where.host,
        where.port,
        make_certificate(seed),
        library,
        tickets,
        connections=config.swarm.accepted,
        per_peer=config.swarm.accepted_per_peer,
        uploads=config.swarm.uploads,
        up=up,
    )


def _private_key(path: Path) -> bytes:
    """The key of a private network, 64 hexadecimal digits in a file."""
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            text = file.read(1024).strip()
    except OSError as error:
        raise ConfigError(
            f"[network] psk_file {path} cannot be read: {error.strerror}",
            remedy="name a file that you may read, or leave psk_file empty",
        ) from None
    if re.fullmatch(r"[0-9a-fA-F]{64}", text) is None:
        raise ConfigError(f"[network] psk_file {path} does not hold 64 hexadecimal digits")
    return bytes.fromhex(text)


class Greeter:
    """Makes sources of peers: `hello`, data addresses, ticket."""

    def __init__(
        self,
        network: ControlNetwork,
        control: ControlClient,
        connections: int,
        down: Throttle = UNLIMITED,
    ) -> None:
        self._network, self._control = network, control
        self._connections, self._down = connections, down

    async def source(self, peer: PeerAddress) -> PeerSource:
        """A connected peer as a source. Raises `RemoteError`."""
        reply = await self._control.hello(peer.peer_id)

        async def renew() -> bytes:
            return (await self._control.hello(peer.peer_id)).ticket

        return PeerSource(
            peer.peer_id,
            data_addresses(reply.data_addresses, reply.data_port, peer),
            reply.ticket,
            connections=self._connections,
            network=self._network,
            renew=renew,
            tell=log.warning,
            down=self._down,
        )
