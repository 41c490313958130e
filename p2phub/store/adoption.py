"""How a file becomes a blob, and how it stops being one.

In: fsync the data, rename it into `blobs/`, fsync the folder, make it read-only, and only then
write the row that says it is there (with its table and pieces, in one transaction). Many files at
once are made durable by one sync of the file system instead of one for each.

A file of a person can be a blob where it lies: a row with its path, and a symbolic link among the
blobs that leads there, for programs that read snapshots. It is only ever read. Whatever becomes of
such a blob becomes of the row and the link.

Rules it keeps:
 * a row means that a whole, verified file was made durable; a file without a row is nothing. Of a
   file in place its owner takes care: one that a power cut took has another stamp;
 * our own error (a full disk, say) puts everything back where it came from;
 * what a held release needs is never dropped.

It trusts its caller that the bytes are right: `partial` has checked every piece, `ingest` has
computed the content id from the very bytes.
"""

import contextlib
import os
import stat
import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from p2phub.errors import NoSpaceError, P2PHubError, UntrustedError
from p2phub.formats.ids import ContentId
from p2phub.formats.pieces import PieceTable
from p2phub.store.disk import (
    PRIVATE,
    READ_ONLY,
    Disk,
    PathText,
    disk_errors,
    is_folder,
    is_plain,
)
from p2phub.store.index import Index, Statements
from p2phub.store.journal import Journal
from p2phub.store.layout import Layout
from p2phub.store.rows import place_in, row_of, rows_of
from p2phub.store.stamp import Stamp, stamp_now

FEW = 8
"""Up to so many files or folders are fsynced one by one; for more, the file system is synced."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A complete, verified file that is to become a blob."""

    path: PathText
    """Where it lies now, on the store's own file system."""
    content: ContentId
    table: PieceTable
    sha256: bytes | None = None
    """Of the whole file, if this node has hashed it."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A verified file of a person that is to be a blob where it lies."""

    path: Path
    """Absolute, through no link."""
    stamp: Stamp
    """When its bytes were right."""
    content: ContentId
    table: PieceTable
    sha256: bytes


class Adopter:
    """Puts blobs in and takes them out. Thread-safe."""

    def __init__(self, index: Index, layout: Layout, disk: Disk) -> None:
        self._index, self._layout, self._disk = index, layout, disk
        self._journal = Journal(layout, disk)
        self._moving = threading.Lock()

    def put(self, arrivals: Sequence[Arrival]) -> list[ContentId]:
        """Make blobs of them, all or none; those that were not there before.

        What is a blob already stays where it lies: its owner removes it.
        """
        fresh = self._fresh(arrivals)
        contents = [arrival.content for arrival in fresh]
        try:
            self._journal.begin("put", contents)
            self._sync_each([arrival.path for arrival in fresh])
            with self._moving:
                rows = rows_of(self._index, contents)
                in_place = {content for content, row in rows.items() if place_in(row)}
                stored = rows.keys() - in_place
                late = [arrival for arrival in fresh if arrival.content not in stored]
                self._place_all(late, in_place)
        except P2PHubError:
            with contextlib.suppress(P2PHubError):
                self._end_put(contents)
            raise
        self._journal.end("put", contents)
        return [arrival.content for arrival in late]

    def _fresh(self, arrivals: Sequence[Arrival]) -> list[Arrival]:
        """Those that are no blob of ours yet, each once; of the others, the SHA-256 is noted."""
        unique = {arrival.content: arrival for arrival in arrivals}
        rows = rows_of(self._index, unique)
        fresh = []
        for content, arrival in unique.items():
            if content not in rows or not self._is_here(content) or self.place(content):
                fresh.append(arrival)
            elif arrival.sha256 is not None:
                self.note_sha256(content, arrival.sha256)
        return fresh

    def put_in_place(self, files: Sequence[Placed]) -> list[ContentId]:
        """Make blobs of files where they lie, all or none; those that were not there before.

        What is a blob already stays what it is. The rows come first: a blob without its link is
        whole, and gets it when it is next opened (`lead_to`).
        """
        wanted = {}
        for content, file in {file.content: file for file in reversed(files)}.items():
            if not self._is_here(content):
                wanted[content] = file
            else:
                self.note_sha256(content, file.sha256)
        with self._moving:
            late = [file for content, file in wanted.items() if not self.known(content)]
            if not late:
                return []
            with self._index.write() as statements:
                for file in late:
                    path = os.fsencode(file.path)
                    for row in statements.all("sources.in_place_at", path):
                        before = ContentId(*row)  # what the file held once
                        self._remove_link(before)
                        _drop_row(statements, before)
                    blob = _add_row(statements, file, file.stamp)
                    statements.run("sources.put_in_place", blob, path, file.content.size)
        try:
            for file in late:
                self.lead_to(file.content, file.path)
        except P2PHubError:
            for file in late:
                with contextlib.suppress(P2PHubError):
                    self.drop(file.content)
            raise
        return [file.content for file in late]

    def lead_to(self, content: ContentId, place: Path) -> None:
        """Let the link of a blob in place lead there; nothing is done if it does."""
        link = self._layout.blob(content)
        with self._moving:
            if self.place(content) != place or _leads_to(link, place):
                return
            self._disk.make_folder(link.parent)
            self._remove_link(content)
            self._disk.link(os.fspath(place), link)

    def known(self, content: ContentId) -> bool:
        """Whether there is a row."""
        return row_of(self._index, content) is not None

    def place(self, content: ContentId) -> Path | None:
        """Where a blob lies that is a file of a person; None for a file of ours, or nothing."""
        row = row_of(self._index, content)
        return place_in(row) if row else None

    def note_sha256(self, content: ContentId, digest: bytes) -> None:
        """This node has hashed the whole file."""
        with self._index.write() as statements:
            statements.run("blobs.set_sha256", digest, content.digest, content.size)

    def drop(self, content: ContentId) -> bool:
        """Remove a blob and what is known of it; False if a held release needs it or it is gone.

        Works on a disk that is full to the last byte: the file goes first.
        """
        with self._moving, self._index.write() as statements:
            if statements.one("blobs.referenced", content.digest, content.size):
                return False
            if not statements.one("blobs.find", content.digest, content.size):
                return False
            with contextlib.suppress(NoSpaceError):
                self._journal.begin("drop", [content])
            self._disk.remove(self._layout.blob(content))
            _drop_row(statements, content)
            statements.run("blobs.drop_table", content.digest, content.size)
            statements.run("sources.drop", content.digest, content.size)
        self._journal.end("drop", [content])
        return True

    def take_out(self, content: ContentId, target: Path) -> bool:
        """Move a file that lies among the blobs and has no row to `target`; whether there was one.

        What is no plain file goes to `quarantine/`.
        """
        path = self._layout.blob(content)
        with self._moving:
            if not os.path.lexists(path) or self.known(content):
                return False
            plain = is_plain(path)
            if plain:
                self._disk.set_mode(path, PRIVATE)
                self._disk.rename(path, target)
            else:
                self._set_aside(content)
        return plain

    def quarantine(self, content: ContentId, found: Stamp) -> None:
        """Take a damaged blob out of use; its bytes stay in `quarantine/`.

        `found` is of the damaged file: one that has come in its place meanwhile stays.
        """
        path = self._layout.blob(content)
        with self._moving:
            now = stamp_now(path)
            if now is not None and now.is_file_of(found):
                self._set_aside(content)
                self._forget(content)

    def release(self, content: ContentId, place: Path) -> None:
        """A file of a person is not what it was: it is a blob no more. The file is not touched."""
        with self._moving:
            if self.place(content) == place:
                self._remove_link(content)
                self._forget(content)

    def forget(self, content: ContentId) -> bool:
        """Drop the row of a file that is gone; False if there is neither."""
        with self._moving:
            if not self.known(content) or self._is_file_here(content):
                return False
            if self.place(content):
                self._remove_link(content)
            self._forget(content)
        return True

    def _is_file_here(self, content: ContentId) -> bool:
        return os.path.lexists(self.place(content) or self._layout.blob(content))

    def _remove_link(self, content: ContentId) -> None:
        """What lies among the blobs under this name, unless it is a file of ours."""
        link = self._layout.blob(content)
        if link.is_symlink():
            self._disk.remove(link)
        elif os.path.lexists(link):
            self._set_aside(content)

    def _set_aside(self, content: ContentId) -> None:
        place = self._layout.quarantine / str(content)
        if is_folder(place):
            self._disk.remove_tree(place)
        self._disk.rename(self._layout.blob(content), place)

    def _is_here(self, content: ContentId) -> bool:
        """Whether it is a blob; a row whose file somebody removed is dropped."""
        if not self.known(content):
            return False
        if self._is_file_here(content):
            return True
        self.forget(content)
        return False

    def _forget(self, content: ContentId) -> None:
        with self._index.write() as statements:
            _drop_row(statements, content)

    def _place_all(self, arrivals: Sequence[Arrival], in_place: Collection[ContentId]) -> None:
        """Rename them and write their rows. `in_place`: those that files of persons were so far."""
        moved: list[tuple[Arrival, Stamp]] = []
        try:
            self._rename_all(arrivals, moved)
            with self._index.write() as statements:
                for content in in_place:
                    _drop_row(statements, content)
                placed = [(arrival, self._still(arrival, before)) for arrival, before in moved]
                _add_rows(statements, placed)
        except P2PHubError:
            for arrival, before in moved:
                with contextlib.suppress(P2PHubError):
                    self._still(arrival, before)
                    self._disk.rename(self._layout.blob(arrival.content), arrival.path)
                    self._disk.set_mode(arrival.path, PRIVATE)
            raise

    def _rename_all(self, arrivals: Sequence[Arrival], moved: list[tuple[Arrival, Stamp]]) -> None:
        """Give each its name, durably, and make it read-only; what has its name is `moved`."""
        targets = [self._layout.blob_text(arrival.content) for arrival in arrivals]
        folders = set(map(os.path.dirname, targets))
        for folder in [each for each in folders if not os.path.exists(each)]:
            self._disk.make_folder(Path(folder))
            folders.add(str(self._layout.blobs))
        writable = []
        for arrival, target in zip(arrivals, targets, strict=True):
            found = _look(arrival.path)
            self._disk.rename(arrival.path, target)
            moved.append((arrival, Stamp.of(found)))
            if stat.S_IMODE(found.st_mode) != READ_ONLY:
                writable.append(target)
        self._sync_each(sorted(folders))
        for target in writable:
            self._disk.set_mode(target, READ_ONLY)

    def _still(self, arrival: Arrival, before: Stamp) -> Stamp:
        """The stamp of a file that has its new name, if it is the one that was verified."""
        path = self._layout.blob_text(arrival.content)
        now = Stamp.of(_look(path))
        if not now.is_renamed(before):
            raise P2PHubError(
                f"somebody changed {path} while it was put there",
                remedy="run the command again when nobody writes to the store",
            )
        return now

    def _sync_each(self, paths: Sequence[PathText]) -> None:
        if len(paths) > FEW:
            self._disk.sync_all(self._layout.blobs)
            return
        for path in paths:
            self._disk.sync_path(path)

    def _end_put(self, contents: Sequence[ContentId]) -> None:
        """Unmark those that were put back; what could not be is left to `recovery`."""
        back = [content for content in contents if not self._layout.blob(content).exists()]
        self._journal.end("put", back)


def _look(path: PathText) -> os.stat_result:
    """What lies there, be it a link."""
    with disk_errors(path):
        try:
            return os.lstat(path)
        except FileNotFoundError:
            raise P2PHubError(f"{path} is gone", remedy="run the command again") from None


def _add_rows(statements: Statements, placed: Sequence[tuple[Arrival, Stamp]]) -> None:
    """Write the rows of many blobs; small ones have no table and no pieces."""
    for arrival, stamp in placed:
        if arrival.content.has_table:
            _add_row(statements, arrival, stamp)
    small = (
        (arrival.content.digest, arrival.content.size, *stamp.row)
        for arrival, stamp in placed
        if not arrival.content.has_table
    )
    statements.many("blobs.add_small", small)


def _add_row(statements: Statements, file: Arrival | Placed, stamp: Stamp) -> int:
    """Write the row of a blob, with its table and pieces; its number."""
    content, table = file.content, file.table
    digest = file.sha256 if content.has_table else content.digest
    row = statements.one("blobs.add", content.digest, content.size, digest, *stamp.row)
    assert row is not None
    number = int(row[0])
    if content.has_table:
        statements.run("blobs.put_table", content.digest, content.size, table.pack())
        pieces = (
            (table.digest(index), number, table.offset(index), table.length(index))
            for index in range(table.count)
        )
        statements.many("blobs.add_piece", pieces)
    return number


def _leads_to(link: Path, place: Path) -> bool:
    try:
        return os.readlink(link) == os.fspath(place)
    except OSError:
        return False


def _drop_row(statements: Statements, content: ContentId) -> None:
    """Remove the row of a blob, if there is one, and its pieces."""
    row = statements.one("blobs.find", content.digest, content.size)
    if row is None:
        return
    packed = statements.one("blobs.table", content.digest, content.size)
    if packed is not None:
        # A table that rotted leaves pieces behind: whoever finds them finds wrong bytes, no more.
        with contextlib.suppress(UntrustedError):
            table = PieceTable.unpack(packed[0], content)
            digests = ((table.digest(index), row[0]) for index in range(table.count))
            statements.many("blobs.drop_piece", digests)
    statements.run("blobs.drop", row[0])
