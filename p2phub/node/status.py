"""What a running node says of itself."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Status:
    """What the node is doing now."""

    peers: int
    """Peers connected."""
    repos: int
    """Repos held on this disk, whole or in part."""
    bytes: int
    """Bytes of all blobs held."""
    transfers: int
    """Pulls and uploads going on."""
    up_rate: float
    """Bytes a second sent, averaged over the last seconds."""
    down_rate: float
    """Bytes a second received, averaged over the last seconds."""
    announce_lag: float
    """Seconds that the oldest announcement not yet in the DHT has waited; 0 when none waits."""
    peer_id: str = ""
    data_address: str | None = None
    """`host:port` of the data plane; None when it does not listen."""
    host_restarts: int = 0
    """How often the libp2p host had to be started again."""
    up_limit: int = 0
    """Bytes a second that may be sent now; 0 is no limit."""
    down_limit: int = 0
    """Bytes a second that may be fetched now; 0 is no limit."""
    up_limit_per_peer: int = 0
    """Bytes a second that may be sent to one peer now; 0 is no limit."""
    down_limit_per_peer: int = 0
    """Bytes a second that may be fetched from one source now; 0 is no limit."""
    uptime: float = 0.0
    """Seconds since the node was ready."""
