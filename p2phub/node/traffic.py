"""How many bytes go in and out, and how fast: counters that any thread may add to.

A rate is the average over the last `WINDOW` seconds, from a ring of one-second buckets.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass

from p2phub.node.rates import Paces

WINDOW = 5  # seconds


class Meter:
    """Bytes of one direction. `clock()` gives seconds, any epoch."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: dict[int, int] = {}
        self.total = 0

    def add(self, size: int) -> None:
        second = int(self._clock())
        with self._lock:
            self.total += size
            self._buckets[second] = self._buckets.get(second, 0) + size
            if len(self._buckets) > 2 * WINDOW:
                self._forget(second)

    def rate(self) -> float:
        """Bytes a second, averaged over the last seconds."""
        second = int(self._clock())
        with self._lock:
            self._forget(second)
            return sum(self._buckets.values()) / WINDOW

    def _forget(self, second: int) -> None:
        self._buckets = {s: n for s, n in self._buckets.items() if s > second - WINDOW}


@dataclass(slots=True)
class Traffic:
    """What this node moves: bytes in, bytes out, pulls going on; and how fast it may."""

    up: Meter
    down: Meter
    paces: Paces
    pulls: int = 0
