"""Small files that arrive together: checked in memory, written aside, made blobs together.

A file of one piece needs no partial file with a folder and a bitmap: it is there or not. So many of
them come as a `Handful`: each is checked against its content id before a byte is written, lies in
`temp/` until the handful is kept, and then all become blobs with one sync of the file system and
one transaction (`adoption`). What was not kept when a process ends is gone: a handful is small
enough to be fetched again.
"""

import itertools
import os
import threading
from collections.abc import Callable, Iterable

from p2phub.errors import WrongBytesError
from p2phub.formats.digest import sha256
from p2phub.formats.ids import ContentId
from p2phub.formats.pieces import PieceTable
from p2phub.store.adoption import Arrival
from p2phub.store.blobs import Blobs
from p2phub.store.disk import READ_ONLY, Disk
from p2phub.store.layout import Layout
from p2phub.store.partials import Partials
from p2phub.store.space import Space


class Handful:
    """Some small files on their way here. Thread-safe. Made by `SmallFiles.begin`."""

    def __init__(self, disk: Disk, blobs: Blobs, space: Space, new_path: Callable[[], str]) -> None:
        self._disk, self._blobs, self._space, self._new_path = disk, blobs, space, new_path
        self._arrived: dict[ContentId, Arrival] = {}
        self._lock = threading.Lock()

    def accept(self, content: ContentId, data: memoryview) -> None:
        """Check a whole file and write it.

        Raises `WrongBytesError` if the bytes are not that file, `NoSpaceError` on a full disk.
        """
        is_it = len(data) == content.size and sha256(data) == content.digest
        if content.has_table or not is_it:
            raise WrongBytesError(f"the bytes for {content} are not that file")
        with self._lock:
            if content in self._arrived:
                return
            path = self._new_path()
            file = self._disk.create(path, READ_ONLY)
            try:
                self._disk.write(file, data, 0, path)
            finally:
                os.close(file)
            table = PieceTable.for_small(content)
            self._arrived[content] = Arrival(path, content, table, content.digest)

    def keep(self) -> tuple[ContentId, ...]:
        """Make blobs of what has come, all or none; which those are."""
        with self._lock:
            contents = tuple(self._arrived)
            for content in self._blobs.adopt_many(tuple(self._arrived.values())):
                del self._arrived[content]
            self._drop()
        return contents

    def take_over(self, other: "Handful") -> None:
        """What has come of `other` is this one's from now on, to be kept with its own."""
        with self._lock, other._lock:
            for content in other._arrived.keys() - self._arrived.keys():
                self._arrived[content] = other._arrived.pop(content)

    def end(self) -> None:
        """Remove what was not kept, and give its room back."""
        with self._lock:
            self._drop()
        self._space.release(self)

    def _drop(self) -> None:
        for arrival in self._arrived.values():
            self._disk.remove(arrival.path)
        self._arrived.clear()


class SmallFiles:
    """Where handfuls are made. Thread-safe."""

    def __init__(
        self, layout: Layout, disk: Disk, blobs: Blobs, partials: Partials, space: Space
    ) -> None:
        self._layout, self._disk, self._blobs = layout, disk, blobs
        self._partials, self._space = partials, space
        self._temp, self._numbers = str(layout.temp), itertools.count()

    def wanted(self, contents: Iterable[ContentId]) -> tuple[ContentId, ...]:
        """Those of which nothing is here: no blob, no partial file, nothing in the place of one."""
        asked = tuple(contents)
        begun = self._blobs.known_of(asked).union(self._partials.list())
        return tuple(
            content
            for content in asked
            if content not in begun and not os.path.lexists(self._layout.blob_text(content))
        )

    def begin(self, size: int) -> Handful:
        """A handful for `size` bytes of files. Call `end` on it, whatever happens.

        Raises `QuotaError` or `NoSpaceError` if it would not fit.
        """
        made = Handful(self._disk, self._blobs, self._space, self._new_path)
        self._space.claim(made, size)
        return made

    def _new_path(self) -> str:
        return f"{self._temp}/small-{os.getpid()}-{next(self._numbers)}"
