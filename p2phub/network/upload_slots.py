"""Upload slots: how many answers are sent at once, and whose turn it is when more are wanted.

A slot is held for a part of an answer: while others wait, it goes round after `QUANTUM` seconds,
and a holder whose peer does not read loses it after `STALL` seconds, so that slow readers keep
nobody out. The queue is fair between peers, whatever number of connections each has.

Rules it keeps: a wait for the first turn has an end, and the peer is told then (`take` is False);
while nobody waits, a part costs no lock; `close` lets everybody go at once and from then on.

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

import trio

from p2phub.network.waiting import TaskBell
from p2phub.protocol.fair import FairQueue

QUANTUM: Final = 0.25
"""Seconds that a slot is kept while others wait."""
STALL: Final = 0.5
"""Seconds after which a slot is taken from a holder that could send nothing."""


class Turn:
    """One answer that wants to be sent to `peer`. A task of trio has a `TaskBell`."""

    def __init__(self, peer: str, bell: threading.Event | TaskBell | None = None) -> None:
        self.peer = peer
        self.bell = bell or threading.Event()
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
        """Wait for a slot, at most `patience` seconds; whether there was one. Blocks."""
        assert isinstance(turn.bell, threading.Event)
        deadline = self._clock() + patience
        while (left := self._left(turn, deadline)) > 0:
            turn.bell.wait(left)
        return self._end_wait(turn)

    async def take_async(self, turn: Turn, patience: float) -> bool:
        """As `take`, for tasks of trio. Whoever is cancelled meanwhile has to `leave` too."""
        assert isinstance(turn.bell, TaskBell)
        deadline = self._clock() + patience
        try:
            while (left := self._left(turn, deadline)) > 0:
                with trio.move_on_after(left):
                    await turn.bell.rung.wait()
        finally:
            has_one = self._end_wait(turn)
        return has_one

    def go_on(self, turn: Turn, patience: float) -> bool:
        """Between two parts of an answer: let others have a turn if they wait; as `take`."""
        return self._keeps(turn) or self.take(turn, patience)

    async def go_on_async(self, turn: Turn, patience: float) -> bool:
        """As `go_on`, for tasks of trio."""
        return self._keeps(turn) or await self.take_async(turn, patience)

    def leave(self, turn: Turn) -> None:
        """The slot is free for others."""
        with self._lock:
            turn.is_held = False
            self._held.discard(turn)
            self._hand_out()

    def close(self) -> None:
        """Nobody waits any more."""
        with self._lock:
            self._closed = True
            self._hand_out()

    def _keeps(self, turn: Turn) -> bool:
        """Whether a part was sent in time and nobody else is to have the slot; else it is free."""
        now = self._clock()
        turn.moved = now
        if turn.is_held and not (len(self._queue) and now - turn.since >= QUANTUM):
            return True
        self.leave(turn)
        return False

    def _left(self, turn: Turn, deadline: float) -> float:
        """Seconds until it is to look again; 0 when it need not wait any more."""
        with self._lock:
            if not turn.is_held and turn not in self._queue:  # it woke too late, and lost its slot
                turn.bell.clear()
                self._queue.push(turn.peer, turn)
            self._hand_out()
            return 0.0 if turn.is_held else min(deadline - self._clock(), STALL / 2)

    def _end_wait(self, turn: Turn) -> bool:
        with self._lock:
            self._queue.discard(turn)
            return turn.is_held

    def _hand_out(self) -> None:
        now = self._clock()
        while len(self._queue):
            is_free = self._closed or len(self._held) < self._count
            if not is_free and not self._take_from_staller(now):
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
