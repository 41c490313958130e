"""How fast bytes go in one direction: so many a second for this node, and so many for each peer.

One `Throttle` a direction is shared by everybody who sends (or reads): data connections in their
threads, and streams of libp2p in trio. The node's rate is shared fairly between peers, whatever
number of connections each has; how, is the business of `p2phub.protocol.pace`.

Rules it keeps:
 * bytes are taken in portions of at most `portion`, so that the flow is smooth and a burst short;
 * without a limit it costs next to nothing: no lock is taken;
 * a rate may be changed at any time, and `close` lets everybody go at once and from then on.

>>> clock = [0.0]
>>> throttle = Throttle(1000, clock=lambda: clock[0], wait=lambda bell, s: clock.__setitem__(0, 99))
>>> throttle.take(500, "alice"), clock[0], throttle.take(500, "bob"), clock[0]
(None, 0.0, None, 99)
"""

import math
import threading
import time
from collections.abc import Callable
from typing import Final, Protocol

import trio

from p2phub.network.waiting import TaskBell
from p2phub.protocol.pace import Pace

_KEPT: Final = 256
"""Peers with a pace of their own that are remembered; those who do not wait make room."""

Wait = Callable[[threading.Event, float | None], object]


class Bell(Protocol):
    """What wakes whoever waits for a turn; set from any thread."""

    def set(self) -> None: ...

    def clear(self) -> None: ...

    def __hash__(self) -> int: ...


class Throttle:
    """`rate`: bytes a second for all peers together; `per_peer`: for each. 0 is no limit."""

    def __init__(
        self,
        rate: int = 0,
        per_peer: int = 0,
        *,
        clock: Callable[[], float] = time.monotonic,
        wait: Wait = threading.Event.wait,
    ) -> None:
        self._clock, self._wait = clock, wait
        self._lock = threading.Lock()
        self._node: Pace[Bell] = Pace(rate)
        self._per_peer = per_peer
        self._peers: dict[str, Pace[Bell]] = {}
        self._waiting: set[Bell] = set()
        self._closed = False

    @property
    def rate(self) -> int:
        """Bytes a second for all peers together; 0 for no limit."""
        return self._node.rate

    @property
    def per_peer(self) -> int:
        """Bytes a second for each peer; 0 for no limit."""
        return self._per_peer

    @property
    def is_limited(self) -> bool:
        """Whether anybody may have to wait."""
        return bool(self._node.rate or self._per_peer) and not self._closed

    @property
    def portion(self) -> int:
        """Bytes to take at once, so that the flow is smooth."""
        node = self._node.portion
        return min(node, Pace[Bell](self._per_peer).portion) if self._per_peer else node

    def set(self, rate: int, per_peer: int) -> None:
        """Limits from now on, for those who wait already too."""
        with self._lock:
            self._node.rate, self._per_peer = rate, per_peer
            for pace in self._peers.values():
                pace.rate = per_peer
            self._ring_all()

    def close(self) -> None:
        """Nobody waits any more."""
        self._closed = True
        with self._lock:
            self._ring_all()

    def take(self, size: int, peer: str = "") -> None:
        """Return when `size` bytes of `peer` may go; blocks."""
        if not self.is_limited:
            return
        if self._per_peer:
            self._take(self._pace_of(peer), peer, size)
        if self._node.rate:
            self._take(self._node, peer, size)

    async def take_async(self, size: int, peer: str = "") -> None:
        """As `take`, for tasks of trio."""
        if not self.is_limited:
            return
        if self._per_peer:
            await self._take_async(self._pace_of(peer), peer, size)
        if self._node.rate:
            await self._take_async(self._node, peer, size)

    def _take(self, pace: Pace[Bell], peer: str, size: int) -> None:
        bell = threading.Event()
        self._join(pace, bell, peer, size)
        while seconds := self._ask(pace, bell):
            self._wait(bell, None if math.isinf(seconds) else seconds)
        self._leave(pace, bell)

    async def _take_async(self, pace: Pace[Bell], peer: str, size: int) -> None:
        bell = TaskBell()
        self._join(pace, bell, peer, size)
        try:
            while seconds := self._ask(pace, bell):
                with trio.move_on_after(seconds):
                    await bell.rung.wait()
        finally:
            self._leave(pace, bell)

    def _join(self, pace: Pace[Bell], bell: Bell, peer: str, size: int) -> None:
        with self._lock:
            pace.join(bell, peer, size)
            self._waiting.add(bell)

    def _ask(self, pace: Pace[Bell], bell: Bell) -> float:
        with self._lock:
            bell.clear()
            return 0.0 if self._closed else pace.ask(bell, self._clock())

    def _leave(self, pace: Pace[Bell], bell: Bell) -> None:
        with self._lock:
            pace.leave(bell)
            self._waiting.discard(bell)
            if pace.called is not None:
                pace.called.set()

    def _pace_of(self, peer: str) -> Pace[Bell]:
        with self._lock:
            pace = self._peers.get(peer)
            if pace is None:
                if len(self._peers) >= _KEPT:
                    self._peers = {
                        each: kept for each, kept in self._peers.items() if kept.called is not None
                    }
                pace = self._peers[peer] = Pace(self._per_peer)
            return pace

    def _ring_all(self) -> None:
        for turn in self._waiting:
            turn.set()


UNLIMITED: Final = Throttle()
