"""Fetch one file: drive a `FetchPlan` with real sources, a few workers per source.

The plan decides, a source moves the bytes from its own threads, the sink checks and keeps them.
This module only joins the three: it starts the workers, tells the plan what happened, and turns
"nobody is left" into one error.

Rules it keeps:
 * sources may join, learn of more pieces and leave at any time; who joins takes part at once;
 * when the last piece was accepted, whoever still sends has `FAREWELL` seconds to come to rest (a
   connection that is cut cannot be used again), and nobody is waited for longer;
 * a run is cut short, without blame, when others were given its end;
 * who sent wrong bytes is told apart from who owns up to a damaged copy: only the first one lied;
 * where nobody brings a piece for `HOPELESS` seconds, all who were asked have failed: every fetch
   ends in bounded time, whatever drips in;
 * a fetch ends when nothing is missing, or when no source can bring anything and the caller does
   not look for others any more."""

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

import trio

from p2phub.errors import (
    NoSourceError,
    NotFoundError,
    P2PHubError,
    RemoteError,
    TooSlowError,
    WrongBytesError,
    plain_errors,
)
from p2phub.formats.ids import ContentId
from p2phub.formats.pieces import PieceTable, Run
from p2phub.protocol.fetch_plan import FetchPlan
from p2phub.protocol.ports import Holding, Sink, Source
from p2phub.protocol.source_state import Failure
from p2phub.protocol.steps import Ask, Leave, Wait

_FAILURES: tuple[tuple[type[P2PHubError], Failure], ...] = (
    (WrongBytesError, Failure.DAMAGED),  # its own copy: what it sent is for the sink to judge
    (NotFoundError, Failure.LACKS),
    (TooSlowError, Failure.SLOW),
    (RemoteError, Failure.GONE),
)


FAREWELL = 0.05  # seconds
PATIENCE = 1.0  # seconds
SLOW = 5.0  # seconds without a piece that make a source slow which has brought some
HOPELESS = 60.0  # seconds without a piece of anybody, after which all who were asked have failed


@dataclass(slots=True)
class _Member:
    """A source that takes part, and what ends its workers."""

    source: Source
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)


class FileFetch:
    """The fetching of one file. Everything but `accepted` is called from trio's thread.

    `label` is what people call the file, for errors. `patience`: seconds without a piece after
    which a source's run is given to others too; more than usual where our own rates are low.
    `own`: the name of this node, so that nodes which start together ask a lone seeder for
    different parts. `head`: so many of the first pieces come before the others. `brought(source
    name, bytes)` is called from any thread for every piece that was accepted, `expecting(run)` for
    every run of which a first piece was.
    """

    def __init__(
        self,
        label: str,
        content: ContentId,
        table: PieceTable,
        sink: Sink,
        *,
        missing: Iterable[Run] | None = None,
        patience: float = PATIENCE,
        own: str = "",
        head: int = 0,
        brought: Callable[[str, int], None] = lambda source, size: None,
        expecting: Callable[[Run], None] = lambda run: None,
    ) -> None:
        lengths = (table.length(index) for index in range(table.count))
        self._label, self._content, self._table, self._sink = label, content, table, sink
        self._plan = FetchPlan(lengths, patience, missing=missing, own=own, head=head)
        self._brought, self._expecting, self._patience = brought, expecting, patience
        self.liars: set[str] = set()
        """Who delivered wrong bytes, or owned up to a damaged copy: of no use for this file."""
        self.caught: set[str] = set()
        """Those of them whose bytes were found wrong here, which is worth remembering."""
        self.slow: set[str] = set()
        """Who was asked for something and brought nothing for a long time, or never anything."""
        self._helped: set[str] = set()
        self._asking: dict[trio.CancelScope, float] = {}
        self._progress = 0.0
        self._lock = threading.Lock()
        self._clock = trio.lowlevel.current_clock()
        self._trio = trio.lowlevel.current_trio_token()
        self._changed = trio.Event()
        self._members: dict[str, _Member] = {}
        self._nursery: trio.Nursery | None = None
        self._workers = self._resting = 0
        self._may_come = False

    def join(self, source: Source, holding: Holding, *, fetches: bool | None = None) -> None:
        """`source` has `holding` of the file. Before `run` or while it runs. `fetches`: whether it
        fetches the file too, as far as that is known anew.

        A new source takes part at once. Again for a known one: it has `holding` now, and its
        workers look again. Another object of the same name takes the place of the old one."""
        known = self._members.get(source.name)
        if known is not None and known.source is not source:
            self.leave(source.name)
            known = None
        with self._lock:
            self._plan.join(source.name, holding, trio.current_time(), fetches=fetches)
        if known is None:
            member = self._members[source.name] = _Member(source)
            self._start(member)
        self._ring()

    def leave(self, name: str) -> None:
        """The source `name` went away: what it was asked for is free for others. It may join
        again, and if it lied is not asked again all the same. Nothing happens to one not known."""
        member = self._members.pop(name, None)
        if member is None:
            return
        member.scope.cancel()
        with self._lock:
            self._plan.leave(name)
        self._ring()

    async def run(
        self, sources: Sequence[tuple[Source, Holding]] = (), *, until: trio.Event | None = None
    ) -> None:
        """Bring every missing piece into the sink; `sources` join first.

        `until`: as long as it is not set, sources may still `join`, so that the fetch goes on
        waiting when nobody who is here has what is missing (it never waits once nothing is).
        None: whoever joined has to do.

        Raises `WrongBytesError` if what is left of the sources lied or is damaged, `NoSourceError`
        if nobody is left, `NoSpaceError` when the disk is full."""
        for source, holding in sources:
            self.join(source, holding)
        try:
            with plain_errors():
                async with trio.open_nursery() as nursery:
                    self._nursery = nursery
                    for member in self._members.values():
                        self._start(member)
                    nursery.start_soon(self._watch)
                    if until is not None and not until.is_set():
                        self._may_come = True
                        nursery.start_soon(self._look_out, until)
                    self._end_if_nothing_goes_on()
        finally:
            self._nursery = None
        self._note_slow()
        if self._plan.finished:
            return
        if self._plan.lied_to:
            own = "a source says that its own copy is damaged"
            said = "a source delivered wrong bytes" if self.caught else own
            raise WrongBytesError(
                f"{self._label}: {said} and no honest one is left",
                remedy="pull again when another peer has it; what was verified is kept",
            )
        raise NoSourceError(
            f"{self._label}: no source is left for the {self._plan.missing} pieces still missing",
            remedy="pull again later; what was verified is kept",
        )

    def _note_slow(self) -> None:
        now = trio.current_time()
        never = self._plan.stalled(now, self._patience) - self._helped
        self.slow |= never | self._plan.stalled(now, max(SLOW, self._patience))

    async def _look_out(self, until: trio.Event) -> None:
        await until.wait()
        self._may_come = False
        self._end_if_nothing_goes_on()

    def _start(self, member: _Member) -> None:
        """Start the workers of a source, once there is a nursery for them."""
        if self._nursery is None:
            return
        try:
            self._nursery.start_soon(self._serve, member)
        except RuntimeError:  # everything is here, or the fetch ended, at this very moment
            return
        self._workers += member.source.connections

    def _ring(self) -> None:
        """Something changed: everybody looks again, and whoever rested does not yet again."""
        self._resting = 0
        changed, self._changed = self._changed, trio.Event()
        changed.set()
        self._end_if_nothing_goes_on()

    def _end_if_nothing_goes_on(self) -> None:
        """End the run if it can bring nothing any more."""
        if self._nursery is None:
            return
        scope = self._nursery.cancel_scope
        if self._plan.finished:  # one may hang on a piece another one brought
            scope.deadline = min(scope.deadline, trio.current_time() + FAREWELL)
        if self._resting == self._workers and (self._plan.finished or not self._may_come):
            scope.cancel()

    async def _serve(self, member: _Member) -> None:
        with member.scope:
            async with trio.open_nursery() as nursery:
                for _ in range(member.source.connections):
                    nursery.start_soon(self._work, member.source)

    async def _work(self, source: Source) -> None:
        try:
            while True:
                await self._step(source)
        finally:
            self._workers -= 1
            self._ring()

    async def _step(self, source: Source) -> None:
        async with source.place():
            changed = self._changed
            step = self._next(source)
            if isinstance(step, Ask):
                await self._ask(source, step.run)
        if isinstance(step, Wait):
            with trio.move_on_after(step.seconds):
                await changed.wait()
        if isinstance(step, Leave):
            if changed is self._changed:
                self._resting += 1
                self._end_if_nothing_goes_on()
            await changed.wait()

    def _next(self, source: Source) -> Ask | Wait | Leave:
        with self._lock:
            return self._plan.next_for(source.name, trio.current_time())

    async def _ask(self, source: Source, run: Run) -> None:
        sink = _CountingSink(self, source.name, partial(self._expecting, run))
        failure = None
        try:
            with trio.CancelScope() as scope:
                self._asking[scope] = trio.current_time()
                await source.fetch(self._content, self._table, run, sink)
        except _EnoughError:
            pass
        except (RemoteError, WrongBytesError, NotFoundError) as error:
            failure = next(kind for which, kind in _FAILURES if isinstance(error, which))
        finally:
            del self._asking[scope]
        if scope.cancelled_caught:
            failure = Failure.SLOW
        elif sink.was_lied_to:
            failure = Failure.LIED
        self._note(source.name, failure)
        if source.name not in self._members:
            return  # it left at this very moment, and the plan has forgotten the run
        now = trio.current_time()
        with self._lock:
            if failure is None:
                self._plan.done(source.name, run, now)
            else:
                self._plan.failed(source.name, run, failure, now)
        self._ring()

    def _note(self, name: str, failure: Failure | None) -> None:
        if failure in (Failure.LIED, Failure.DAMAGED):
            self.liars.add(name)
        if failure is Failure.LIED:
            self.caught.add(name)
        if failure is Failure.SLOW:
            self.slow.add(name)

    async def _watch(self) -> None:
        """Give up those who were asked for something if nobody brings anything any more."""
        hopeless = max(HOPELESS, 2 * self._patience)
        while True:
            began = min(self._asking.values(), default=trio.current_time())
            await trio.sleep_until(max(began, self._progress) + hopeless)
            before = trio.current_time() - hopeless
            if self._progress <= before:
                for scope in [each for each, since in self._asking.items() if since <= before]:
                    scope.cancel()

    def accepted(self, source: str, index: int, data: memoryview) -> None:
        """Check, keep and count one piece; called from the threads of sources.

        Raises `_EnoughError` if others bring the rest of the run."""
        self._sink.accept(index, data)
        self._progress = now = self._clock.current_time()
        with self._lock:
            is_due = self._plan.is_due(source, index)
            goes_on = self._plan.got(source, index, now)
            finished = self._plan.finished
        self._helped.add(source)
        if is_due:
            self._brought(source, len(data))
        if finished:
            self._trio.run_sync_soon(self._ring)
        if not goes_on:
            raise _EnoughError("the rest of this run comes from others")


class _EnoughError(P2PHubError):
    """Not a fault: ends a run early whose rest others bring."""


class _CountingSink:
    """The sink a source sees: the real one, with the name of who brought the piece."""

    def __init__(self, fetch: FileFetch, source: str, begins: Callable[[], None]) -> None:
        self._fetch, self._source = fetch, source
        self._begins: Callable[[], None] | None = begins
        """Until the first piece was accepted."""
        self.was_lied_to = False
        """Whether the pieces that came were not those asked for; else, who says that bytes are
        wrong means its own."""

    def accept(self, index: int, data: memoryview) -> None:
        try:
            self._fetch.accepted(self._source, index, data)
        except WrongBytesError:
            self.was_lied_to = True
            raise
        if self._begins is not None:
            self._begins()
            self._begins = None
