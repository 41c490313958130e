"""Filling a partial file with pieces that this store already has, in blobs or in other partials.

A piece is found by its BLAKE3 digest, all pieces of a file with a few queries. Neighbouring pieces
that lie side by side in their blob too are one `Strand`: where the file system can share blocks and
the strand is aligned to them, the partial shares those of the blob; elsewhere they are copied.

Rules it keeps:
 * a piece counts only after its bytes were verified again: those that were copied in the buffer
   they were copied from, those that are shared where they lie now;
 * a blob that turns out damaged is put in quarantine like everywhere else, and its pieces are
   looked for in other blobs; what nobody here has is left to be fetched.
"""

import contextlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from p2phub.errors import NoSpaceError, NotFoundError, UntrustedError, WrongBytesError
from p2phub.formats.ids import ContentId
from p2phub.formats.limits import MAX_PIECE
from p2phub.formats.pieces import PieceTable, Run
from p2phub.store.blobs import Blobs
from p2phub.store.disk import Progress, no_progress, read_into
from p2phub.store.partial import Partial
from p2phub.store.partials import Partials

ROUNDS = 3
"""How often other blobs are looked for in the place of damaged ones."""

Places = Mapping[bytes, Sequence[tuple[ContentId, int, int]]]


@dataclass(slots=True)
class Strand:
    """Pieces of a partial, from `first` on, that lie side by side from `offset` on in a blob."""

    offset: int
    first: int
    count: int
    stop: int


def link_pieces(
    partial: Partial,
    blobs: Blobs,
    partials: Partials,
    progress: Progress = no_progress,
    *,
    wanted: Iterable[Run] | None = None,
) -> int:
    """Take every missing piece that is here over; how many bytes that were.

    `wanted`: only these pieces; None means all. Raises `NoSpaceError`.
    """
    if not partial.content.has_table:
        return 0
    linking = _Linking(partial, blobs, progress)
    asked = None if wanted is None else {index for run in wanted for index in _indexes(run)}
    for _ in range(ROUNDS):
        if not linking.from_blobs(linking.missing(asked)):
            break
    linking.from_partials(linking.missing(asked), partials)
    return linking.linked


class _Linking:
    """The linking of one partial."""

    def __init__(self, partial: Partial, blobs: Blobs, progress: Progress) -> None:
        self._partial, self._blobs, self._progress = partial, blobs, progress
        self._damaged: set[ContentId] = set()
        self._buffer = memoryview(bytearray(MAX_PIECE))
        self.linked = 0

    def missing(self, asked: set[int] | None) -> list[int]:
        """The pieces to look for, in their order."""
        runs = self._partial.missing()
        return [i for run in runs for i in _indexes(run) if asked is None or i in asked]

    def from_blobs(self, missing: Sequence[int]) -> bool:
        """Take what blobs have; whether one of them was damaged, so that others may be asked."""
        digest = self._partial.table.digest
        places = self._blobs.find_pieces({digest(index): None for index in missing})
        before = len(self._damaged)
        for content, strands in strands_of(
            self._partial.table, missing, places, without=self._damaged
        ).items():
            try:
                with self._blobs.opened(content) as fd:
                    for strand in strands:
                        self._take(content, fd, strand)
            except (NotFoundError, UntrustedError):
                self._damaged.add(content)
        return len(self._damaged) > before

    def _take(self, content: ContentId, fd: int, strand: Strand) -> None:
        partial, table = self._partial, self._partial.table
        shared = partial.share(strand.first, strand.count, fd, strand.offset)
        shift = strand.offset - table.offset(strand.first)
        for index in range(strand.first, strand.first + strand.count):
            piece = self._buffer[: table.length(index)]
            offset = table.offset(index) + shift
            try:
                if index in shared:
                    partial.confirm(index, piece)
                else:
                    got = read_into(fd, piece, offset, self._blobs.path(content))
                    partial.accept(index, piece[:got])
            except WrongBytesError:
                self._examine(content, table.digest(index), offset)
                raise
            self._count(len(piece))

    def _examine(self, content: ContentId, digest: bytes, offset: int) -> None:
        """A blob gave wrong bytes: unless only the index was wrong about it, it is damaged."""
        own = self._blobs.table(content)
        if own is not None and offset < own.size:
            index, _ = own.pieces_covering(offset, offset + 1)
            if own.offset(index) == offset and own.digest(index) == digest:
                self._blobs.verify(content)

    def from_partials(self, missing: Sequence[int], partials: Partials) -> None:
        """Take what other files on their way have."""
        wanted: dict[bytes, list[int]] = {}
        for index in missing:
            wanted.setdefault(self._partial.table.digest(index), []).append(index)
        for content in partials.list() if wanted else ():
            if content == self._partial.content or not content.has_table:
                continue
            with contextlib.suppress(NotFoundError, UntrustedError, NoSpaceError):
                self._from_partial(content, wanted, partials)

    def _from_partial(
        self, content: ContentId, wanted: Mapping[bytes, Sequence[int]], partials: Partials
    ) -> None:
        theirs = self._blobs.table(content)
        if theirs is None or self._blobs.has(content):
            return
        common = [i for i in range(theirs.count) if theirs.digest(i) in wanted]
        if not common:
            return
        other = partials.open(content, theirs, part=0)
        try:
            for index in common:
                if other.have(index):
                    self._copy(other, index, wanted[theirs.digest(index)])
        finally:
            partials.close(other)

    def _copy(self, other: Partial, theirs: int, ours: Sequence[int]) -> None:
        data = other.read(other.table.offset(theirs), other.table.length(theirs))
        for index in ours:
            if self._partial.have(index):
                continue
            try:
                self._partial.accept(index, memoryview(data))
            except WrongBytesError:
                other.lose(theirs)
                return
            self._count(len(data))

    def _count(self, size: int) -> None:
        self.linked += size
        self._progress(size)


def strands_of(
    table: PieceTable,
    missing: Iterable[int],
    places: Places,
    *,
    without: Iterable[ContentId] = (),
) -> dict[ContentId, list[Strand]]:
    """From which blob to take which of the `missing` pieces, in as long strands as there are.

    A blob that has much of the file is preferred. Those of `without` are left out.
    """
    left_out = set(without)
    has = Counter(place[0] for found in places.values() for place in found)
    strands: dict[ContentId, list[Strand]] = {}
    last: Strand | None = None
    last_blob: ContentId | None = None
    for index in missing:
        length = table.length(index)
        best: tuple[bool, int, ContentId, int] | None = None
        for content, offset, size in places.get(table.digest(index), ()):
            if size != length or content in left_out:
                continue
            goes_on = (
                last is not None
                and content == last_blob
                and offset == last.stop
                and index == last.first + last.count
            )
            best = max(
                best or (False, 0, content, offset), (goes_on, has[content], content, offset)
            )
        if best is None:
            last = None
            continue
        goes_on, _, last_blob, offset = best
        if goes_on and last is not None:
            last.count, last.stop = last.count + 1, last.stop + length
        else:
            last = Strand(offset, index, 1, offset + length)
            strands.setdefault(last_blob, []).append(last)
    return strands


def _indexes(run: Run) -> range:
    return range(run.first, run.first + run.count)
