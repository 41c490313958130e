"""Fetch many small files at once: drive a `BatchPlan` with real sources, a few workers per source.

The plan decides, a source hands over whole files from its own threads, a handful of the store
checks them, and what one request brought becomes blobs together. What nobody brought is left to
whoever called, who goes the way of any file for it: with its patience, and with its errors.
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

    async def run(self, sources: Sequence[Source]) -> None:
        """Bring what these sources have. Raises what our own disk says, and nothing of theirs."""
        with plain_errors():
            async with trio.open_nursery() as nursery:
                for source in sources:
                    for _ in range(source.connections):
                        nursery.start_soon(self._work, source, nursery.cancel_scope)
        self.slow |= self._plan.stalled(trio.current_time())

    async def _work(self, source: Source, all_workers: trio.CancelScope) -> None:
        while True:
            async with source.place():
                with self._lock:
                    step = self._plan.next_for(source.name, trio.current_time())
                if isinstance(step, Ask):
                    await self._ask(source, step.contents)
            if isinstance(step, Wait):
                with trio.move_on_after(step.seconds):
                    await self._changed.wait()
            if isinstance(step, Leave):
                return
            if self._plan.finished:
                all_workers.cancel()  # one may hang on files that others brought

    async def _ask(self, source: Source, batch: Sequence[ContentId]) -> None:
        """One request; what it brought is kept, however it ends."""
        size = sum(content.size for content in batch)
        handful = await self._on_disk(self._store.begin, size)

        def accept(content: ContentId, data: memoryview) -> None:
            self._accept(source.name, handful, content, data)

        try:
            await self._fetch(source, batch, accept)
        finally:
            with trio.CancelScope(shield=True):
                await self._on_disk(self._keep, handful)
        changed, self._changed = self._changed, trio.Event()
        changed.set()

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

    def _keep(self, handful: Handful) -> None:
        try:
            self._kept(handful.keep())
        finally:
            handful.end()
