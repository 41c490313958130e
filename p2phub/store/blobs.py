"""Whole files by content id: written once, checked before each use, never believed on their name.

`blobs/<xx>/<size>-<hex>` and a row make a blob (`adoption`); the row of one that was published in
place says where it lies. Before one is read, its stamp is compared with the one recorded when its
bytes were right; another stamp means that every piece is hashed again, and wrong bytes mean
quarantine (of a file in place: of the row alone) and `DamagedBlobError`.

Rules it keeps:
 * a file is offered under its SHA-256 only after this node has hashed the whole of it, and has
   checked its pieces in the same pass;
 * what is found by piece digest is a hint: who uses it verifies it again;
 * what a held release needs is not removed.

How a file gets here piece by piece is in `partial`; read-only folders of links, in `snapshot`.
"""

import contextlib
import hashlib
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from p2phub.errors import (
    DamagedBlobError,
    NoSpaceError,
    NotFoundError,
    P2PHubError,
    RefusedError,
    UntrustedError,
)
from p2phub.formats.ids import ContentId
from p2phub.formats.pieces import PieceTable
from p2phub.store.adoption import Adopter, Arrival, Placed
from p2phub.store.damage import damaged, gone, table_lost
from p2phub.store.disk import READ_ONLY, Disk, Progress, disk_errors, no_progress
from p2phub.store.index import Index, Row
from p2phub.store.ingest import Ingested
from p2phub.store.intake import Intake
from p2phub.store.layout import Layout
from p2phub.store.rows import place_in, row_of, rows_of, stamp_in
from p2phub.store.sources import Sources
from p2phub.store.space import Space
from p2phub.store.stamp import Stamp, stamp_now
from p2phub.store.verification import Take, bad_pieces, ignore

RECHECKS = 3
"""How often a blob is read again because it changed while it was read."""
DIGESTS_AT_ONCE = 1024
"""Pieces that are looked for with one query."""


@dataclass(frozen=True, slots=True)
class Examined:
    """What a blob was found to be when all of it was read."""

    pieces: int
    bad_pieces: tuple[int, ...]
    sha256: bytes
    """Of the whole file; empty if a piece is wrong."""


class Blobs:
    """The whole files of one store. Thread-safe."""

    def __init__(self, index: Index, layout: Layout, disk: Disk, space: Space) -> None:
        self._index, self._layout, self._disk = index, layout, disk
        self._adopter = Adopter(index, layout, disk)
        self._rechecking = threading.Lock()
        self._intake = Intake(self._adopter, layout, disk, space, Sources(index), self._usable)

    # ------------------------------------------------------------ looking

    def known(self, content: ContentId) -> bool:
        """Whether there is a row, whatever became of the file."""
        return self._row(content) is not None

    def known_of(self, contents: Iterable[ContentId]) -> set[ContentId]:
        """Those of `contents` that have a row."""
        return set(rows_of(self._index, contents))

    def has(self, content: ContentId) -> bool:
        """Whether the whole file is here. A file that somebody has removed is forgotten."""
        if self._row(content) is None:
            return False
        if os.path.lexists(self.place(content) or self.path(content)):
            return True
        self._forget(content)
        return False

    def path(self, content: ContentId) -> Path:
        """Where it lies, or would lie, in this store. To read it, use `open_verified`."""
        return self._layout.blob(content)

    def place(self, content: ContentId) -> Path | None:
        """The file of a person that it is; None if it is one of ours, or not here."""
        return self._adopter.place(content)

    def stamp(self, content: ContentId) -> Stamp | None:
        """What its file had when its bytes were right; None if it is not here."""
        row = self._row(content)
        return stamp_in(row, content) if row else None

    def open_verified(self, content: ContentId) -> int:
        """An open file descriptor of bytes that match `content`; the caller closes it.

        Raises `NotFoundError` if it is not here, `DamagedBlobError` if it no longer matches.
        """
        row = self._row(content)
        if row is None:
            raise NotFoundError(f"there is no blob {content} in this store")
        place = place_in(row)
        with ExitStack() as undo:
            fd = self._open(content, place)
            undo.callback(os.close, fd)
            if Stamp.of(os.fstat(fd)) != stamp_in(row, content):
                self._recheck(content, fd, place)
            undo.pop_all()
        if place is not None and not self._index.read_only:
            with contextlib.suppress(P2PHubError):  # only programs that read snapshots miss it
                self._adopter.lead_to(content, place)
        return fd

    @contextmanager
    def _opened_as_it_is(self, content: ContentId, place: Path | None) -> Iterator[int]:
        fd = self._open(content, place)
        try:
            yield fd
        finally:
            os.close(fd)

    @contextmanager
    def opened(self, content: ContentId) -> Iterator[int]:
        """The same, closed at the end."""
        fd = self.open_verified(content)
        try:
            yield fd
        finally:
            os.close(fd)

    def table(self, content: ContentId) -> PieceTable | None:
        """Its piece table, if it is known; a small file's always is."""
        if not content.has_table:
            return PieceTable.for_small(content)
        with self._index.read() as statements:
            row = statements.one("blobs.table", content.digest, content.size)
        return PieceTable.unpack(row[0], content) if row else None

    def put_table(self, content: ContentId, data: bytes) -> PieceTable:
        """Keep the packed table of a file. Raises `WrongBytesError` if it is not that."""
        table = PieceTable.unpack(data, content)
        if content.has_table:
            with self._index.write() as statements:
                statements.run("blobs.put_table", content.digest, content.size, data)
        return table

    def packed_table(self, digest: bytes) -> bytes | None:
        """The bytes of the piece table with this SHA-256: how tables travel."""
        with self._index.read() as statements:
            row = statements.one("blobs.packed_table", digest)
        return row[0] if row else None

    def sha256(self, content: ContentId) -> bytes | None:
        """The SHA-256 of the whole file, if this node has hashed it."""
        row = self._row(content)
        return row[5] if row else None

    def by_sha256(self, digest: bytes) -> list[ContentId]:
        """The blobs that this node hashed whole and found to have this SHA-256, and may be seen."""
        with self._index.read() as statements:
            rows = statements.all("blobs.by_sha256", digest)
        return [ContentId(size, name) for size, name in rows]

    def unhashed(self) -> list[ContentId]:
        """The blobs whose SHA-256 is not known yet, oldest first."""
        with self._index.read() as statements:
            return [ContentId(*row) for row in statements.all("blobs.not_hashed")]

    def big_files(self, least: int) -> list[bytes]:
        """The SHA-256 of every file of more than `least` bytes that was hashed whole here."""
        with self._index.read() as statements:
            return [digest for (digest,) in statements.all("blobs.big_files", least)]

    def every(self) -> list[ContentId]:
        """Every blob, oldest first."""
        with self._index.read() as statements:
            return [ContentId(*row) for row in statements.all("blobs.every")]

    def find_pieces(
        self, digests: Iterable[bytes]
    ) -> dict[bytes, list[tuple[ContentId, int, int]]]:
        """Where pieces with these BLAKE3 digests lie: (blob, offset, length), newest first."""
        found: dict[bytes, list[tuple[ContentId, int, int]]] = {}
        wanted = list(digests)
        with self._index.read() as statements:
            for start in range(0, len(wanted), DIGESTS_AT_ONCE):
                joined = b"".join(wanted[start : start + DIGESTS_AT_ONCE])
                for digest, size, name, offset, length in statements.all(
                    "blobs.find_pieces", joined
                ):
                    found.setdefault(digest, []).append((ContentId(size, name), offset, length))
        return found

    def total_bytes(self) -> int:
        """The bytes of all blobs."""
        return self.totals()[1]

    def totals(self) -> tuple[int, int]:
        """How many blobs there are, and their bytes. Costs the same for any number."""
        with self._index.read() as statements:
            row = statements.one("blobs.totals")
        return (row[0], row[1]) if row else (0, 0)

    # ------------------------------------------------------------ checking

    def hash_whole(self, content: ContentId, progress: Progress = no_progress) -> bytes:
        """The SHA-256 of the whole file, remembered from now on.

        Raises `NotFoundError`, or `DamagedBlobError` if a piece is wrong.
        """
        known = self.sha256(content)
        if known is not None:
            return known
        examined = self.examine(content, progress)
        if examined.bad_pieces:
            raise damaged(content, examined.bad_pieces, None)
        return examined.sha256

    def examine(self, content: ContentId, progress: Progress = no_progress) -> Examined:
        """Read the whole file and say what it is, whatever its stamp or a row claims.

        A blob with a wrong piece is put in quarantine; of one that is right, the stamp and the
        SHA-256 are remembered. Raises `NotFoundError` if it is not here, `DamagedBlobError` if it
        cannot be read.
        """
        row = self._row(content)
        if row is None:
            raise NotFoundError(f"there is no blob {content} in this store")
        whole, place = hashlib.sha256(), place_in(row)
        with self._opened_as_it_is(content, place) as fd:
            before = Stamp.of(os.fstat(fd))
            table, bad = self._bad_pieces(fd, content, lambda _, data: whole.update(data), progress)
        if before.size != content.size and not bad:
            bad = [max(table.count - 1, 0)]  # something follows the last piece
        if bad:
            self._quarantine(content, before, place)
            return Examined(table.count, tuple(bad), b"")
        if before != stamp_in(row, content):
            self._set_stamp(content, before)
        if row[5] is None and not self._index.read_only:
            with contextlib.suppress(NoSpaceError):
                self._adopter.note_sha256(content, whole.digest())
        return Examined(table.count, (), whole.digest())

    def verify(self, content: ContentId, progress: Progress = no_progress) -> list[int]:
        """Read the whole file; the indexes of the pieces that are wrong. See `examine`."""
        return list(self.examine(content, progress).bad_pieces)

    # ------------------------------------------------------------ putting and dropping

    def adopt(
        self, path: Path, content: ContentId, table: PieceTable, sha256: bytes | None = None
    ) -> None:
        """Make a blob of a complete file whose bytes the caller has verified."""
        self.adopt_many([Arrival(path, content, table, sha256)])

    def adopt_many(self, arrivals: Sequence[Arrival]) -> list[ContentId]:
        """The same for several, all or none; those that were no blob before."""
        return self._adopter.put(arrivals)

    def adopt_in_place(self, files: Sequence[Placed]) -> list[ContentId]:
        """Make blobs of a person's files, of which the same holds, where they lie: those new."""
        return self._adopter.put_in_place(files)

    def take_out(self, content: ContentId, target: Path) -> bool:
        """Move a file that has the name of a blob and is unknown to the index: see `adoption`."""
        return self._adopter.take_out(content, target)

    def remove(self, content: ContentId) -> bool:
        """Remove a blob unless a held release needs it; whether it went."""
        return self._adopter.drop(content)

    def ingest(
        self,
        source: Path,
        progress: Progress = no_progress,
        *,
        in_place: bool = False,
        rehash: bool = False,
    ) -> Ingested:
        """Take in a file of a person: see `ingest_many`."""
        return self.ingest_many([source], progress, in_place=in_place, rehash=rehash)[0]

    def ingest_many(
        self,
        sources: Iterable[Path],
        progress: Progress = no_progress,
        *,
        in_place: bool = False,
        rehash: bool = False,
    ) -> list[Ingested]:
        """Say what each file is, and keep a copy of it; `in_place`: keep none, use the file itself.

        A file that was read before and looks unchanged is not read again but for a few pieces;
        `rehash` reads all of it. Raises `FileChangedError`, `QuotaError`, `NoSpaceError`; then
        nothing of these files stays that was not here before.
        """
        return self._intake.take_in(sources, progress, in_place=in_place, rehash=rehash)

    # ------------------------------------------------------------ one blob's file and row

    def _row(self, content: ContentId) -> Row | None:
        return row_of(self._index, content)

    def _usable(self, content: ContentId, in_place: bool) -> PieceTable | None:
        """The table of a blob that is here and right. A file in place is none of ours."""
        row = self._row(content)
        if row is None or (place_in(row) and not in_place):
            return None
        with contextlib.suppress(NotFoundError, UntrustedError, RefusedError):
            os.close(self.open_verified(content))
            return self.table(content)
        return None

    def _open(self, content: ContentId, place: Path | None) -> int:
        path = place or self.path(content)
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        with disk_errors(path):
            try:
                return os.open(path, flags)
            except (FileNotFoundError, NotADirectoryError):
                raise self._gone(content, place) from None
            except OSError:
                found = stamp_now(path)
                if found is not None and path.is_symlink():
                    self._quarantine(content, found, place)
                    raise damaged(content, [], place) from None
                raise

    def _gone(self, content: ContentId, place: Path | None) -> NotFoundError | DamagedBlobError:
        """What to say of a file that is not there: that somebody took it, or that we removed it."""
        if self._forget(content) or (self._index.read_only and self.known(content)):
            return gone(content, self.path(content), place)
        return NotFoundError(f"there is no blob {content} in this store")

    def _recheck(self, content: ContentId, fd: int, place: Path | None) -> None:
        """Its stamp is another: hash it again; remember the new stamp, or quarantine it."""
        with self._rechecking:
            row = self._row(content)
            if row is not None and Stamp.of(os.fstat(fd)) == stamp_in(row, content):
                return  # another thread was faster
            if place is None:
                with contextlib.suppress(P2PHubError):
                    self._disk.set_mode(self.path(content), READ_ONLY)
            bad: list[int] = []
            before = Stamp.of(os.fstat(fd))
            for _ in range(RECHECKS):
                _, bad = self._bad_pieces(fd, content, ignore, no_progress)
                if bad or before.size != content.size:
                    break
                now = Stamp.of(os.fstat(fd))
                if now == before:
                    self._set_stamp(content, before)
                    return
                before = now
            self._quarantine(content, before, place)
        raise damaged(content, bad, place)

    def _bad_pieces(
        self, fd: int, content: ContentId, take: Take, progress: Progress
    ) -> tuple[PieceTable, list[int]]:
        table = self.table(content)
        if table is None:
            raise table_lost(content)
        return table, bad_pieces(fd, table, self.path(content), take=take, progress=progress)

    # What is noted beside a look at a blob may wait until the disk has room for it.

    def _set_stamp(self, content: ContentId, stamp: Stamp) -> None:
        if not self._index.read_only:
            with contextlib.suppress(NoSpaceError), self._index.write() as statements:
                statements.run("blobs.set_stamp", *stamp.row, content.digest, content.size)

    def _quarantine(self, content: ContentId, found: Stamp, place: Path | None) -> None:
        """Out of use with it. A file of a person stays as it is: only the row goes."""
        if not self._index.read_only:
            with contextlib.suppress(NoSpaceError):
                if place is not None:
                    self._adopter.release(content, place)
                else:
                    self._adopter.quarantine(content, found)

    def _forget(self, content: ContentId) -> bool:
        if not self._index.read_only:
            with contextlib.suppress(NoSpaceError):
                return self._adopter.forget(content)
        return False
