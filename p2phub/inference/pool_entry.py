"""What the pool remembers of one engine, and of those that were lost.

Times are those of trio's clock, passed in. A pool has one task, and asks nobody in between: none of
this is locked.

>>> losses = Losses()
>>> for at in (0.0, 10.0):
...     losses.note("x", EngineError("it broke"), at, lived=5.0)
>>> losses.require_peace("x", "lab/x", 10.5)
Traceback (most recent call last):
...
p2phub.errors.BusyError: lab/x was lost 2 times in a row, and rests for a while: it broke
"""

import math
from copy import copy
from dataclasses import astuple, dataclass, field
from hashlib import sha256
from typing import Final

import trio

from p2phub.errors import BusyError, EngineError, P2PHubError
from p2phub.inference.engine import Engine
from p2phub.inference.memory import Need, Taken, names_of
from p2phub.inference.pool_adapters import EngineAdapters
from p2phub.inference.spec import ModelSpec
from p2phub.inference.turns import Turns
from p2phub.inference.worker_engine import Report

FIRST_REST: Final = 1.0
"""Seconds for which an engine is not started that was lost twice; doubled with each more."""
LONGEST_REST: Final = 60.0
CALM: Final = 300.0
"""Seconds that an engine lives after which a loss is the first one again."""


@dataclass(slots=True, eq=False)
class Entry:
    """One engine, from the first lease to its end."""

    key: str
    spec: ModelSpec
    need: Need
    """What is reserved for it, without its adapters."""
    since: float
    """When it was begun, and then: when it was loaded."""
    keep_alive: float
    """Seconds for which it stays when nobody holds it."""
    device: str = ""
    """Where its memory is reserved, on several in even shares; empty until there is room."""
    engine: Engine | None = None
    failure: P2PHubError | None = None
    settled: trio.Event = field(default_factory=trio.Event)
    """Set once it is loaded, or failed."""
    loading: trio.CancelScope = field(default_factory=trio.CancelScope)
    reports: list[Report] = field(default_factory=list)
    adapters: EngineAdapters = field(default_factory=EngineAdapters)
    leases: int = 0
    """Those who hold it, and those who wait for it to load."""
    idle_since: float | None = None
    gone: bool = False
    """Whether the pool gives it to nobody any more."""
    turns: Turns = field(default_factory=lambda: Turns(0))
    """Who is let to the engine next; known once it is settled."""

    def report(self, what: str, done: int, total: int) -> None:
        """Tell all who wait how the load goes."""
        for each in tuple(self.reports):
            each(what, done, total)

    def settle(self, now: float) -> None:
        """The load has ended, one way or the other."""
        if self.engine is not None:
            info = self.engine.info
            self.need = self.need.once_loaded(info.weight_bytes, info.cache_bytes)
            self.since = now
            self.turns = Turns(info.slots)
            if not self.leases:
                self.idle_since = now
        elif self.failure is None:
            self.failure = EngineError(f"the load of {self.spec.name} was given up")
        self.settled.set()

    def hold(self) -> None:
        """One lease more."""
        self.leases += 1
        self.idle_since = None

    def loaded(self) -> Engine:
        """The engine, once it is settled. Raises why there is none."""
        if self.engine is None or self.gone:
            gone = EngineError(f"{self.spec.name} was unloaded", remedy="ask again")
            raise copy(self.failure or gone)
        return self.engine

    def release(self, now: float) -> None:
        """One lease less."""
        self.leases -= 1
        if not self.leases and self.engine is not None:
            self.idle_since = now

    def due(self) -> float:
        """When it is to be unloaded; infinite while somebody holds it."""
        return math.inf if self.idle_since is None else self.idle_since + self.keep_alive

    def bytes(self) -> int:
        """What it takes on all of its devices, with its adapters."""
        need = self.need.most if self.engine is None else self.need.bytes
        return need + self.adapters.size

    def taken(self) -> Taken:
        """What it takes on each of its devices."""
        size = -(-self.bytes() // len(names_of(self.device)))
        return Taken(self.key, size, self.idle_since, loading=self.engine is None)

    def wait_seconds(self) -> float:
        """A guess of how long half of those take who are there."""
        slots = max(1, self.engine.info.slots) if self.engine is not None else 1
        return self.turns.mean_seconds * self.leases / slots / 2


@dataclass(slots=True)
class _Loss:
    count: int
    at: float
    error: P2PHubError


class Losses:
    """Which engines were lost lately, and how often in a row."""

    def __init__(self) -> None:
        self._of: dict[str, _Loss] = {}

    def note(self, key: str, error: P2PHubError, now: float, lived: float) -> None:
        """One was lost after it had lived for so many seconds."""
        self._of = {name: each for name, each in self._of.items() if now - each.at < 2 * CALM}
        before = self._of[key].count if key in self._of and lived < CALM else 0
        self._of[key] = _Loss(before + 1, now, error)

    def require_peace(self, key: str, name: str, now: float) -> None:
        """Raise `BusyError` if it is too early to start it again."""
        loss = self._of.get(key)
        if loss is None or loss.count < 2:
            return
        rest = min(LONGEST_REST, FIRST_REST * 2 ** min(loss.count - 2, 10))
        if now < loss.at + rest:
            raise BusyError(
                f"{name} was lost {loss.count} times in a row, and rests for a while:"
                f" {loss.error.message}",
                remedy="look into the log of this node for what breaks it",
                retry_after=loss.at + rest - now,
            )


def key_of(spec: ModelSpec) -> str:
    """What tells engines apart: which files of the release, and how they run."""
    settings = sorted(spec.settings.items())
    files = [file.path for file in spec.files]
    told = (spec.release, files, spec.engine, spec.task, astuple(spec.options), settings)
    return sha256(repr(told).encode("utf-8", "surrogatepass")).hexdigest()
