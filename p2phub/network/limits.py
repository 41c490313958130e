"""How long a peer may take, and how much it may ask for at once.

Limits on sizes are in `p2phub.formats.limits`. Whoever talks to a peer takes a `Patience`, so that
tests of slow peers are quick.
"""

from dataclasses import dataclass
from typing import Final

from p2phub.formats.limits import KIB, MIB

MAX_HTTP_HEAD: Final = 16 * KIB
"""Bytes of the head of a request or an answer."""
MAX_WEB_HEAD: Final = 128 * KIB
"""Bytes of the head of an answer of an ordinary web server, which says more than a peer does."""
MAX_CONNECTIONS: Final = 256
"""Data connections open at once."""
MAX_CONNECTIONS_PER_PEER: Final = 32
"""Of them, those of one peer that showed its ticket, or of one address that showed none."""
MAX_UPLOADS: Final = 64
"""Files that are sent at once."""
COME_AGAIN: Final = 1
"""Seconds after which a peer that found no place may ask again."""
MAX_TRIED: Final = 4
"""Data addresses of one peer that are tried."""
SEND_CHUNK: Final = 256 * KIB
"""Bytes read from a file and sent at once; more is not faster, and less is slower."""
LEAST_PROGRESS: Final = 4 * KIB
"""Bytes that must come within `Patience.progress`: a drip is not progress."""
MAX_STREAM_RANGE: Final = 8 * MIB
"""Bytes of one answer over a libp2p stream. A reader holds so much without pausing: the writer of a
stream gives up when its reader pauses for 5 s."""
MAX_STREAMS_PER_PEER: Final = 8
"""Streams of one protocol that one peer may have open at once."""
MAX_FOLLOWED: Final = 16
"""Files whose news one question may ask for."""
MAX_FOLLOWING_PER_PEER: Final = 32
"""Such questions that one peer may have open at once: one for each file that it fetches."""
MAX_FOLLOWING: Final = 512
"""Such questions of all peers together."""
FOLLOW_SECONDS: Final = 3600.0
"""How long such a question stays open at most; whoever still wants to know asks again."""
TICKET_SECONDS: Final = 3600
MAX_TICKETS: Final = 10_000
MAX_TICKETS_PER_PEER: Final = 4


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds."""

    connect: float = 3.0
    """For the TCP connection to one address."""
    handshake: float = 5.0
    """For TLS, from the first byte to the last."""
    request: float = 10.0
    """For the head of a request or an answer; for one question on the control plane, answered."""
    progress: float = 10.0
    """Without progress in a body, in either direction."""
    turn: float = 5.0
    """For an upload slot, before a peer is told to come again later."""
    busy: float = 30.0
    """Of a busy peer that says again and again that we should come later."""
    idle: float = 30.0
    """Until the next request on an open connection."""
    retry_direct: float = 60.0
    """Before the data port of a peer is tried again after it did not answer."""
