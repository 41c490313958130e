"""Fetch many small files at once: drive a `BatchPlan` with real sources, a few workers per source.

The plan decides, a source hands over whole files from its own threads, a handful of the store
checks them. What requests have brought becomes blobs together, while others bring the next: every
keeping waits for the disk, and takes whatever is there by then. What nobody brought is left to
whoever called, who goes the way of any file for it: with its patience, and with its errors.

A connection asks no further while what it brought before its last request is not kept: so much is
fetched again, at most, by a process that was killed.
"""

import threading
from collections.abc import Callable, Sequence

import trio

from p2phub.errors import (
    NotFoundError,
    RemoteError,
    TooSlowError,
    WrongBytesError,
    plain_errors,
)
from p2phub.formats.ids import ContentId
from p2phub.node.services import DiskThreads
from p2phub.protocol.batch_plan import PATIENCE, Ask, BatchPlan, Leave, Wait
from p2phub.protocol.ports import Source
from p2phub.store.small_files import Handful, SmallFiles

FEW = 4
"""So many small files at least are worth a request for many."""


class SmallFilesFetch:
    """The fetching of `contents`, each of one piece.

    `patience`: seconds without a file after which a source's share is given to others too.
    `brought(source name, bytes)` is called from any thread for every file that was accepted.
    `kept(contents)` is called when these files have become blobs."""

    def __init__(
        self,
        contents: Sequence[ContentId],
        store: SmallFiles,
        on_disk: DiskThreads,
        *,
        patience: float = PATIENCE,
        brought: Callable[[str, int], None] = lambda source, size: None,
        kept: Callable[[Sequence[ContentId]], None] = lambda contents: None,
    ) -> None:
        self._store, self._on_disk = store, on_disk
        self._brought, self._kept = brought, kept
        self._plan = BatchPlan(contents, patience=patience)
        self.lies: dict[ContentId, WrongBytesError] = {}
        """Of which files somebody delivered wrong bytes."""
        self.caught: dict[ContentId, set[str]] = {}
        """Who delivered them."""
        self.slow: set[str] = set()
        """Who was asked for something and brought nothing for a long time."""
        self._lock = threading.Lock()
        self._clock = trio.lowlevel.current_clock()
        self._changed = trio.Event()
        self._came: list[tuple[Handful, trio.Event]] = []
        """What requests have brought and nobody keeps yet; each with what is set when it is."""
        self._keeping = trio.Lock()

    async def run(self, sources: Sequence[Source]) -> None:
        """Bring what these sources have. Raises what our own disk says, and nothing of theirs."""
        with plain_errors():
            async with trio.open_nursery() as nursery:
                for source in sources:
                    for _ in range(source.connections):
                        nursery.start_soon(self._work, source, nursery)
        self.slow |= self._plan.stalled(trio.current_time())

    async def _work(self, source: Source, nursery: trio.Nursery) -> None:
        unkept: list[trio.Event] = []
        while True:
            async with source.place():
                with self._lock:
                    step = self._plan.next_for(source.name, trio.current_time())
                if isinstance(step, Ask):
                    unkept.append(trio.Event())
                    await self._ask(source, step.contents, unkept[-1], nursery)
            if self._plan.finished:
                nursery.cancel_scope.cancel()  # one may hang on files that others brought
            for kept in unkept[:-1]:
                await kept.wait()
            del unkept[:-1]
            if isinstance(step, Wait):
                with trio.move_on_after(step.seconds):
                    await self._changed.wait()
            if isinstance(step, Leave):
                return

    async def _ask(
        self, source: Source, batch: Sequence[ContentId], kept: trio.Event, nursery: trio.Nursery
    ) -> None:
        """One request; what it brought is kept by a task of `nursery`, however it ends."""
        size = sum(content.size for content in batch)
        handful = await self._on_disk(self._store.begin, size)

        def accept(content: ContentId, data: memoryview) -> None:
            self._accept(source.name, handful, content, data)

        try:
            await self._fetch(source, batch, accept)
        finally:
            self._came.append((handful, kept))
            nursery.start_soon(self._keep_all)
        changed, self._changed = self._changed, trio.Event()
        changed.set()

    async def _keep_all(self) -> None:
        """Keep what has come by now, also when the fetch is cancelled; one at a time does."""
        with trio.CancelScope(shield=True):
            async with self._keeping:
                came, self._came = self._came, []
                if came:
                    await self._on_disk(self._keep, [handful for handful, _ in came])
                for _, kept in came:
                    kept.set()

    async def _fetch(
        self,
        source: Source,
        batch: Sequence[ContentId],
        accept: Callable[[ContentId, memoryview], None],
    ) -> None:
        try:
            await source.fetch_many(batch, accept)
        except (RemoteError, WrongBytesError, NotFoundError) as error:
            if isinstance(error, TooSlowError):
                self.slow.add(source.name)
            with self._lock:
                self._plan.failed(source.name, batch)
        else:
            with self._lock:
                self._plan.ended(source.name, batch)

    def _accept(self, source: str, handful: Handful, content: ContentId, data: memoryview) -> None:
        """Check, keep and count one file; called from the threads of sources."""
        try:
            handful.accept(content, data)
        except WrongBytesError as error:
            self.caught.setdefault(content, set()).add(source)
            self.lies[content] = lie = WrongBytesError(
                f"{source} delivered wrong bytes: {error.message}",
                remedy="pull again when another peer has it; what was verified is kept",
            )
            raise lie from None
        with self._lock:
            is_new = self._plan.got(source, content, self._clock.current_time())
        if is_new:
            self._brought(source, len(data))

    def _keep(self, handfuls: Sequence[Handful]) -> None:
        first, *others = handfuls
        try:
            for handful in others:
                first.take_over(handful)
            self._kept(first.keep())
        finally:
            for handful in handfuls:
                handful.end()
