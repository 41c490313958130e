"""Many files of a person at once: each is read once, small ones are made durable together.

All or nothing: if one of them changes while it is read, or the disk is full, nothing of these files
stays that was not a blob before.
"""

import contextlib
import itertools
import os
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

from p2phub.errors import P2PHubError
from p2phub.formats.ids import ContentId
from p2phub.store.adoption import Adopter, Arrival
from p2phub.store.disk import Disk, Progress
from p2phub.store.ingest import Buffers, Ingested, ingest
from p2phub.store.layout import Layout
from p2phub.store.space import Space

BATCH_FILES, BATCH_BYTES = 256, 64 << 20
"""Files wait for each other up to this."""


class Intake:
    """Takes files into one store. Thread-safe."""

    def __init__(self, adopter: Adopter, layout: Layout, disk: Disk, space: Space) -> None:
        self._adopter, self._layout, self._disk, self._space = adopter, layout, disk, space
        self._numbers = itertools.count()

    def take_in(self, sources: Iterable[Path], progress: Progress) -> list[Ingested]:
        """Make a blob of each, and say what they are: see `Blobs.ingest_many`."""
        done: list[Ingested] = []
        batch: list[Arrival] = []
        new: list[ContentId] = []
        buffers = Buffers()
        with ExitStack() as undo:
            undo.callback(self._drop_all, new)
            undo.callback(self._discard, batch)
            for source in sources:
                done.append(self._copy(source, batch, progress, buffers))
                size = sum(waiting.content.size for waiting in batch)
                if len(batch) >= BATCH_FILES or size >= BATCH_BYTES:
                    self._flush(batch, new)
            self._flush(batch, new)
            undo.pop_all()
        return done

    def _copy(
        self, source: Path, batch: list[Arrival], progress: Progress, buffers: Buffers
    ) -> Ingested:
        copy = self._layout.temp / f"ingest-{os.getpid()}-{next(self._numbers)}"
        with contextlib.suppress(OSError):  # what is wrong with it, `ingest` says
            self._space.claim(copy, source.stat().st_size, copy)
        with ExitStack() as undo:
            undo.callback(self._remove, copy)
            ingested = ingest(source, copy, self._disk, progress, buffers)
            undo.pop_all()
        batch.append(Arrival(copy, ingested.content, ingested.table, ingested.sha256))
        return ingested

    def _flush(self, batch: list[Arrival], new: list[ContentId]) -> None:
        new += self._adopter.put(batch)
        self._discard(batch)

    def _discard(self, batch: list[Arrival]) -> None:
        for arrival in batch:
            self._remove(arrival.path)
        batch.clear()

    def _remove(self, copy: Path) -> None:
        self._space.release(copy)
        with contextlib.suppress(P2PHubError):
            self._disk.remove(copy)

    def _drop_all(self, contents: Iterable[ContentId]) -> None:
        for content in contents:
            with contextlib.suppress(P2PHubError):
                self._adopter.drop(content)
