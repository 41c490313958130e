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
 * runs are consecutive pieces, 1 to 2 seconds of work for their source and 8 MiB at least on a
   fast link; the rarest come first (after the head of a file that is read while it comes), and
   of a seeder what other nodes will not have soon;
 * a run is asked of one source at a time. What a source that stalls was asked for is free for
   others after `patience` seconds. When nothing is free, the end of a run that will take long is
   cut off and given to whoever has nothing to do, so that both end together (end game); only its
   last piece is ever asked of two;
 * a source that has the file in order only (`Holding.in_order`) is asked for one run at a time, the
   next one from where it is on; what passes before that counts if it is still missing.

How rare a piece is and how fast a source is: `protocol/swarm.py`. Which nodes fetch the file too,
and what is left to them: `protocol/together.py`.

Example:

>>> plan = FetchPlan([4, 4, 2])
>>> plan.join("alice", Holding(complete=True))
>>> plan.next_for("alice", now=0)
Ask(run=Run(first=0, count=3))
>>> plan.got("alice", 0, now=1)
True
>>> plan.failed("alice", Run(0, 3), Failure.GONE, now=2)
>>> plan.next_for("alice", now=2.05)
Ask(run=Run(first=1, count=2))
"""

from collections.abc import Iterable, Iterator

from p2phub.formats.limits import MIB
from p2phub.formats.pieces import Run
from p2phub.protocol.end_game import end_to_give, is_sooner, seconds_left
from p2phub.protocol.piece_set import PieceSet
from p2phub.protocol.piece_sizes import PieceSizes
from p2phub.protocol.ports import Holding
from p2phub.protocol.source_state import Asked, Failure, SourceState
from p2phub.protocol.steps import Ask, Leave, Wait
from p2phub.protocol.swarm import Availability, Candidate, by_rarity
from p2phub.protocol.together import NO_NEWS, Together

AIM = 1.0  # seconds of work that a run should be for one connection of its source
LEAST_RUN = 8 * MIB  # if that is at most twice `AIM`; for a source of unknown speed too
LAST_AIM = 0.1  # seconds of work, towards the end of the file
TINY = MIB  # a rarer stretch than this is asked for with its neighbours
LOOK_AGAIN = 0.1  # seconds
ORDER_LASTS = 1e-4  # seconds for each part of an order: sorting costs two hundredths of that
LONG = 0.2  # seconds of work left in a run, for each of patience, from which its end is given away


class FetchPlan:
    """The plan for one file.

    `lengths`: the size of each piece in bytes. `missing`: the runs that are not here yet; None:
    all. `patience`: seconds without a piece after which what is left of a run is free for others;
    more for a source whose pieces are known to take longer. `own`: the name of this node, as
    the others know it; without one, or with a `head`, the file is begun at its start. `head`: so
    many of the first pieces come before all others.
    """

    def __init__(
        self,
        lengths: Iterable[int],
        patience: float = 1.0,
        *,
        missing: Iterable[Run] | None = None,
        own: str = "",
        head: int = 0,
    ) -> None:
        self._sizes = PieceSizes(lengths)
        self._count, self._patience = self._sizes.count, patience
        self._together = Together(own, self._sizes, head)
        self._got = bytearray(self._count)
        self._free = PieceSet([(0, self._count)])
        self._sources: dict[str, SourceState] = {}
        self._failures: set[Failure] = set()
        self._availability: Availability | None = None
        self._version = 0
        if missing is not None:
            self._free = PieceSet((run.first, run.first + run.count) for run in missing)
            self._got = bytearray(b"\1") * self._count
            for first, stop in self._free.stretches():
                self._got[first:stop] = bytes(stop - first)
        self._left = self._got.count(0)

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

    def is_due(self, source: str, index: int) -> bool:
        """Whether piece `index` is still missing, or `source` was asked for it all the same."""
        state = self._sources.get(source)
        return not self._got[index] or (state is not None and state.asked_for(index) is not None)

    def stalled(self, now: float, seconds: float) -> set[str]:
        """Sources that were asked for something and have brought nothing for so many seconds."""
        return {
            name
            for name, source in self._sources.items()
            if source.asked and all(now - each.since >= seconds for each in source.asked)
        }

    def join(
        self, source: str, holding: Holding, now: float = 0.0, *, fetches: bool | None = None
    ) -> None:
        """A source that has all of the file or the byte ranges of `holding`; again, to say that it
        has more. One that was left alone because it kept failing gets one more chance. `fetches`:
        whether it fetches the file too, whatever it has yet; None if that is not known anew.
        """
        state = self._sources.get(source)
        if state is None:
            cursor = 0 if holding.in_order else self._together.begins_at()
            state = SourceState(PieceSet(), cursor, in_order=holding.in_order)
            self._sources[source] = state
            state.has(holding, self._sizes)
        else:
            state.has_more(holding, self._sizes, now)
            state.forgive()
        state.fetches = state.fetches if fetches is None else fetches
        self._look_anew()
        self._leave_to(state, now)

    def leave(self, source: str) -> None:
        """`source` went away: free what it was asked for. If it lied, that is not forgotten."""
        state = self._sources.get(source)
        if state is None:
            return
        for asked in list(state.asked):
            self._end(state, asked)
        if not state.lied:
            del self._sources[source]
        self._look_anew()

    def next_for(self, source: str, now: float) -> Ask | Wait | Leave:
        """What `source` should do at `now`."""
        state = self._sources.get(source)
        if self.finished or state is None or state.dropped:
            return Leave()
        if now < state.not_before:
            return Wait(state.not_before - now)
        if state.in_order and state.asked:
            return Wait(LOOK_AGAIN)
        self._free_stalled(now)
        run = self._next_free(state, now) or self._next_late(state, now)
        if run is None:
            return Wait(LOOK_AGAIN) if self._may_help(state) else Leave()
        state.begin(run, now)
        return Ask(run)

    def got(self, source: str, index: int, now: float) -> bool:
        """The sink has accepted piece `index` from `source`. Whether the source may go on with its
        run; if not, others bring the rest, and it is `done`.
        """
        is_new = not self._got[index]
        if is_new:
            self._got[index] = 1
            self._left -= 1
            self._free.remove(index, index + 1)
        state = self._sources.get(source)
        asked = None if state is None else state.asked_for(index)
        if state is not None and state.in_order and asked is None:
            state.passed(self._sizes.of(index, index + 1), now, is_new=is_new)
            return any(self._got.find(0, each.at, each.stop) >= 0 for each in state.asked)
        if state is None or asked is None:  # it has left, and was a moment late
            return False
        state.brought(self._sizes.of(index, index + 1), now)
        asked.at, asked.since = index + 1, now
        if asked.stalled:
            self._take_back(asked)
        is_last = asked.at == asked.run.first + asked.run.count
        return is_last or self._got.find(0, asked.at, asked.stop) >= 0

    def done(self, source: str, run: Run, now: float) -> None:
        """`source` has delivered the whole run, or what was wanted of it."""
        state = self._sources[source]
        asked = state.asked_as(run)
        if not asked.stalled and self._got.find(0, run.first, asked.stop) >= 0:
            self.failed(source, run, Failure.GONE, now)  # it says so, and did not
        else:
            self._end(state, asked)

    def failed(self, source: str, run: Run, failure: Failure, now: float) -> None:
        """Free what is left of `run` for others and remember what `source` did."""
        state = self._sources[source]
        self._end(state, state.asked_as(run))
        self._failures.add(failure)
        state.failed(failure, now)
        if failure is Failure.LACKS:
            if state.held is None:
                state.held = PieceSet([(0, self._count)])
            state.held.remove(run.first, run.first + run.count)
            state.order.clear()
        if failure is Failure.LACKS or state.dropped:
            self._look_anew()

    def _look_anew(self) -> None:
        """What is free or who has it is not what it was."""
        self._availability = None
        self._version += 1

    def _next_free(self, state: SourceState, now: float) -> Run | None:
        """The rarest run that nobody is asked for, going on where the source was if it may."""
        free = self._free
        own = [(each.at, each.stop) for each in state.asked if each.stalled]
        if own:  # a source does not race itself
            free = PieceSet(free.stretches())
            for first, stop in own:
                free.remove(first, stop)
        if self._together.note(self._sources, now):
            self._draw_zones(now)
        if state.seen != self._version and now >= state.order_lasts:
            self._put_in_order(state, now)
        while state.order or state.seen != self._version:
            if not state.order:
                self._put_in_order(state, now)
                continue
            best = state.order[-1]
            first, stop = next(free.stretches(best.first, best.stop), (0, 0))
            if stop and self._together.saves(state, now):
                part = Candidate(first, stop, best.count)
                usual = self._least_run(state.share(more=1))
                if self._together.is_left_to_others(state, part, usual, self._free, now):
                    return None
                first, stop = self._together.place(part)
            if stop:
                stop = self._stop_of(first, stop, state, free, now)
                self._free.remove(first, stop)
                state.cursor = stop if state.in_order else stop % self._count
                state.awaited = None
                return Run(first, stop - first)
            state.order.pop()
        return None

    def _draw_zones(self, now: float) -> None:
        """Other nodes begin to fetch, or do not any more: leave them what is theirs."""
        self._look_anew()
        for state in self._sources.values():
            state.order.clear()
            for asked in state.asked if self._together.saves(state, now) else ():
                self._shorten(asked, self._together.wanted_until(asked))

    def _leave_to(self, node: SourceState, now: float) -> None:
        """What another node has by now is not waited for from a seeder, but for its next piece."""
        if node.held is None or not node.is_growing(now):
            return
        for state in self._sources.values():
            for asked in state.asked if self._together.saves(state, now) else ():
                held = next(node.held.stretches(asked.at + 1, asked.stop), None)
                if held is not None:
                    self._shorten(asked, held[0])

    def _shorten(self, asked: Asked, stop: int) -> None:
        """Free the end of a run that goes beyond `stop`."""
        if asked.at < stop < asked.stop and not asked.stalled:
            end, asked.stop = asked.stop, stop
            self._give_back(stop, end)

    def _put_in_order(self, state: SourceState, now: float) -> None:
        """Sort what is free and this source has by how rare it is."""
        if self._availability is None:
            rare = self._together.makes_rare(self._sources.values(), now)
            self._availability = Availability(rare)
        state.seen = self._version
        rarity = Availability() if state.in_order else self._availability
        state.order = by_rarity(self._free, state.held, rarity, state.cursor, self._count)
        state.order = self._together.in_order(state, now)
        state.order.reverse()
        state.order_lasts = now + ORDER_LASTS * len(state.order)

    def _stop_of(
        self, first: int, limit: int, state: SourceState, free: PieceSet, now: float
    ) -> int:
        """Where a run that begins with the rare pieces [first, limit) should end."""
        if self._sizes.of(first, limit) >= TINY or self._together.saves(state, now):
            return self._cut(first, limit, self._want(state))
        limit = free.end_of(first)  # too little alone: its neighbours come along
        limit = limit if state.held is None else min(limit, state.held.end_of(first))
        return self._cut(first, limit, TINY)

    def _want(self, state: SourceState) -> int:
        """How many bytes a run for this source should have."""
        share = state.share(more=1)
        least = self._least_run(share)
        if not share:
            return LEAST_RUN
        busy = sum(len(each.asked) for each in self._sources.values()) + 1
        parts = busy if len(self._sources) == 1 else 2 * busy
        fair = self._sizes.of(0, self._count) * self._left / self._count / parts
        if fair < least:  # towards the end, so that all end together
            return int(max(fair, min(least, LAST_AIM * share)))
        return int(min(max(least, AIM * share), fair))

    def _least_run(self, share: float) -> float:
        return min(LEAST_RUN, 2 * AIM * share) if share else LEAST_RUN

    def _cut(self, first: int, limit: int, size: int) -> int:
        """Where [first, limit) has `size` bytes; a crumb behind that comes along."""
        stop = self._sizes.cut(first, limit, size)
        return limit if self._sizes.of(stop, limit) < TINY else stop

    def _next_late(self, state: SourceState, now: float) -> Run | None:
        """The end of the run that will take longest, if this source may be done sooner."""
        late = [
            (seconds_left(asked, other, self._sizes, now), asked, other)
            for other in self._sources.values()
            for asked in other.asked
            if other is not state and not asked.stalled
        ]
        for seconds, asked, other in sorted(late, key=lambda each: -each[0]):
            is_spared = self._together.saves(state, now) and not self._together.saves(other, now)
            if seconds < (NO_NEWS if is_spared else LONG) * max(1.0, self._patience):
                continue
            if self._got.find(0, asked.at, asked.stop) < 0:
                continue  # all of it came from others
            given = end_to_give(asked, other, state, self._sizes)
            if given is not None:
                end, asked.stop = asked.stop, given[0]
                self._give_back(given[1], end)
                return Run(given[0], given[1] - given[0])
            is_last = asked.stop == asked.at + 1 and not self._is_asked_twice(asked.at)
            if is_last and is_sooner(asked, seconds, state, other, self._sizes):
                return Run(asked.at, 1)
        return None

    def _is_asked_twice(self, index: int) -> bool:
        return sum(each.at <= index < each.stop for each in self._all_asked()) > 1

    def _may_help(self, state: SourceState) -> bool:
        """Whether anything that is not here yet is something this source has."""
        if state.held is None:
            return True
        wanted = [(each.at, each.stop) for each in self._all_asked()]
        parts = (part for each in wanted for part in state.held.stretches(*each))
        return any(self._free.common(state.held)) or any(parts)

    def _all_asked(self) -> Iterator[Asked]:
        for source in self._sources.values():
            yield from source.asked

    def _free_stalled(self, now: float) -> None:
        """Give back what sources were asked for that bring nothing."""
        for source in self._sources.values():
            share = source.share()
            for asked in source.asked:
                if asked.stalled or asked.at >= asked.stop:
                    continue
                usual = self._sizes.of(asked.at, asked.at + 1) / share if share else 0.0
                if now - asked.since >= max(self._patience, 2 * usual):
                    asked.stalled = True
                    self._give_back(asked.at, asked.stop)

    def _take_back(self, asked: Asked) -> None:
        """A source that had stalled goes on, as far as nobody else was asked meanwhile."""
        asked.stop = max(asked.at, min(asked.stop, self._free.end_of(asked.at)))
        asked.stalled = False
        self._free.remove(asked.at, asked.stop)

    def _end(self, state: SourceState, asked: Asked) -> None:
        """A source is not asked for a run any more: free what nobody else is asked for."""
        state.asked.remove(asked)
        if asked.stalled:
            self._version += 1  # what it did not race itself for, it may be asked for again
        else:
            self._give_back(asked.run.first, asked.stop)

    def _give_back(self, first: int, stop: int) -> None:
        """Free what is missing of [first, stop) and asked of nobody."""
        at = self._got.find(0, first, stop)
        if at < 0:
            return
        while at >= 0:
            end = self._got.find(1, at, stop)
            end = stop if end < 0 else end
            self._free.add(at, end)
            at = self._got.find(0, end, stop)
        for other in self._all_asked():
            if not other.stalled and other.run.first < stop and first < other.stop:
                self._free.remove(max(first, other.at), min(stop, other.stop))
        self._version += 1
