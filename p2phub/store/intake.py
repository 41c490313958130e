"""Many files of a person at once: each is read once, small ones are made durable together.

Several files are read side by side, as many as there are cores; one that is larger than its share
of them gets two threads for itself. A file that was read before and looks unchanged is read no more
than a few pieces of (`sources`).

All or nothing: if one of them changes while it is read, or the disk is full, nothing of these files
stays that was not a blob before. Files that are taken in place are only ever read.
"""

import contextlib
import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from p2phub.errors import P2PHubError, UsageError
from p2phub.formats.ids import ContentId
from p2phub.formats.pieces import PieceTable
from p2phub.store.adoption import Adopter, Arrival, Placed
from p2phub.store.disk import Disk, Progress
from p2phub.store.ingest import Ingested, ingest, opened
from p2phub.store.layout import Layout
from p2phub.store.pipeline import Buffers
from p2phub.store.sources import Remembered, Sources, sample
from p2phub.store.space import Space
from p2phub.store.stamp import Stamp
from p2phub.store.verification import bad_pieces

BATCH_FILES, BATCH_BYTES = 256, 64 << 20
"""Files wait for each other up to this."""
LANES = 8
"""Files that are read at one time, at most; each has up to 6 MiB in memory."""
LANES_FROM = 8 << 20
"""Bytes of all files together for which more than one lane is worth its start."""
AHEAD = 4
"""Files a lane that are begun before the first of them is a blob."""

Usable = Callable[[ContentId, bool], PieceTable | None]
"""The table of a blob that is here and right; the flag: also if it is a file of a person."""


@dataclass(frozen=True, slots=True)
class _Taken:
    """A file that was read: what it is, and our copy of it, if it needs to become a blob."""

    path: Path
    """Through no link."""
    found: Ingested
    copy: Path | None = None
    new: bool = True
    """Whether it was read whole."""

    @property
    def remembered(self) -> tuple[Path, Stamp, Remembered]:
        known = Remembered(self.found.content, self.found.sha256, self.found.git_sha1)
        return self.path, self.found.stamp, known


@dataclass(frozen=True, slots=True)
class _Manner:
    """How files are to be read."""

    progress: Progress
    in_place: bool
    rehash: bool
    share: int
    """Bytes of a core's share; a file of more gets threads of its own."""
    buffers: Buffers


class Intake:
    """Takes files into one store. Thread-safe."""

    def __init__(
        self,
        adopter: Adopter,
        layout: Layout,
        disk: Disk,
        space: Space,
        sources: Sources,
        usable: Usable,
    ) -> None:
        self._adopter, self._layout, self._disk, self._space = adopter, layout, disk, space
        self._sources, self._usable = sources, usable
        self._numbers = itertools.count()

    def take_in(
        self,
        sources: Iterable[Path],
        progress: Progress,
        *,
        in_place: bool = False,
        rehash: bool = False,
    ) -> list[Ingested]:
        """Make a blob of each, and say what they are: see `Blobs.ingest_many`."""
        paths = list(sources)
        total = sum(map(_size, paths))
        manner = _Manner(progress, in_place, rehash, total // _cores(), Buffers())
        lanes = min(len(paths), _cores(), LANES) if total > LANES_FROM else 1
        done: list[Ingested] = []
        batch: list[_Taken] = []
        new: list[ContentId] = []
        with ExitStack() as undo:
            undo.callback(self._drop_all, new)
            undo.callback(self._discard, batch)
            with self._reading(paths, manner, lanes) as results:
                for taken in results:
                    done.append(taken.found)
                    batch.append(taken)
                    size = sum(waiting.found.content.size for waiting in batch)
                    if len(batch) >= BATCH_FILES or size >= BATCH_BYTES:
                        self._flush(batch, new)
            self._flush(batch, new)
            undo.pop_all()
        return done

    @contextmanager
    def _reading(
        self, paths: Sequence[Path], manner: _Manner, lanes: int
    ) -> Iterator[Iterator[_Taken]]:
        """Each file when it was read, in their order. What nobody took at the end is removed."""
        if lanes == 1:
            yield (self._take(path, manner) for path in paths)
            return
        waiting: deque[Future[_Taken]] = deque()
        pool = ThreadPoolExecutor(lanes)
        try:
            yield self._ahead(paths, manner, pool, waiting, lanes * AHEAD)
        finally:
            pool.shutdown(cancel_futures=True)
            for future in waiting:
                if not future.cancelled() and future.exception() is None:
                    self._discard([future.result()])

    def _ahead(
        self,
        paths: Sequence[Path],
        manner: _Manner,
        pool: ThreadPoolExecutor,
        waiting: "deque[Future[_Taken]]",
        most: int,
    ) -> Iterator[_Taken]:
        rest = iter(paths)
        while True:
            for path in itertools.islice(rest, most - len(waiting)):
                waiting.append(pool.submit(self._take, path, manner))
            if not waiting:
                return
            waiting[0].result()  # while it fails, it is not taken
            yield waiting.popleft().result()

    def _take(self, source: Path, manner: _Manner) -> _Taken:
        path = Path(os.path.realpath(source))
        known = None if manner.rehash else self._recall(source, path, manner)
        if known is not None:
            return _Taken(path, known, new=False)
        threads = _size(source) > manner.share
        if not manner.in_place:
            return self._copy(source, path, manner, threads)
        found = ingest(source, None, self._disk, manner.progress, manner.buffers, threads=threads)
        inside = path.is_relative_to(os.path.realpath(self._layout.store))
        if inside and self._usable(found.content, True) is None:
            raise UsageError(
                f"{source} lies in the store of this node, which changes what is in it",
                remedy="publish it without --in-place, or move it out",
            )
        return _Taken(path, found, new=not inside)

    def _recall(self, source: Path, path: Path, manner: _Manner) -> Ingested | None:
        """What a file is that was read before and looks unchanged; None for another."""
        with opened(source) as (fd, stamp):
            known = self._sources.recall(path, stamp)
            table = self._usable(known.content, manner.in_place) if known else None
            if known is None or table is None:
                return None
            looked_at = sample(table)
            if bad_pieces(fd, table, source, indexes=looked_at):
                return None
            if Stamp.of(os.fstat(fd)) != stamp:
                return None
        manner.progress(stamp.size)
        hashed = sum(table.length(index) for index in looked_at)
        return Ingested(known.content, known.sha256, known.git_sha1, table, hashed, stamp)

    def _copy(self, source: Path, path: Path, manner: _Manner, threads: bool) -> _Taken:
        copy = self._layout.temp / f"ingest-{os.getpid()}-{next(self._numbers)}"
        with ExitStack() as undo:
            undo.callback(self._remove, copy)
            found = ingest(
                source,
                copy,
                self._disk,
                manner.progress,
                manner.buffers,
                threads=threads,
                claim=lambda size: self._space.claim(copy, size, copy),
            )
            undo.pop_all()
        return _Taken(path, found, copy)

    def _flush(self, batch: list[_Taken], new: list[ContentId]) -> None:
        read = [taken for taken in batch if taken.new]
        new += self._adopter.put(
            [
                Arrival(taken.copy, taken.found.content, taken.found.table, taken.found.sha256)
                for taken in read
                if taken.copy is not None
            ]
        )
        new += self._adopter.put_in_place(
            [
                Placed(
                    taken.path,
                    taken.found.stamp,
                    taken.found.content,
                    taken.found.table,
                    taken.found.sha256,
                )
                for taken in read
                if taken.copy is None
            ]
        )
        self._sources.remember(taken.remembered for taken in read)
        self._discard(batch)

    def _discard(self, batch: list[_Taken]) -> None:
        for taken in batch:
            if taken.copy is not None:
                self._remove(taken.copy)
        batch.clear()

    def _remove(self, copy: Path) -> None:
        self._space.release(copy)
        with contextlib.suppress(P2PHubError):
            self._disk.remove(copy)

    def _drop_all(self, contents: Iterable[ContentId]) -> None:
        for content in contents:
            with contextlib.suppress(P2PHubError):
                self._adopter.drop(content)


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _size(source: Path) -> int:
    try:
        return source.stat().st_size
    except OSError:
        return 0  # what is wrong with it, `ingest` says
