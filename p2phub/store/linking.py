"""Filling a partial file with pieces that this store already has: in blobs, in other partials, or
in another place of the file itself.

A piece is found by its BLAKE3 digest, all pieces of a file with a few queries. Neighbouring pieces
that lie side by side in their blob too are one `Strand`: where the file system can share blocks and
the strand is aligned to them, the partial shares those of the blob, and only what lies outside of
whole blocks at its two ends is copied; elsewhere all of it is. (A file system shares whole blocks
only: of the same tensors behind a header of another length mostly nothing is aligned.)

Rules it keeps:
 * a piece counts only after its bytes were verified again: those that were copied in the buffer
   they were copied from, those that are shared where they lie now;
 * a blob that turns out damaged is put in quarantine like everywhere else, and its pieces are
   looked for in other blobs; what nobody here has is left to be fetched.
"""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
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

    `wanted`: only these pieces; None means all. Room is set aside for what neither is here nor
    could share blocks. Raises `NoSpaceError`, `QuotaError`.
    """
    linking = _Linking(partial, blobs, partials, progress, wanted)
    if not partial.content.has_table:
        linking.claim()
        return 0
    for _ in range(ROUNDS):
        if not linking.from_blobs():
            break
    linking.from_partials()
    linking.from_itself()
    return linking.linked


class _Linking:
    """The linking of one partial."""

    def __init__(
        self,
        partial: Partial,
        blobs: Blobs,
        partials: Partials,
        progress: Progress,
        wanted: Iterable[Run] | None,
    ) -> None:
        self._partial, self._blobs, self._partials = partial, blobs, partials
        self._progress = progress
        self._asked = None if wanted is None else {i for run in wanted for i in _indexes(run)}
        self._damaged: set[ContentId] = set()
        self._buffer = memoryview(bytearray(min(MAX_PIECE, partial.table.size)))
        self.linked = 0

    def missing(self) -> list[int]:
        """The pieces to look for, in their order."""
        asked = self._asked
        runs = self._partial.missing()
        return [i for run in runs for i in _indexes(run) if asked is None or i in asked]

    def claim(self) -> None:
        """Set room aside for the pieces that are not here yet."""
        size = sum(map(self._partial.table.length, self.missing()))
        self._partials.claim(self._partial.content, size)

    def from_blobs(self) -> bool:
        """Take what blobs have; whether one of them was damaged, so that others may be asked.

        First of all come the blocks that are shared, because they need no room.
        """
        table, missing = self._partial.table, self.missing()
        places = self._blobs.find_pieces({table.digest(index): None for index in missing})
        before = len(self._damaged)
        found = strands_of(table, missing, places, without=self._damaged)
        self._take_from(found, self._share)
        self.claim()
        self._take_from(found, self._copy)
        return len(self._damaged) > before

    def _take_from(
        self,
        found: Mapping[ContentId, list[Strand]],
        take: Callable[[ContentId, int, Strand], bool],
    ) -> None:
        """Let `take` have each strand and its blob's open file; what it took is not left."""
        for content, strands in found.items():
            if content in self._damaged or not strands:
                continue
            try:
                with self._blobs.opened(content) as fd:
                    strands[:] = [each for each in strands if not take(content, fd, each)]
            except (NotFoundError, UntrustedError):
                self._damaged.add(content)

    def _share(self, content: ContentId, fd: int, strand: Strand) -> bool:
        """Share the blocks of a strand, if that can be, and verify them where they lie now."""
        partial = self._partial
        if not partial.share(strand.first, strand.count, fd, strand.offset):
            return False
        self._each(content, strand, lambda index, piece, _: partial.confirm(index, piece))
        return True

    def _copy(self, content: ContentId, fd: int, strand: Strand) -> bool:
        """Copy a strand; each piece is verified in the buffer that it is written from."""
        path = self._blobs.path(content)

        def take(index: int, piece: memoryview, offset: int) -> None:
            got = read_into(fd, piece, offset, path)
            self._partial.accept(index, piece[:got])

        self._each(content, strand, take)
        return True

    def _each(
        self, content: ContentId, strand: Strand, take: Callable[[int, memoryview, int], None]
    ) -> None:
        """Take each piece of a strand, given a buffer for it and where in the blob it lies."""
        table = self._partial.table
        shift = strand.offset - table.offset(strand.first)
        for index in range(strand.first, strand.first + strand.count):
            piece = self._buffer[: table.length(index)]
            offset = table.offset(index) + shift
            try:
                take(index, piece, offset)
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

    def from_partials(self) -> None:
        """Take what other files on their way have."""
        wanted = self._places()
        for content in self._partials.list() if wanted else ():
            if content == self._partial.content or not content.has_table:
                continue
            with contextlib.suppress(NotFoundError, UntrustedError, NoSpaceError):
                self._from_partial(content, wanted)

    def _from_partial(self, content: ContentId, wanted: Mapping[bytes, Sequence[int]]) -> None:
        theirs = self._blobs.table(content)
        if theirs is None or self._blobs.has(content):
            return
        common = [i for i in range(theirs.count) if theirs.digest(i) in wanted]
        if not common:
            return
        other = self._partials.open(content, theirs, part=0)
        try:
            for index in common:
                if other.have(index):
                    self._repeat(other, index, wanted[theirs.digest(index)])
        finally:
            self._partials.close(other)

    def from_itself(self) -> None:
        """Take what the file has in another place already."""
        wanted, table = self._places(), self._partial.table
        for index in range(table.count) if wanted else ():
            ours = wanted.get(table.digest(index), ()) if self._partial.have(index) else ()
            if ours:
                self._repeat(self._partial, index, ours)

    def _places(self) -> dict[bytes, list[int]]:
        """Which pieces are missing, by digest."""
        places: dict[bytes, list[int]] = {}
        for index in self.missing():
            places.setdefault(self._partial.table.digest(index), []).append(index)
        return places

    def _repeat(self, other: Partial, theirs: int, ours: Sequence[int]) -> None:
        """Write a piece that `other` has where it is missing here."""
        table, length = self._partial.table, other.table.length(theirs)
        missing = [n for n in ours if table.length(n) == length and not self._partial.have(n)]
        if not missing:
            return
        data = other.read(other.table.offset(theirs), length)
        for index in missing:
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
