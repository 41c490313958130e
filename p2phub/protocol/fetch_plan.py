"""Which run of pieces of one file to ask of whom, next.

A `FetchPlan` is told what happened (`got`, `done`, `failed`) and answers what to do (`next_for`).
It does no I/O, reads no clock and starts no task: the driver in `p2phub/node/fetch.py` does, and
passes `now` in.

Rules it keeps, whatever the sources do:
 * a piece counts only when the sink has accepted it (`got`);
 * a source that sent one wrong byte, or says that its own copy is damaged, is never asked again;
 * a source that keeps failing is left alone after `MAX_FAILURES` failures in a row, with a
   back-off between them that starts at 50 ms and doubles (a fixed long pause ruins a simultaneous
   start); one that kept us waiting for nothing counts as `SLOW_COUNTS` failures;
 * a run is asked of one source at a time; when nothing else is left, a run whose source has
   brought nothing for `patience` seconds is asked of another one too (end game);
 * runs are consecutive pieces, sized so that a source is busy for about `AIM` seconds, 8 MiB at
   least.

Which piece is rarest, and who is fastest, is the business of `protocol/swarm.py` once there is a
swarm.

Example:

>>> plan = FetchPlan([4, 4, 2], patience=10)
>>> plan.join("alice", Holding(complete=True))
>>> plan.next_for("alice", now=0)
Ask(run=Run(first=0, count=3))
>>> plan.got("alice", 0, now=1)
>>> plan.failed("alice", Run(0, 3), Failure.GONE, now=2)
>>> plan.next_for("alice", now=2.05)
Ask(run=Run(first=1, count=2))
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum

from p2phub.formats.pieces import Run
from p2phub.protocol.ports import Holding

MAX_FAILURES = 6
SLOW_COUNTS = 3
FIRST_BACK_OFF = 0.05  # seconds
AIM = 1.0  # seconds of work a run should be for its source
LEAST_RUN = 8 << 20  # bytes
MOST_RUN = 64 << 20  # bytes
_MISSING, _ASKED, _GOT = 0, 1, 2


class Failure(Enum):
    """How a source let us down."""

    GONE = "gone"  # refused, reset, closed, spoke garbage
    SLOW = "slow"  # nothing for too long
    LACKS = "lacks"  # does not have what it was thought to have
    LIED = "lied"  # sent bytes that are not the piece
    DAMAGED = "damaged"  # says that its own copy is damaged


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask this source for this run now."""

    run: Run


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing for this source now; ask again after so many seconds, or when something happened."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Leave:
    """Nothing for this source any more."""


@dataclass(slots=True)
class _Source:
    mask: bytearray | None  # one byte a piece, 1 = has it; None = has all
    failures: int = 0
    not_before: float = 0.0
    last_byte: float = 0.0
    rate: float = 0.0  # bytes a second, smoothed
    dropped: bool = False
    runs: list[tuple[Run, float]] = field(default_factory=list)


class FetchPlan:
    """The plan for one file.

    `lengths`: the size of each piece in bytes. `missing`: the runs that are not here yet; None:
    all. `patience`: seconds without a byte after which a run may be asked of another source.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        patience: float = 10,
        *,
        missing: Iterable[Run] | None = None,
    ) -> None:
        self._lengths = lengths
        self._patience = patience
        self._state = bytearray(len(lengths))
        self._sources: dict[str, _Source] = {}
        self._failures: set[Failure] = set()
        if missing is not None:
            self._state = bytearray([_GOT]) * len(lengths)
            for run in missing:
                self._state[run.first : run.first + run.count] = bytes(run.count)
        self._left = self._state.count(_MISSING)

    @property
    def finished(self) -> bool:
        return self._left == 0

    @property
    def lied_to(self) -> bool:
        """Whether any source sent wrong bytes or owned up to a damaged copy."""
        return bool(self._failures & {Failure.LIED, Failure.DAMAGED})

    @property
    def missing(self) -> int:
        """How many pieces have not been accepted yet."""
        return self._left

    def stalled(self, now: float) -> set[str]:
        """Sources that were asked for something and have brought nothing for `patience` seconds."""
        return {
            name
            for name, source in self._sources.items()
            if source.runs and now - source.last_byte >= self._patience
        }

    def join(self, source: str, holding: Holding) -> None:
        """A source that has all of the file or the byte ranges of `holding`; again, to say that it
        has more.
        """
        mask = None if holding.complete else self._mask(holding)
        known = self._sources.get(source)
        if known is None:
            self._sources[source] = _Source(mask)
        else:
            known.mask = mask

    def leave(self, source: str) -> None:
        """`source` went away: free what it was asked for. If it lied, that is not forgotten."""
        state = self._sources.get(source)
        if state is None:
            return
        for run, _ in list(state.runs):
            self._end(source, run)
        if not state.dropped:
            del self._sources[source]

    def next_for(self, source: str, now: float) -> Ask | Wait | Leave:
        """What `source` should do at `now`."""
        state = self._sources.get(source)
        if self.finished or state is None or state.dropped:
            return Leave()
        if now < state.not_before:
            return Wait(state.not_before - now)
        run = self._next_missing(state) or self._next_stalled(source, state, now)
        if run is None:
            return Wait(self._patience / 10) if self._may_help(state) else Leave()
        self._state[run.first : run.first + run.count] = self._mark(run)
        state.runs.append((run, now))
        state.last_byte = max(state.last_byte, now)
        return Ask(run)

    def got(self, source: str, index: int, now: float) -> None:
        """The sink has accepted piece `index` from `source`."""
        if self._state[index] != _GOT:
            self._state[index] = _GOT
            self._left -= 1
        state = self._sources.get(source)
        if state is not None:  # else it has left, and was a moment late
            state.failures = 0
            state.last_byte = now

    def done(self, source: str, run: Run, now: float) -> None:
        """`source` has delivered the whole run."""
        started = self._end(source, run)
        size = sum(self._lengths[run.first : run.first + run.count])
        state = self._sources[source]
        rate = size / max(now - started, 1e-3)
        state.rate = rate if not state.rate else 0.7 * state.rate + 0.3 * rate

    def failed(self, source: str, run: Run, failure: Failure, now: float) -> None:
        """Free what is left of `run` for others and remember what `source` did."""
        self._end(source, run)
        self._failures.add(failure)
        state = self._sources[source]
        state.failures += SLOW_COUNTS if failure is Failure.SLOW else 1
        state.not_before = now + min(5.0, FIRST_BACK_OFF * 2 ** (state.failures - 1))
        if failure in (Failure.LIED, Failure.DAMAGED) or state.failures >= MAX_FAILURES:
            state.dropped = True
        if failure is Failure.LACKS:
            self._lacks(state, run)

    def _mask(self, holding: Holding) -> bytearray:
        mask, offset = bytearray(len(self._lengths)), 0
        ranges = iter(sorted(holding.ranges))
        start, stop = next(ranges, (0, 0))
        for index, length in enumerate(self._lengths):
            while stop < offset + length:
                following = next(ranges, None)
                if following is None:
                    return mask
                start, stop = following
            mask[index] = start <= offset
            offset += length
        return mask

    def _lacks(self, state: _Source, run: Run) -> None:
        if state.mask is None:
            state.mask = bytearray(b"\1" * len(self._lengths))
        state.mask[run.first : run.first + run.count] = bytes(run.count)

    def _next_missing(self, state: _Source) -> Run | None:
        want = min(MOST_RUN, max(LEAST_RUN, int(state.rate * AIM)))
        first = self._state.find(_MISSING)
        while first >= 0 and state.mask is not None and not state.mask[first]:
            following = state.mask.find(1, first)
            first = self._state.find(_MISSING, following) if following >= 0 else -1
        if first < 0:
            return None
        index, size = first, 0
        while index < len(self._lengths) and size < want and self._free(index, state):
            size += self._lengths[index]
            index += 1
        return Run(first, index - first)

    def _free(self, index: int, state: _Source) -> bool:
        return self._state[index] == _MISSING and (state.mask is None or state.mask[index] == 1)

    def _next_stalled(self, source: str, state: _Source, now: float) -> Run | None:
        for name in self.stalled(now) - {source}:
            for run, _ in self._sources[name].runs:
                rest = self._rest(run, state)
                if rest is not None:
                    return rest
        return None

    def _rest(self, run: Run, state: _Source) -> Run | None:
        """The first stretch of `run` that is still asked for and that `state` has."""
        first = run.first
        end = run.first + run.count
        while first < end and not self._asked_and_held(first, state):
            first += 1
        last = first
        while last < end and self._asked_and_held(last, state):
            last += 1
        return Run(first, last - first) if last > first else None

    def _asked_and_held(self, index: int, state: _Source) -> bool:
        held = state.mask is None or state.mask[index] == 1
        return self._state[index] == _ASKED and held

    def _may_help(self, state: _Source) -> bool:
        """Whether anything that is not here yet is something this source has."""
        if state.mask is None:
            return True
        return any(held and got != _GOT for held, got in zip(state.mask, self._state, strict=True))

    def _mark(self, run: Run) -> bytes:
        part = self._state[run.first : run.first + run.count]
        return bytes(_GOT if piece == _GOT else _ASKED for piece in part)

    def _end(self, source: str, run: Run) -> float:
        """Forget that `source` was asked for `run`; free what nobody else is asked for. When it
        was asked.
        """
        state = self._sources[source]
        started = next(when for asked, when in state.runs if asked == run)
        state.runs.remove((run, started))
        others = {
            index
            for other in self._sources.values()
            for asked, _ in other.runs
            for index in range(asked.first, asked.first + asked.count)
        }
        for index in range(run.first, run.first + run.count):
            if self._state[index] == _ASKED and index not in others:
                self._state[index] = _MISSING
        return started
