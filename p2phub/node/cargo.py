"""What an export carries: which releases and files, which pieces of them, and on which medium each.

Rules it keeps:
 * the same releases and the same limit are split the same way every time, so a lost medium can be
   made again by its number;
 * a piece is left out only if everybody it is for has it: it lies in a file of a release that they
   say they have, and that this disk has too.

>>> slices = Slices(100 + ROW)
>>> [slices.part_of(digest, 60) for digest in (b"a", b"b", b"a")]
[1, 2, 0]
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from p2phub.errors import DamagedBlobError, NotFoundError, UntrustedError
from p2phub.formats.bundle import ROW
from p2phub.formats.ids import PublisherId
from p2phub.formats.inventory import Inventory
from p2phub.formats.manifest import FileEntry
from p2phub.formats.pieces import PieceTable
from p2phub.node.knowledge import Knowledge
from p2phub.node.locate import ResolvedRelease, locate_digest
from p2phub.node.selection import select
from p2phub.store.repos import RepoRow
from p2phub.store.store import Store


@dataclass(frozen=True, slots=True)
class Cargo:
    """What is to be put on a medium."""

    releases: tuple[ResolvedRelease, ...]
    files: tuple[FileEntry, ...]
    """Of those releases, each content once."""
    publishers: tuple[PublisherId, ...]
    """Whose heads, indexes and notices go along."""
    only: frozenset[bytes] | None = None
    """The pieces to carry, by digest; None: all."""

    @property
    def size(self) -> int:
        """Bytes of the files."""
        return sum(file.size for file in self.files)


class Slices:
    """Which part of an export each piece belongs to; asked for every piece, in one order."""

    def __init__(self, room: int | None, only: frozenset[bytes] | None = None) -> None:
        """`room`: bytes of pieces and their rows in one part; None: any number."""
        self._room, self._only = room, only
        self._seen: set[bytes] = set()
        self._filled = 0
        self.parts = 1
        """How many parts there are so far."""

    def part_of(self, digest: bytes, length: int) -> int:
        """From 1; 0 for a piece that is not carried, or was asked for before."""
        if self._only is not None and digest not in self._only:
            return 0
        if self._room is None:
            return 1
        if digest in self._seen:
            return 0
        self._seen.add(digest)
        cost = length + ROW
        if self._filled and self._filled + cost > self._room:
            self.parts, self._filled = self.parts + 1, 0
        self._filled += cost
        return self.parts


def whole_files(store: Store, resolved: ResolvedRelease) -> tuple[FileEntry, ...]:
    """The files of a release that are here. Raises `NotFoundError` if any but pickles is not."""
    files = resolved.release.files
    here = store.shelf.right(file.content for file in files)
    lacking = [file for file in usual_files(files) if file.content not in here]
    if lacking:
        raise NotFoundError(
            f"{resolved.called} is not on this disk with all its files"
            f" ({'/'.join(lacking[0].path)} is not)",
            remedy=f"`p2phub pull {resolved.called}` fetches what is missing",
        )
    found = tuple(file for file in files if file.content in here)
    if not found and files:
        raise NotFoundError(
            f"no file of {resolved.called} is on this disk",
            remedy=f"`p2phub pull {resolved.called} --include '*'` fetches them",
        )
    return found


def usual_files(files: Sequence[FileEntry]) -> tuple[FileEntry, ...]:
    """Those that a pull brings: all but pickles."""
    needed, _ = select([file.path for file in files], (), ())
    chosen = set(needed)
    return tuple(file for file in files if file.path in chosen)


def held_here(store: Store, knowledge: Knowledge) -> Iterator[ResolvedRelease]:
    """The releases that are whole on this disk, those that came first before others."""
    for row in _done(store):
        if (found := _whole(store, knowledge, row.digest)) is not None:
            yield found


def held_digests(store: Store, knowledge: Knowledge) -> Iterator[bytes]:
    """Their digests, in the same order; most of them without a look at what they are."""
    for row in _done(store):
        if row.complete or _whole(store, knowledge, row.digest) is not None:
            yield row.digest


def _done(store: Store) -> list[RepoRow]:
    rows = [row for row in store.repos.local() if row.done]
    return sorted(rows, key=lambda row: (row.since, row.digest))


def _whole(store: Store, knowledge: Knowledge, digest: bytes) -> ResolvedRelease | None:
    with suppress(NotFoundError, UntrustedError):
        resolved = locate_digest(store, knowledge, digest)
        whole_files(store, resolved)
        return resolved
    return None


def each_once(files: Iterable[FileEntry]) -> tuple[FileEntry, ...]:
    """Every content once."""
    return tuple({file.content: file for file in files}.values())


def lacked_by(
    store: Store,
    inventory: Inventory,
    releases: Sequence[ResolvedRelease],
    held: Sequence[ResolvedRelease],
) -> tuple[tuple[ResolvedRelease, ...], frozenset[bytes]]:
    """Those of `releases` that a site lacks and wants, and their pieces that it lacks.

    `held`: all that is here, among which is what both have.
    """
    lacking = tuple(
        each
        for each in releases
        if not inventory.holds(each.digest)
        and inventory.asks_for(each.repo.publisher.digest, each.repo.name)
    )
    if not lacking:
        return (), frozenset()
    theirs = {
        file.content
        for each in held
        if inventory.holds(each.digest)
        for file in usual_files(each.release.files)
    }
    files = each_once(file for each in lacking for file in whole_files(store, each))
    wanted = {
        digest for file in files if file.content not in theirs for digest in pieces_of(store, file)
    }
    for content in theirs:
        table = store.blobs.table(content)
        if table is not None:
            wanted.difference_update(table.digest(index) for index in range(table.count))
    return lacking, frozenset(wanted)


def pieces_of(store: Store, file: FileEntry) -> Iterator[bytes]:
    """The digests of the pieces of a file that is here. Raises `DamagedBlobError`."""
    table = table_of(store, file)
    return (table.digest(index) for index in range(table.count))


def table_of(store: Store, file: FileEntry) -> PieceTable:
    """The piece table of a file that is here. Raises `DamagedBlobError`."""
    table = store.blobs.table(file.content)
    if table is None:
        raise DamagedBlobError(f"the piece table of {'/'.join(file.path)} is lost")
    return table


def size_of(store: Store, cargo: Cargo) -> int:
    """Bytes of the pieces to carry; those that two files share may count twice."""
    if cargo.only is None:
        return cargo.size
    found = 0
    for file in cargo.files:
        table = table_of(store, file)
        for index in range(table.count):
            found += table.length(index) if table.digest(index) in cargo.only else 0
    return found


def parts_of(store: Store, cargo: Cargo, room: int) -> tuple[int, ...]:
    """The bytes of pieces in each part, where a part has `room` bytes for pieces and their rows."""
    slices, sizes = Slices(room, cargo.only), [0]
    for file in cargo.files:
        table = table_of(store, file)
        for index in range(table.count):
            length = table.length(index)
            part = slices.part_of(table.digest(index), length)
            if part > len(sizes):
                sizes.append(0)
            if part:
                sizes[part - 1] += length
    return tuple(sizes)
