"""How busy the models of this node are: what everything else yields to.

Rules it keeps:
 * it counts and measures; who yields, and how much, is `yielding`'s business;
 * what a token costs when nothing else goes on is learnt: the median of gaps between pieces while
   nothing was yielded for.

>>> clock = iter([0.0, 1.0])
>>> busy = Pressure(lambda: next(clock))
>>> with busy.answering() as step:
...     step(), step()
...     busy.under_way, busy.latest()
(None, None)
(1, 1.0)
>>> busy.under_way
0
"""

import statistics
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

RECENT: Final = 16
"""Gaps between pieces that say how fast a model is now."""
LEARNT: Final = 256
"""Gaps that say how fast it is when it is alone."""

MOST: Final = 64
"""Requests at once of which it is remembered how fast they were."""
MOMENT: Final = 0.25
"""Seconds that a thread waits before each piece that it hashes while models answer."""


class Pressure:
    """What the requests of all models need now. `clock()` gives seconds, any epoch."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._recent: deque[float] = deque(maxlen=RECENT)
        self._alone: dict[int, deque[float]] = {}
        """By the number of requests that were under way: a batch is slower than one."""
        self._idle = threading.Event()
        self._idle.set()
        self.under_way = 0
        """Requests that a model works at."""
        self.learning = True
        """Whether what is measured now is what a token costs when nothing else goes on."""

    @contextmanager
    def answering(self) -> Iterator[Callable[[], None]]:
        """A request is under way; what is handed out is called for each piece of its answer."""
        self.under_way += 1
        self._idle.clear()
        before: float | None = None

        def step() -> None:
            nonlocal before
            now = self._clock()
            if before is not None:
                self._recent.append(now - before)
                if self.learning:
                    self._learn(now - before)
            before = now

        try:
            yield step
        finally:
            self.under_way -= 1
            if not self.under_way:
                self._recent.clear()
                self._idle.set()

    def wait_a_moment(self, count: int = 0) -> None:
        """Block while requests are under way, for `MOMENT` at most; from any thread."""
        self._idle.wait(MOMENT)

    def latest(self) -> float:
        """The median gap between the last pieces, in seconds; 0 if there were none."""
        return statistics.median(self._recent) if self._recent else 0.0

    def alone(self) -> float:
        """The same when nothing else went on; 0 if that is not known."""
        learnt = self._alone.get(self.under_way)
        return statistics.median(learnt) if learnt else 0.0

    def _learn(self, gap: float) -> None:
        if self.under_way <= MOST:
            self._alone.setdefault(self.under_way, deque(maxlen=LEARNT)).append(gap)
