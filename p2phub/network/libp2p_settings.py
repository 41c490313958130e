"""What a libp2p host is told before it starts, checked. No libp2p in here.

>>> NetworkSettings(listen=("/ip4/127.0.0.1/tcp/0",)).kad_protocol
'/p2phub/kad/1.0.0'
"""

from dataclasses import dataclass
from typing import Final

from p2phub.errors import ConfigError
from p2phub.network.libp2p_addresses import check_listen, dialable, parse_peer
from p2phub.network.lookup import PATIENCE
from p2phub.protocol.ports import PeerAddress

PSK_LENGTH: Final = 32
"""Bytes of the key that all nodes of a private network share."""


@dataclass(frozen=True, slots=True)
class NetworkSettings:
    """The network part of a node's configuration, in libp2p's terms. Raises `ConfigError`."""

    listen: tuple[str, ...]
    """Multiaddrs; port 0 takes a free one and keeps it over restarts of the host."""
    announce: tuple[str, ...] = ()
    """What to tell others instead of the addresses we listen on; empty: find out."""
    bootstrap: tuple[str, ...] = ()
    """Full multiaddrs of peers to start from."""
    kad_protocol: str = "/p2phub/kad/1.0.0"
    gossip_topic: str = "/p2phub/news/1.0.0"
    """Who gossips about another topic hears nothing of ours."""
    psk: bytes | None = None
    mdns: bool = False
    max_connections: int = 300
    query_timeout: float = 2.5
    """Seconds that one question to one peer of the DHT may take."""
    patience: float = PATIENCE
    """Seconds of silence after which a look-up asks another peer as well."""
    dial_timeout: float = 5.0
    """Seconds until a connection must stand, handshakes included."""
    agent: str = "p2phub"
    """What we say that we are when a peer asks."""

    def __post_init__(self) -> None:
        for text in self.listen:
            check_listen(text)
        if len(dialable(self.announce)) != len(self.announce):
            raise ConfigError(
                "announce holds an address that nobody could dial",
                remedy="Use different TCP addresses such as /ip4/203.0.113.7/tcp/4042.",
            )
        if self.psk is not None and len(self.psk) != PSK_LENGTH:
            raise ConfigError(f"the key of a private network has {PSK_LENGTH} bytes")
        if not self.kad_protocol.startswith("/"):
            raise ConfigError(f"the DHT protocol {self.kad_protocol!r} does not begin with /")

    def bootstrap_peers(self) -> tuple[PeerAddress, ...]:
        """Where to start, one entry a peer with all its addresses."""
        merged: dict[str, tuple[str, ...]] = {}
        for each in map(parse_peer, self.bootstrap):
            merged[each.peer_id] = (*merged.get(each.peer_id, ()), *each.addresses)
        return tuple(PeerAddress(peer_id, addresses) for peer_id, addresses in merged.items())
