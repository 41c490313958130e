"""How busy the models of this node are: what everything else yields to.

A model is busy while it answers and while it is loaded, also while it is fetched. A load that waits
for its own fetch is not, once nothing came for `QUIET` seconds: what is done to bring its bytes
must not wait for it, and there is nothing to yield to.

Rules it keeps:
 * it counts and measures; how far uploads yield is `yielding`'s business;
 * what hashes in the background rests after each piece while models are busy (`wait_a_moment`), and
   what somebody waits for, such as `publish` and `verify`, takes half of the time (`shared`): both
   go on, however long an answer takes;
 * what a token of each model costs when nothing else goes on is learnt: the median of gaps between
   pieces while nothing was yielded for, and as many requests were under way.

>>> clock = iter([0.0, 1.0, 3.0])
>>> busy = Pressure(lambda: next(clock))
>>> with busy.answering("lab/x") as step:
...     step(), step()
...     busy.under_way, busy.slowdown()
...     busy.learning = False
...     step()
...     busy.slowdown()
(None, None)
(1, 1.0)
1.5
>>> busy.under_way
0
"""

import statistics
import threading
import time
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
REMEMBERED: Final = 1024
"""Models, by their requests at once, of which it is."""
MOMENT: Final = 0.25
"""Seconds that a thread waits, at most, after each piece that it hashes while models are busy."""
QUIET: Final = 1.0
"""Seconds without news of its fetch after which a load only waits."""


class Load:
    """A model that is being loaded. `clock()` gives seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._since: float | None = None
        """Since when it waits for something to come."""

    def wait_for_fetch(self) -> None:
        """From now on it can do nothing until something comes."""
        self._since = self._clock()

    def go_on(self) -> None:
        self._since = None

    @property
    def works(self) -> bool:
        since = self._since
        return since is None or self._clock() - since <= QUIET


class Pressure:
    """What the requests of all models need now. `clock()` gives seconds, any epoch and thread."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._recent: deque[tuple[tuple[str, int], float]] = deque(maxlen=RECENT)
        self._alone: dict[tuple[str, int], deque[float]] = {}
        """By model and number of requests that were under way: a batch is slower than one."""
        self._idle = threading.Event()
        self._idle.set()
        self._loads: tuple[Load, ...] = ()
        self.under_way = 0
        """Requests that a model works at."""
        self.learning = True
        """Whether what is measured now is what a token costs when nothing else goes on."""

    @property
    def busy(self) -> bool:
        """Whether a model answers, or is loaded; from any thread."""
        return self.under_way > 0 or self.loads

    @property
    def loads(self) -> bool:
        """Whether a model is loaded, and does not only wait for its fetch."""
        return any(load.works for load in self._loads)

    @contextmanager
    def loading(self) -> Iterator[Load]:
        """A model is loaded until the block ends."""
        load = Load(self._clock)
        self._loads += (load,)
        self._idle.clear()
        try:
            yield load
        finally:
            self._loads = tuple(each for each in self._loads if each is not load)
            self._rest_if_idle()

    @contextmanager
    def answering(self, model: str = "") -> Iterator[Callable[[], None]]:
        """A request is under way; what is handed out is called for each piece of its answer."""
        self.under_way += 1
        self._idle.clear()
        before: float | None = None

        def step() -> None:
            nonlocal before
            now = self._clock()
            if before is not None:
                key = model, self.under_way
                self._recent.append((key, now - before))
                if self.learning:
                    self._learn(key, now - before)
            before = now

        try:
            yield step
        finally:
            self.under_way -= 1
            if not self.under_way:
                self._recent.clear()
            self._rest_if_idle()

    def _rest_if_idle(self) -> None:
        if not self.under_way and not self._loads:
            self._idle.set()

    def wait_a_moment(self, count: int = 0) -> None:
        """Block while models are busy, for `MOMENT` at most; from any thread."""
        if self.busy:
            self._idle.wait(MOMENT)

    def shared(self, progress: Callable[[int], None]) -> Callable[[int], None]:
        """`progress`, which then blocks while models are busy for as long as was worked before it,
        and `MOMENT` at most; from any thread. For work that somebody waits for.
        """
        last = threading.local()

        def told(count: int) -> None:
            progress(count)
            if self.busy:
                worked = time.monotonic() - getattr(last, "at", time.monotonic())
                self._idle.wait(min(worked, MOMENT))
            last.at = time.monotonic()

        return told

    def slowdown(self) -> float:
        """How many times as long as alone the last pieces took, as a median; 0: it is not known."""
        usual = {
            key: statistics.median(self._alone[key])
            for key in {key for key, _ in self._recent}
            if key in self._alone
        }
        ratios = [gap / usual[key] for key, gap in self._recent if usual.get(key)]
        return statistics.median(ratios) if ratios else 0.0

    def _learn(self, key: tuple[str, int], gap: float) -> None:
        if key not in self._alone:
            if self.under_way > MOST:
                return
            while len(self._alone) >= REMEMBERED:
                del self._alone[next(iter(self._alone))]
            self._alone[key] = deque(maxlen=LEARNT)
        self._alone[key].append(gap)
