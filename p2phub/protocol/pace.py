"""The pace of one direction: at most so many bytes a second, shared fairly by parties.

A token bucket of `SLACK` seconds before a fair queue. Bytes go in portions that are small enough
(`portion`) for the flow to be smooth; together, a burst is no longer than 100 ms. Pure: a clock is
passed in, and whoever must wait is told how long.

>>> pace = Pace(1000)
>>> for turn in ("a1", "a2", "b1"):
...     pace.join(turn, turn[0], 100)
>>> pace.ask("a1", now=0.0), pace.called, pace.ask("b1", now=0.0), pace.ask("a2", now=0.0)
(0.0, 'b1', 0.05, inf)
>>> pace.ask("b1", now=0.05), pace.called
(0.0, 'a2')
"""

import math
from collections.abc import Hashable
from typing import Final, Generic, TypeVar

from p2phub.formats.limits import KIB
from p2phub.protocol.fair import FairQueue

T = TypeVar("T", bound=Hashable)
SLACK: Final = 0.05
"""Seconds whose bytes may be saved up: whoever slept a little too long catches up."""
MOST_PORTION: Final = 256 * KIB
_LEAST_PORTION: Final = 4 * KIB


class Pace(Generic[T]):
    """`rate`: bytes a second, 0 for no limit; it may be changed at any time."""

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self.called: T | None = None
        """Whose turn is next, and who therefore has to look at the clock."""
        self._queue: FairQueue[T] = FairQueue()
        self._sizes: dict[T, int] = {}
        self._free_at = -math.inf

    @property
    def portion(self) -> int:
        """Bytes to ask for at once."""
        if not self.rate:
            return MOST_PORTION
        return max(_LEAST_PORTION, min(MOST_PORTION, int(self.rate * SLACK)))

    def join(self, turn: T, party: str, size: int) -> None:
        """`turn` waits for `size` bytes of `party`."""
        self._sizes[turn] = size
        self._queue.push(party, turn, size)
        if self.called is None:
            self.called = self._queue.pop()

    def ask(self, turn: T, now: float) -> float:
        """Seconds that `turn` has to wait, infinity until it is `called`; 0 if it may go and has.

        Whoever is told to wait asks again, or leaves.
        """
        if self.rate and turn is not self.called:
            return math.inf
        if self.rate:
            begin = max(self._free_at, now - SLACK)
            if begin > now:
                return begin - now
            self._free_at = begin + self._sizes[turn] / self.rate
        self.leave(turn)
        return 0.0

    def leave(self, turn: T) -> None:
        """`turn` waits no longer."""
        self._sizes.pop(turn, None)
        self._queue.discard(turn)
        if turn is self.called:
            self.called = self._queue.pop()
