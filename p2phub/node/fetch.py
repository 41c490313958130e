"""Fetch one file: drive a `FetchPlan` with real sources, a few workers per source.

The plan decides, a source moves the bytes from its own threads, the sink checks and keeps them.
This module only joins the three: it starts the workers, tells the plan what happened, and turns
"nobody is left" into one error."""

import threading
from collections.abc import Callable, Iterable, Sequence

import trio

from p2phub.errors import (
    DamagedBlobError,
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
from p2phub.protocol.fetch_plan import Ask, Failure, FetchPlan, Leave, Wait
from p2phub.protocol.ports import Holding, Sink, Source

_FAILURES: tuple[tuple[type[P2PHubError], Failure], ...] = (
    (DamagedBlobError, Failure.DAMAGED),
    (WrongBytesError, Failure.LIED),
    (NotFoundError, Failure.LACKS),
    (TooSlowError, Failure.SLOW),
    (RemoteError, Failure.GONE),
)


class FileFetch:
    """The fetching of one file.

    `label` is what people call the file, for errors. `brought(source name, bytes)` is called from
    any thread for every piece that was accepted."""

    def __init__(
        self,
        label: str,
        content: ContentId,
        table: PieceTable,
        sink: Sink,
        *,
        missing: Iterable[Run] | None = None,
        patience: float = 10,
        brought: Callable[[str, int], None] = lambda source, size: None,
    ) -> None:
        lengths = [table.length(index) for index in range(table.count)]
        self._label, self._content, self._table, self._sink = label, content, table, sink
        self._plan = FetchPlan(lengths, patience, missing=missing)
        self._brought = brought
        self.liars: set[str] = set()
        """Who delivered wrong bytes, or owned up to a damaged copy."""
        self.slow: set[str] = set()
        """Who was asked for something and brought nothing for a long time."""
        self._lock = threading.Lock()
        self._clock = trio.lowlevel.current_clock()
        self._changed = trio.Event()

    async def run(self, sources: Sequence[tuple[Source, Holding]]) -> None:
        """Bring every missing piece into the sink.

        Raises `WrongBytesError` if what is left of the sources lied or is damaged, `NoSourceError`
        if nobody is left, `NoSpaceError` when the disk is full."""
        for source, holding in sources:
            self._plan.join(source.name, holding)
        with plain_errors():
            async with trio.open_nursery() as nursery:
                for source, _ in sources:
                    for _ in range(source.connections):
                        nursery.start_soon(self._work, source, nursery.cancel_scope)
        self.slow |= self._plan.stalled(trio.current_time())
        if self._plan.finished:
            return
        if self._plan.lied_to:
            raise WrongBytesError(
                f"{self._label}: a source delivered wrong bytes and no honest one is left",
                remedy="pull again when another peer has it; what was verified is kept",
            )
        raise NoSourceError(
            f"{self._label}: no source is left for the {self._plan.missing} pieces still missing",
            remedy="pull again later; what was verified is kept",
        )

    async def _work(self, source: Source, all_workers: trio.CancelScope) -> None:
        while True:
            async with source.place():
                step = self._next(source)
                if isinstance(step, Ask):
                    await self._ask(source, step.run)
            if isinstance(step, Wait):
                with trio.move_on_after(step.seconds):
                    await self._changed.wait()
            if isinstance(step, Leave):
                if self._plan.finished:
                    all_workers.cancel()  # one may hang on a piece another one brought
                return

    def _next(self, source: Source) -> Ask | Wait | Leave:
        with self._lock:
            return self._plan.next_for(source.name, trio.current_time())

    async def _ask(self, source: Source, run: Run) -> None:
        sink = _CountingSink(self, source.name)
        failure = None
        try:
            await source.fetch(self._content, self._table, run, sink)
        except (RemoteError, WrongBytesError, NotFoundError) as error:
            failure = next(kind for which, kind in _FAILURES if isinstance(error, which))
        if failure in (Failure.LIED, Failure.DAMAGED):
            self.liars.add(source.name)
        if failure is Failure.SLOW:
            self.slow.add(source.name)
        now = trio.current_time()
        with self._lock:
            if failure is None:
                self._plan.done(source.name, run, now)
            else:
                self._plan.failed(source.name, run, failure, now)
        changed, self._changed = self._changed, trio.Event()
        changed.set()

    def accepted(self, source: str, index: int, data: memoryview) -> None:
        """Check, keep and count one piece; called from the threads of sources."""
        self._sink.accept(index, data)
        with self._lock:
            self._plan.got(source, index, self._clock.current_time())
        self._brought(source, len(data))


class _CountingSink:
    """The sink a source sees: the real one, with the name of who brought the piece."""

    def __init__(self, fetch: FileFetch, source: str) -> None:
        self._fetch, self._source = fetch, source

    def accept(self, index: int, data: memoryview) -> None:
        self._fetch.accepted(self._source, index, data)
