"""The files on their way into one store: opened once, shared by whoever needs them, committed
together.

Two pulls that want the same file get the same `Partial` and fill it together; the network serves
from it meanwhile. Space is claimed before a file is begun. What an earlier process left is listed
at once when the store opens, and verified when somebody asks for it.
"""

import contextlib
import os
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from p2phub.errors import P2PHubError, UsageError
from p2phub.formats.ids import ContentId
from p2phub.formats.pieces import PieceTable
from p2phub.store.blobs import Blobs
from p2phub.store.disk import Disk, Progress, disk_errors, is_folder, is_plain, no_progress
from p2phub.store.layout import Layout
from p2phub.store.partial import Partial, Verified
from p2phub.store.space import Space, written_bytes


class _Shared:
    """A partial, how many have opened it, and the lock under which the first one loads it."""

    def __init__(self, partial: Partial) -> None:
        self.partial = partial
        self.users = 0
        self.loaded = False
        self.loading = threading.Lock()


class Partials:
    """Every file that is not complete yet. Thread-safe."""

    def __init__(self, layout: Layout, disk: Disk, blobs: Blobs, space: Space) -> None:
        self._layout, self._disk, self._blobs, self._space = layout, disk, blobs, space
        self._lock = threading.Lock()
        self._open: dict[ContentId, _Shared] = {}
        self._known: dict[ContentId, Verified] = {}
        """Of partials that are closed."""

    def open(
        self,
        content: ContentId,
        table: PieceTable,
        progress: Progress = no_progress,
        *,
        part: int | None = None,
    ) -> Partial:
        """Begin a file, or go on with one. Call `close` once for each `open`.

        `progress` is told the bytes of an earlier attempt as they are verified. `part`: how many
        more bytes of it will be written; None means the whole file. Raises `QuotaError` or
        `NoSpaceError` if they would not fit.
        """
        with self._lock:
            self.claim(content, part)
            shared = self._open.get(content)
            if shared is None:
                shared = self._open[content] = _Shared(self._new(content, table))
            shared.users += 1
        with ExitStack() as undo:
            undo.callback(self.close, shared.partial)
            with shared.loading:
                if not shared.loaded:
                    self._load(shared.partial, progress)
                    shared.loaded = True
            undo.pop_all()
        return shared.partial

    def get(self, content: ContentId) -> Partial | None:
        """The partial that somebody has open now, to serve from; not to be closed."""
        with self._lock:
            shared = self._open.get(content)
        return shared.partial if shared else None

    def list(self) -> tuple[ContentId, ...]:
        """Every file that was begun and is not complete."""
        with disk_errors(self._layout.partial):
            if not self._layout.partial.exists():
                return ()
            names = [path.name for path in self._layout.partial.iterdir()]
        found = []
        for name in names:
            try:
                found.append(ContentId.parse(name))
            except UsageError:
                continue  # not ours
        return tuple(sorted(found))

    def close(self, partial: Partial) -> None:
        """Give it back; what was got stays for the next time."""
        with self._lock:
            shared = self._open.get(partial.content)
            if shared is None or shared.partial is not partial:
                return
            shared.users -= 1
            if shared.users:
                return
            del self._open[partial.content]
            partial.enter("closed")
            known = partial.verified()
            if not partial.count_done:
                self._drop(partial.content)
                return
            if known is not None:
                self._known[partial.content] = known
            with contextlib.suppress(P2PHubError):
                self._disk.mark_used(partial.folder)

    def commit_many(self, partials: Sequence[Partial]) -> None:
        """Make blobs of complete files, all or none, made durable together."""
        # In one order for everybody, so that no two wait for each other.
        ordered = sorted(set(partials), key=lambda partial: partial.content)
        with ExitStack() as stack:
            for partial in ordered:
                stack.enter_context(partial.committing)
            todo = [partial for partial in ordered if partial.stage != "committed"]
            arrivals = [partial.arrival() for partial in todo]
            for partial in todo:
                partial.enter("paused")
            try:
                self._blobs.adopt_many(arrivals)
            except P2PHubError:
                for partial in todo:
                    partial.enter("open")
                raise
            for partial in todo:
                self._end(partial)

    def remove(self, content: ContentId) -> bool:
        """Drop what was got of a file; False if somebody has it open."""
        with self._lock:
            if content in self._open:
                return False
            self._drop(content)
        return True

    def unused_since(self, time: float) -> tuple[ContentId, ...]:
        """The files that nobody has open, and that nobody had after `time` (unix seconds)."""
        with self._lock:
            return tuple(each for each in self.list() if self._is_unused(each, time))

    def remove_unused(self, content: ContentId, time: float) -> bool:
        """Drop what was got of such a file; False if somebody has it open, or had it since."""
        with self._lock:
            if not self._is_unused(content, time):
                return False
            self._drop(content)
        return True

    def written(self, content: ContentId) -> int:
        """The bytes that a partial takes on the disk: files have holes where nothing came yet."""
        return min(content.size, written_bytes(self._data(content)))

    def recover(self) -> None:
        """After a start: count what is here; drop what became a blob just before a crash."""
        for content in self.list():
            if self._blobs.has(content):
                self._drop(content)
            else:
                self._space.found(content, self.written(content), self._data(content))

    def take_back(self, content: ContentId) -> None:
        """Make a partial of a file that lies among the blobs and has no row: see `_take_back`."""
        table = self._blobs.table(content)
        assert table is not None
        folder = self._layout.partial / str(content)
        self._take_back(Partial(folder, content, table, self._disk, self.commit_many))

    def claim(self, content: ContentId, part: int | None) -> None:
        """Set aside what will be written of a file, beside what is there of it: see `open`."""
        size = content.size
        if part is not None:
            size = min(size, self.written(content) + part)
        self._space.claim(content, size, self._data(content))

    def _is_unused(self, content: ContentId, time: float) -> bool:
        if content in self._open:
            return False
        times = [0.0]
        for path in (self._data(content).parent, self._data(content)):
            with contextlib.suppress(OSError):
                times.append(path.lstat().st_mtime)
        return max(times) <= time

    def _new(self, content: ContentId, table: PieceTable) -> Partial:
        folder = self._layout.partial / str(content)
        return Partial(folder, content, table, self._disk, self.commit_many)

    def _data(self, content: ContentId) -> Path:
        return self._layout.partial / str(content) / "data"

    def _load(self, partial: Partial, progress: Progress) -> None:
        if partial.content.has_table and self._blobs.table(partial.content) is None:
            self._blobs.put_table(partial.content, partial.table.pack())
        self._sweep(partial)
        if os.path.lexists(self._layout.blob(partial.content)):
            self._take_back(partial)  # the index was lost, or put back from a backup
        partial.load(progress, self._known.pop(partial.content, None))

    def _take_back(self, partial: Partial) -> None:
        """Begin with the file that lies among the blobs, if the index does not know it.

        Every piece is claimed: `load` verifies them, and a commit is all that is left.
        """
        self._disk.make_folder(partial.folder)
        partial.claim_all()
        self._blobs.take_out(partial.content, partial.data)

    def _sweep(self, partial: Partial) -> None:
        """Remove what is no folder or file of ours: a pull would wait for it or write to others."""
        if os.path.lexists(partial.folder) and not is_folder(partial.folder):
            self._disk.remove(partial.folder)
        for path in (partial.data, partial.bitmap):
            if os.path.lexists(path) and not is_plain(path):
                self._disk.remove_tree(path)

    def _end(self, partial: Partial) -> None:
        partial.enter("committed")
        with self._lock:
            self._open.pop(partial.content, None)
            self._drop(partial.content)

    def _drop(self, content: ContentId) -> None:
        self._known.pop(content, None)
        self._disk.remove_tree(self._layout.partial / str(content))
        self._space.release(content)
