"""Tickets: how a peer that proved its id on the control plane is known on the data plane.

A ticket is 32 random bytes, good for one peer and a short time, shown over TLS to the node that
issued it and to nobody else. It dies with the process.

Rules it keeps: only digests of tickets are held, so that looking one up leaks nothing about others;
a peer that asks again and again replaces its own tickets, never those of others; the clock of the
machine may be set while they live (`steady_time`).

>>> tickets = Tickets(random=bytes)
>>> ticket = tickets.issue("alice", now=100)
>>> tickets.peer_of(ticket, now=200), tickets.peer_of(ticket, now=5000), tickets.peer_of(b"", now=0)
('alice', None, None)
"""

import secrets
import threading
import time
from collections.abc import Callable

from p2phub.formats.digest import sha256
from p2phub.network.limits import MAX_TICKETS, MAX_TICKETS_PER_PEER, TICKET_SECONDS

TICKET_LENGTH = 32
_OFFSET = time.time() - time.monotonic()


def steady_time() -> int:
    """Unix seconds when this process began, and evenly on from there, whatever the clock is set to.

    A clock that is set forward would end every ticket; one that is set back, none for days.
    """
    return int(_OFFSET + time.monotonic())


class Tickets:
    """The tickets this node has issued. Every method may be called from any thread.

    `seconds`: how long one is good. `random(length)`: where its bytes come from.
    """

    def __init__(
        self,
        *,
        seconds: int = TICKET_SECONDS,
        random: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self.seconds = seconds
        self._random = random
        self._lock = threading.Lock()
        self._issued: dict[bytes, tuple[str, int]] = {}  # oldest first
        self._of_peer: dict[str, list[bytes]] = {}

    def issue(self, peer: str, now: int) -> bytes:
        """A fresh ticket for `peer`."""
        ticket = self._random(TICKET_LENGTH)
        key = sha256(ticket)
        with self._lock:
            self._drop_old(now)
            own = self._of_peer.setdefault(peer, [])
            if len(own) >= MAX_TICKETS_PER_PEER:
                self._drop(own[0])
            self._issued[key] = (peer, now + self.seconds)
            self._of_peer.setdefault(peer, []).append(key)
        return ticket

    def peer_of(self, ticket: bytes, now: int) -> str | None:
        """Who shows this ticket; None if it is unknown or has expired."""
        with self._lock:
            peer, expires = self._issued.get(sha256(ticket), ("", 0))
        return peer if now < expires else None

    def _drop_old(self, now: int) -> None:
        while self._issued:
            oldest, (_, expires) = next(iter(self._issued.items()))
            if now < expires and len(self._issued) < MAX_TICKETS:
                return
            self._drop(oldest)

    def _drop(self, key: bytes) -> None:
        peer, _ = self._issued.pop(key)
        own = self._of_peer[peer]
        own.remove(key)
        if not own:
            del self._of_peer[peer]
