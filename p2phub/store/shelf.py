"""Blobs and files on their way, to be looked at and read by thousands: one query for many.

`blobs` asks the index for each blob that it opens, which is more work than to read a small file.
Here the rows of many are fetched at once and the files compared with them one after the other.

Rules it keeps:
 * a file is given out if its stamp is that of the row; whatever else is found is left to
   `Blobs.open_verified`, which hashes it again, puts it in quarantine, and says what is wrong;
 * rows may be older than the files by the time one is opened: a stamp that matches is right all the
   same, and one that does not is looked up again.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from p2phub.errors import NotFoundError, UntrustedError
from p2phub.formats.ids import ContentId
from p2phub.store.blobs import Blobs
from p2phub.store.index import Index, Row
from p2phub.store.layout import Layout
from p2phub.store.partials import Partials
from p2phub.store.reader import BlobReader, PartialReader
from p2phub.store.rows import place_in, rows_of, stamp_in
from p2phub.store.stamp import Stamp, stamp_now

Opener = Callable[[], BlobReader]
"""Opens a file to serve from. Raises `NotFoundError` or `DamagedBlobError`."""


class Shelf:
    """What of one store can be read. Thread-safe."""

    def __init__(self, index: Index, layout: Layout, blobs: Blobs, partials: Partials) -> None:
        self._index, self._layout = index, layout
        self._blobs, self._partials = blobs, partials

    def right(self, contents: Iterable[ContentId]) -> set[ContentId]:
        """The blobs among `contents` that are what they were when they were verified, and whose
        piece table is here too.
        """
        rows = rows_of(self._index, contents)
        return {content for content, row in rows.items() if self._is_right(content, row)}

    def open(self, content: ContentId) -> BlobReader:
        """Open a blob, or what is verified of a file on its way.

        Raises `NotFoundError` or `DamagedBlobError`.
        """
        blobs = self._blobs
        if blobs.has(content):
            fd, place = blobs.open_verified(content), blobs.place(content)
            if place is not None:
                return BlobReader(fd, place, blobs.stamp(content))
            return BlobReader(fd, blobs.path(content))
        on_its_way = self._partials.get(content)
        if on_its_way is None:
            raise NotFoundError(f"there is no {content} here any more")
        return PartialReader(on_its_way)

    def openers(self, contents: Sequence[ContentId]) -> list[Opener | None]:
        """For each of these files what opens it, None if not all of it is here."""
        rows = rows_of(self._index, contents)
        return [self._opener(content, rows.get(content)) for content in contents]

    def _is_right(self, content: ContentId, row: Row) -> bool:
        try:
            if not self._is_as_noted(content, row):
                os.close(self._blobs.open_verified(content))
            return self._blobs.table(content) is not None
        except (NotFoundError, UntrustedError):
            return False

    def _is_as_noted(self, content: ContentId, row: Row) -> bool:
        """Whether a file of ours has the stamp of its row; of a file in place others decide."""
        is_ours = place_in(row) is None
        found = stamp_now(self._layout.blob_text(content)) if is_ours else None
        return found is not None and found == stamp_in(row, content)

    def _opener(self, content: ContentId, row: Row | None) -> Opener | None:
        if row is not None and place_in(row) is None:
            path = self._layout.blob_text(content)
            if os.path.lexists(path):
                return partial(self._open_as_noted, path, content, row)
        if self._blobs.has(content) or self._is_whole_on_its_way(content):
            return partial(self.open, content)
        return None

    def _is_whole_on_its_way(self, content: ContentId) -> bool:
        on_its_way = self._partials.get(content)
        return on_its_way is not None and on_its_way.complete

    def _open_as_noted(self, path: str, content: ContentId, row: Row) -> BlobReader:
        """Open a file of ours whose row is known."""
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            file = os.open(path, flags)
        except OSError:
            return self.open(content)
        if Stamp.of(os.fstat(file)) == stamp_in(row, content):
            return BlobReader(file, path)
        os.close(file)
        return self.open(content)
