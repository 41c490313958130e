"""Who is next when more want something than there is: fair between parties, not between requests.

Start-time fair queueing: every party has a clock of its own that moves on by what it was given, and
the request that starts earliest is next. A party with fifty requests gets as much as one with two,
and one that was idle saves nothing up. Pure: whoever waits, waits elsewhere.

>>> queue = FairQueue()
>>> for item in ("a1", "a2", "a3", "b1"):
...     queue.push(item[0], item)
>>> [queue.pop() for _ in range(4)]
['a1', 'b1', 'a2', 'a3']
"""

import heapq
from collections.abc import Hashable
from itertools import count
from typing import Final, Generic, TypeVar

T = TypeVar("T", bound=Hashable)
_KEPT: Final = 64
"""Parties that are remembered beyond those who wait, before the ones that no longer matter go."""


class FairQueue(Generic[T]):
    """Items of parties. An item is in it once at most."""

    def __init__(self) -> None:
        self._now = 0.0
        self._ends: dict[str, float] = {}
        self._heap: list[tuple[float, int, T]] = []
        self._waiting: dict[T, int] = {}
        self._numbers = count()

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, item: T) -> bool:
        return item in self._waiting

    def push(self, party: str, item: T, cost: float = 1.0) -> None:
        """`item` waits; it is worth `cost` of what is shared, in any unit."""
        start = max(self._now, self._ends.get(party, 0.0))
        self._ends[party] = start + cost
        number = next(self._numbers)
        self._waiting[item] = number
        heapq.heappush(self._heap, (start, number, item))
        if len(self._ends) > 2 * len(self._waiting) + _KEPT:
            self._forget()

    def pop(self) -> T | None:
        """The next one, which leaves the queue; None if nobody waits."""
        while self._heap:
            start, number, item = heapq.heappop(self._heap)
            if self._waiting.get(item) == number:
                del self._waiting[item]
                self._now = start
                return item
        return None

    def discard(self, item: T) -> None:
        """`item` waits no longer, if it did."""
        self._waiting.pop(item, None)

    def _forget(self) -> None:
        """Whoever is the least ahead of the others loses nothing by being forgotten."""
        ahead = sorted(self._ends.items(), key=lambda item: item[1])
        self._ends = dict(ahead[-(len(self._waiting) + _KEPT // 2) :])
