"""A stick as it lies there, read with suspicion: which packs are whole, and where things are.

Below the folder that a person names, or in the archive, is a folder `p2phub`. In it are
`pieces-0001.pack`, its index `pieces-0001.index`, the same of documents, and `contents-0001.list`.
A pack without an index is what a stick that was pulled out leaves, and is not looked at.

Rules it keeps:
 * only files of those names are opened, and as `volume` opens them;
 * at most `MOST_NAMES` names are looked at; an index is read within the limits of `formats.bundle`,
   and of all of them together `MOST_ROWS` rows and `MOST_LISTED` bytes of lists, the newest first;
 * what is wrong with a file is noted in `problems`, and the file counts for nothing.

>>> name_of("documents", 12, "index")
'documents-0012.index'
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, TypeVar

from p2phub.airgap.folder import open_folder
from p2phub.airgap.onefile import open_archive
from p2phub.airgap.sealed import SUFFIX, Unsealed
from p2phub.airgap.volume import FOLDER as FOLDER
from p2phub.airgap.volume import NAME, StoredFile, Volume
from p2phub.errors import GarbageError, NoSourceError, NotFoundError, P2PHubError
from p2phub.formats import limits
from p2phub.formats.bundle import INDEX, LONGEST_DOCUMENT, ROW, Contents, PackIndex, Row
from p2phub.trust.age import Identity

Kind = Literal["pieces", "documents"]
Numbered = TypeVar("Numbered")
MOST_NAMES: Final = 50_000
MOST_ROWS: Final = 1 << 23
"""Pieces and documents on one medium: 8 TiB of large files; 320 MiB of memory."""
MOST_LISTED: Final = 2 * limits.MAX_CONTENTS
"""Bytes of all lists of contents on one medium."""
GONE: Final = (
    "was taken out or has failed",
    "put it back in, and run the command again: what came is kept",
)
"""What is said of a stick that cannot be read any more, and what to do."""
_LONGEST: Final[dict[Kind, int]] = {"pieces": limits.MAX_PIECE, "documents": LONGEST_DOCUMENT}
_MOST_INDEX: Final = len(INDEX) + ROW * limits.MAX_PACK_ROWS + limits.DIGEST
_MOST_PACK: Final = (1 << 32) - 1


@dataclass(frozen=True, slots=True)
class Place:
    """Where something lies: in which pack, and where in it."""

    pack: str
    row: Row


@dataclass(slots=True)
class Medium:
    """What is on a stick. Made by `look`; `close` when done."""

    volume: Volume
    packs: dict[Kind, dict[int, PackIndex]] = field(
        default_factory=lambda: {"pieces": {}, "documents": {}}
    )
    """The packs that are whole, by their numbers."""
    contents: dict[int, Contents] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    """What is wrong with files, by their names."""
    sealed: dict[str, int] = field(default_factory=dict)
    """The highest numbers of what cannot be used here, by their kinds: sealed to others."""
    rows: int = 0
    """Of all packs that are whole."""
    listed: int = 0
    """Bytes of the lists of contents."""
    _sieves: dict[Kind, "_Sieve"] = field(
        default_factory=lambda: {"pieces": _Sieve(), "documents": _Sieve()}
    )
    _last: dict[Kind, int] = field(default_factory=dict)
    """The pack in which something was found last: what is asked for next lies there too."""

    @property
    def path(self) -> Path:
        """What a person named."""
        return self.volume.path

    def next_number(self, kind: str) -> int:
        """The next number that neither a whole pack nor a list has."""
        mine = self.contents if kind == "contents" else self.packs[kind]  # type: ignore[index]
        return max(max(mine, default=0), self.sealed.get(kind, 0)) + 1

    def find(self, kind: Kind, digest: bytes) -> Place | None:
        """Where something lies. A look costs the same however many packs there are."""
        if not self._sieves[kind].may_have(digest):
            return None
        packs, last = self.packs[kind], self._last.get(kind, 0)
        if last in packs and (row := packs[last].find(digest)) is not None:
            return Place(name_of(kind, last, "pack"), row)
        for number, index in reversed(packs.items()):
            if (row := index.find(digest)) is not None:
                self._last[kind] = number
                return Place(name_of(kind, number, "pack"), row)
        return None

    def has(self, kind: Kind, digest: bytes) -> bool:
        return self.find(kind, digest) is not None

    def read(self, kind: Kind, digest: bytes, limit: int) -> bytes:
        """Something from a pack, at most `limit` bytes.

        Raises `NotFoundError`, `GarbageError` for what is longer, `NoSourceError`.
        """
        place = self.find(kind, digest)
        if place is None:
            raise NotFoundError(f"{self.path} does not have it")
        if place.row.length > limit:
            raise GarbageError(f"{self.path} has {place.row.length} bytes; at most {limit} can be")
        with self.opened(place.pack) as pack:
            data = pack.pread(place.row.length, place.row.offset)
        if len(data) != place.row.length:
            raise NoSourceError(f"{self.path}: {place.pack} was cut short")
        return data

    @contextmanager
    def opened(self, name: str) -> Iterator[StoredFile]:
        """A file of the stick, open for reading. Raises `NoSourceError`."""
        file = self.volume.open(name)
        try:
            yield file
        finally:
            file.close()

    def is_gone(self, names: Sequence[str] = ()) -> bool:
        """Whether nothing can be read any more: none of these files, or of the lists of contents
        that were read before; one bad place is something else.
        """
        lists = (name_of("contents", number, "list") for number in self.contents)
        return not any(self._is_there(name) for name in names or lists)

    def _is_there(self, name: str) -> bool:
        try:
            with self.opened(name) as file:
                return file.is_there()
        except NoSourceError:
            return False

    def take(self, name: str) -> None:
        """Note an index or a list that is there, or what is wrong with it."""
        kind, number, what = NAME.fullmatch(name).groups()  # type: ignore[union-attr]
        try:
            if (kind, what) == ("contents", "list"):
                self._take_list(name, int(number))
            elif kind in _LONGEST and what == "index":
                self._take_index(kind, name, int(number))
        except P2PHubError as error:
            self.problems[name] = error.message

    def _take_list(self, name: str, number: int) -> None:
        data = _whole(self, name, min(limits.MAX_CONTENTS, MOST_LISTED - self.listed))
        self.contents[number] = Contents.from_bytes(data)
        self.listed += len(data)

    def _take_index(self, kind: Kind, name: str, number: int) -> None:
        size = _size(self, name_of(kind, number, "pack"))
        most = len(INDEX) + ROW * (MOST_ROWS - self.rows) + limits.DIGEST
        data = _whole(self, name, min(_MOST_INDEX, most))
        index = PackIndex.read(data, pack=size, longest=_LONGEST[kind])
        self.packs[kind][number] = index
        self._sieves[kind].add(index)
        self.rows += len(index)

    def close(self) -> None:
        """Let the stick go, so that it can be taken out; who still reads it is told it is gone."""
        self.volume.close()


def look(path: Path, identities: Sequence[Identity] = (), only: bytes | None = None) -> Medium:
    """What is on a stick, opened with these identities where it is sealed.

    `only`: nothing counts but what was sealed with this mark.

    Raises `NotFoundError` if there is no bundle, `NoSourceError` if it cannot be read or has more
    names than any bundle.
    """
    volume = open_archive(path) if path.is_file() else open_folder(path)
    return take_stock(Unsealed(volume, identities, only))


def take_stock(volume: Volume) -> Medium:
    """The same of a volume, which is closed with it. Raises `NoSourceError`."""
    medium = Medium(volume)
    with ExitStack() as undo:
        undo.callback(medium.close)
        names = sorted(_names(medium), reverse=True)
        for name in names:
            medium.take(name)
        _in_order(medium.contents)
        for packs in medium.packs.values():
            _in_order(packs)
        if medium.problems and medium.is_gone(names):
            raise NoSourceError(f"{volume.path} {GONE[0]}", remedy=GONE[1])
        undo.pop_all()
    return medium


def name_of(kind: str, number: int, what: str) -> str:
    """What a file is called.

    >>> name_of("pieces", 7, "pack")
    'pieces-0007.pack'
    """
    return f"{kind}-{number:04}.{what}"


def _names(medium: Medium) -> list[str]:
    found: list[str] = []
    for count, name in enumerate(medium.volume.names()):
        if count >= MOST_NAMES:
            raise NoSourceError(f"{medium.path} has more names than any bundle")
        found += [name] if NAME.fullmatch(name) else []
        _note_sealed(medium, name)
    return found


def _note_sealed(medium: Medium, name: str) -> None:
    """That a number is taken, by a whole pack or a list that is somebody else's."""
    match = NAME.fullmatch(name.removesuffix(SUFFIX)) if name.endswith(SUFFIX) else None
    if match is not None and match[3] != "pack":
        medium.sealed[match[1]] = max(int(match[2]), medium.sealed.get(match[1], 0))


def _in_order(found: dict[int, Numbered]) -> None:
    ordered = sorted(found.items())
    found.clear()
    found.update(ordered)


class _Sieve:
    """What certainly is in no pack: a bit for the first 27 of every digest that is in one."""

    def __init__(self) -> None:
        self._bits = bytearray()

    def add(self, index: PackIndex) -> None:
        self._bits = self._bits or bytearray(1 << 24)
        for row in index:
            at, bit = _bit_of(row.digest)
            self._bits[at] |= bit

    def may_have(self, digest: bytes) -> bool:
        at, bit = _bit_of(digest)
        return bool(self._bits) and bool(self._bits[at] & bit)


def _bit_of(digest: bytes) -> tuple[int, int]:
    first = int.from_bytes(digest[:4])
    return first >> 8, 1 << (first & 7)


def _size(medium: Medium, name: str) -> int:
    with medium.opened(name) as file:
        size = file.size
    if size > _MOST_PACK:
        raise NoSourceError(f"{name} is larger than any pack")
    return size


def _whole(medium: Medium, name: str, most: int) -> bytes:
    with medium.opened(name) as file:
        if file.size > most:
            raise NoSourceError(f"{name} has {file.size} bytes; {most} is the most")
        return b"".join(_parts(file))


def _parts(file: StoredFile) -> Iterator[bytes]:
    at = 0
    while at < file.size:
        data = file.pread(1 << 24, at)
        if not data:
            return
        at += len(data)
        yield data
