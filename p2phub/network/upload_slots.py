"""Upload slots: how many answers are sent at once, and whose turn it is when more are wanted.

A slot is held for a part of an answer: while others wait, it goes round after `QUANTUM` seconds,
and a holder whose peer does not read loses it after `STALL` seconds, so that slow readers keep
nobody out. The queue is fair between peers, whatever number of connections each has.

Rules it keeps: a wait for the first turn has an end, and the peer is told then (`take` is False);
while nobody waits, a part costs no lock.

>>> slots = UploadSlots(1)
>>> first, second = Turn("alice"), Turn("bob")
>>> slots.take(first, 0.0), slots.take(second, 0.0)
(True, False)
>>> slots.leave(first)
>>> slots.take(second, 0.0)
True
"""

import threading
import time
from collections.abc import Callable
from typing import Final

from p2phub.protocol.fair import FairQueue

QUANTUM: Final = 0.25
"""Seconds that a slot is kept while others wait."""
STALL: Final = 0.5
"""Seconds after which a slot is taken from a holder that could send nothing."""


class Turn:
    """One answer that wants to be sent to `peer`."""

    def __init__(self, peer: str) -> None:
        self.peer = peer
        self.bell = threading.Event()
        self.since = self.moved = 0.0
        self.is_held = False


class UploadSlots:
    """`count` slots, used from any thread. `clock()`: seconds, monotonic."""

    def __init__(self, count: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._count, self._clock = count, clock
        self._lock = threading.Lock()
        self._held: set[Turn] = set()
        self._closed = False
        self._queue: FairQueue[Turn] = FairQueue()

    @property
    def held(self) -> int:
        """How many answers are being sent."""
        return len(self._held)

    @property
    def waiting(self) -> int:
        """How many answers wait for a slot."""
        return len(self._queue)

    def take(self, turn: Turn, patience: float) -> bool:
        """Wait for a slot, at most `patience` seconds; whether there was one."""
        deadline = self._clock() + patience
        with self._lock:
            turn.bell.clear()
            self._queue.push(turn.peer, turn)
            self._hand_out()
        while not turn.is_held:
            left = deadline - self._clock()
            if left <= 0 or self._closed:
                return self._give_up(turn)
            turn.bell.wait(min(left, STALL / 2))
            with self._lock:
                self._hand_out()
        return True

    def go_on(self, turn: Turn, patience: float) -> bool:
        """Between two parts of an answer: let others have a turn if they wait; as `take`."""
        now = self._clock()
        turn.moved = now
        if turn.is_held and not (len(self._queue) and now - turn.since >= QUANTUM):
            return True
        self.leave(turn)
        return self.take(turn, patience)

    def leave(self, turn: Turn) -> None:
        """The slot is free for others."""
        with self._lock:
            turn.is_held = False
            self._held.discard(turn)
            self._hand_out()

    def close(self) -> None:
        """Nobody waits any more: `take` and `go_on` are False soon."""
        self._closed = True

    def _give_up(self, turn: Turn) -> bool:
        with self._lock:
            self._queue.discard(turn)
            return turn.is_held

    def _hand_out(self) -> None:
        now = self._clock()
        while len(self._queue):
            if len(self._held) >= self._count and not self._take_from_staller(now):
                return
            turn = self._queue.pop()
            if turn is not None:
                turn.is_held, turn.since, turn.moved = True, now, now
                self._held.add(turn)
                turn.bell.set()

    def _take_from_staller(self, now: float) -> bool:
        slowest = min(self._held, key=lambda turn: turn.moved)
        if now - slowest.moved < STALL:
            return False
        slowest.is_held = False
        self._held.discard(slowest)
        return True
