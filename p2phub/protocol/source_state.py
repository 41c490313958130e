"""How one source of a fetch does: what it has, what it is asked for, how fast it is, how it failed.

Rules it keeps:
 * a source that lied, or says that its own copy is damaged, is dropped for good;
 * one that keeps failing is dropped after `MAX_FAILURES` failures in a row; one that kept us
   waiting for nothing counts as `SLOW_COUNTS` of them; a piece that it brings forgives them all;
 * after a failure it rests for 50 ms, and twice as long after each further one.

What is asked of it is for `protocol/fetch_plan.py` to say.

>>> state = SourceState(held=None, cursor=0)
>>> state.begin(Run(0, 8), now=0.0)
>>> state.brought(1_000_000, now=0.5)
>>> round(state.share() / 1_000_000)
2
>>> state.failed(Failure.GONE, now=1.0)
>>> state.not_before, state.dropped
(1.05, False)
"""

from dataclasses import dataclass, field
from enum import Enum

from p2phub.formats.pieces import Run
from p2phub.protocol.piece_set import PieceSet
from p2phub.protocol.piece_sizes import PieceSizes
from p2phub.protocol.ports import Holding
from p2phub.protocol.swarm import Candidate, Rate

MAX_FAILURES = 6
SLOW_COUNTS = 3
FIRST_BACK_OFF = 0.05  # seconds
MOST_BACK_OFF = 5.0  # seconds
GROWS = 3.0  # seconds for which a source that got more is thought to be fetching too


_FEW = 4096
"""Pairs of byte ranges that are compared to see that a source still has what it had."""

Spans = tuple[tuple[int, int], ...]
"""Bytes [start, stop), in order."""


class Failure(Enum):
    """How a source let us down."""

    GONE = "gone"  # refused, reset, closed, spoke garbage
    SLOW = "slow"  # nothing for too long
    LACKS = "lacks"  # does not have what it was thought to have
    LIED = "lied"  # sent bytes that are not the piece
    DAMAGED = "damaged"  # says that its own copy is damaged


@dataclass(slots=True)
class Asked:
    """A run that a source was asked for, and is at piece `at` of. It is wanted up to `stop`."""

    run: Run
    at: int
    stop: int
    since: float
    """When it was asked for, or brought its last piece."""
    stalled: bool = False
    """Whether it brought nothing for so long that what is left was given back."""


@dataclass(slots=True)
class SourceState:
    """One source."""

    held: PieceSet | None  # None: all
    cursor: int
    """Where its last run ended."""
    told: frozenset[tuple[int, int]] | None = frozenset()
    """The byte ranges that it said it has; None: all."""
    in_order: bool = False
    """Whether it can only go on from there, or begin again with the first piece."""
    rate: Rate = field(default_factory=Rate)
    grew: float = -GROWS
    """When it last said that it has more than before."""
    fetches: bool = False
    """Whether it fetches the file as we do, as far as it lacks any of it."""
    awaited: Candidate | None = None
    """What it is not asked for, because others may bring it."""
    awaited_since: float = 0.0
    idle_since: float = 0.0
    """Since when it is not asked for anything for that reason."""
    asked: list[Asked] = field(default_factory=list)
    failures: int = 0
    not_before: float = 0.0
    lied: bool = False
    order: list[Candidate] = field(default_factory=list)
    """What it has and was free in the state of things `seen`; the last ones are asked first."""
    seen: int = -1
    order_lasts: float = 0.0
    """Until when that order is good enough, though things have changed."""

    @property
    def dropped(self) -> bool:
        return self.lied or self.failures >= MAX_FAILURES

    def has(self, holding: Holding, sizes: PieceSizes) -> None:
        """This is all that it has."""
        self.told = None if holding.complete else frozenset(holding.ranges)
        spans = (sizes.inside(*span) for span in holding.ranges)
        self.held = None if holding.complete else PieceSet(spans)
        self.order.clear()

    def has_more(self, holding: Holding, sizes: PieceSizes, now: float) -> None:
        """It has this now. What it said before is not gone through again, if it still has that."""
        before, news = self.held, self._news(holding)
        if before is None or news is None:
            self.has(holding, sizes)
            is_more = self.held != before
        else:
            for span in news:
                before.add(*sizes.inside(*span))
            is_more = bool(news)
        if is_more:
            self.grew = now

    def _news(self, holding: Holding) -> Spans | None:
        """What it says now beside what it said before; None if that is not only more."""
        before, self.told = self.told, frozenset(holding.ranges)
        if before is None or holding.complete:
            return None
        new, gone = self.told - before, before - self.told
        if len(new) * len(gone) > _FEW:
            return None
        grown = all(any(a <= first and stop <= b for a, b in new) for first, stop in gone)
        return tuple(sorted(new)) if grown else None

    def is_growing(self, now: float) -> bool:
        """Whether it is fetching the file itself, or was so a moment ago."""
        is_at_it = (self.fetches and self.held is not None) or now - self.grew < GROWS
        return is_at_it and not self.dropped

    def wait_for(self, awaited: Candidate, now: float) -> None:
        """Others may bring this; it is not asked for it now."""
        if self.awaited is None:
            self.idle_since = now
        if self.awaited != awaited:
            self.awaited, self.awaited_since = awaited, now

    def share(self, more: int = 0) -> float:
        """Bytes a second of one of its connections, with so many more; 0 if not known."""
        return self.rate.value / max(1, len(self.asked) + more)

    def begin(self, run: Run, now: float) -> None:
        """It is asked for `run`."""
        if not self.asked:
            self.rate.begin(now)
        self.asked.append(Asked(run, run.first, run.first + run.count, now))

    def asked_as(self, run: Run) -> Asked:
        """What became of `run`, which it was asked for."""
        return next(each for each in self.asked if each.run == run)

    def asked_for(self, index: int) -> Asked | None:
        """The run with piece `index` that it was asked for."""
        for each in self.asked:
            if each.run.first <= index < each.run.first + each.run.count:
                return each
        return None

    def brought(self, size: int, now: float) -> None:
        """A piece of `size` bytes came from it."""
        self.failures = 0
        self.rate.add(size, now)

    def passed(self, size: int, now: float, *, is_new: bool) -> None:
        """A piece of `size` bytes came from it that stands before what it was asked for."""
        self.failures = 0 if is_new else self.failures
        self.rate.add(size, now)

    def is_past(self, index: int) -> bool:
        """Whether it would have to begin again for this piece."""
        return self.in_order and index < self.cursor

    def failed(self, failure: Failure, now: float) -> None:
        """Count what it did."""
        self.failures += SLOW_COUNTS if failure is Failure.SLOW else 1
        back_off = FIRST_BACK_OFF * 2 ** (self.failures - 1)
        self.not_before = now + min(MOST_BACK_OFF, back_off)
        self.lied = self.lied or failure in (Failure.LIED, Failure.DAMAGED)

    def forgive(self) -> None:
        """It says that it is there again: one more chance, if it did not lie."""
        self.failures = min(self.failures, MAX_FAILURES - 1)
