"""A stick as it lies there, read with suspicion: which packs are whole, and where things are.

Below the folder that a person names is a folder `p2phub` with `pieces-0001.pack`, its index
`pieces-0001.index`, the same of documents, and `contents-0001.list`. A pack without an index is
what a stick that was pulled out leaves, and is not looked at.

Rules it keeps:
 * only plain files are opened, of those names, in that folder: no link is followed, no device or
   pipe is read;
 * at most `MOST_NAMES` names are looked at; an index is read within the limits of `formats.bundle`;
 * what is wrong with a file is noted in `problems`, and the file counts for nothing.

>>> NAME.fullmatch("pieces-0001.pack") is not None, NAME.fullmatch("pieces-1.PACK") is None
(True, True)
"""

import os
import re
import stat
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from p2phub.errors import GarbageError, NoSourceError, NotFoundError, P2PHubError
from p2phub.formats import limits
from p2phub.formats.bundle import INDEX, LONGEST_DOCUMENT, Contents, PackIndex, Row

Kind = Literal["pieces", "documents"]
FOLDER: Final = "p2phub"
NAME: Final = re.compile(r"(pieces|documents|contents)-([0-9]{4})\.(pack|index|list)")
MOST_NAMES: Final = 50_000
_LONGEST: Final[dict[Kind, int]] = {"pieces": limits.MAX_PIECE, "documents": LONGEST_DOCUMENT}
_MOST_INDEX: Final = len(INDEX) + 40 * limits.MAX_PACK_ROWS + limits.DIGEST
_MOST_PACK: Final = (1 << 32) - 1
_PLAIN: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Place:
    """Where something lies: in which pack, and where in it."""

    pack: str
    row: Row


@dataclass(slots=True)
class Medium:
    """What is on a stick. Made by `look`; `close` when done."""

    path: Path
    """The folder that a person named."""
    folder: int
    """The folder `p2phub` in it, open."""
    packs: dict[Kind, dict[int, PackIndex]] = field(
        default_factory=lambda: {"pieces": {}, "documents": {}}
    )
    """The packs that are whole, by their numbers."""
    contents: dict[int, Contents] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    """What is wrong with files, by their names."""
    _closing: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def find(self, kind: Kind, digest: bytes) -> Place | None:
        """Where something lies; the newest pack that has it."""
        for number, index in reversed(self.packs[kind].items()):
            if (row := index.find(digest)) is not None:
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
            data = self.pread(pack, place.row.length, place.row.offset)
        if len(data) != place.row.length:
            raise NoSourceError(f"{self.path}: {place.pack} was cut short")
        return data

    def pread(self, pack: int, length: int, offset: int) -> bytes:
        """Raises `NoSourceError` for a stick that is gone or broken."""
        try:
            return os.pread(pack, length, offset)
        except OSError as error:
            raise self._gone(error) from None

    @contextmanager
    def opened(self, name: str) -> Iterator[int]:
        """A plain file of the stick, open for reading. Raises `NoSourceError`."""
        try:
            with self._closing:
                fd = os.open(name, _PLAIN, dir_fd=self.folder)
        except OSError as error:
            raise self._gone(error) from None
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise NoSourceError(f"{self.path}: {name} is no plain file")
            yield fd
        finally:
            os.close(fd)

    def close(self) -> None:
        """Let the stick go, so that it can be taken out; who still reads it is told it is gone."""
        with self._closing:
            folder, self.folder = self.folder, -1
        if folder >= 0:
            os.close(folder)

    def _gone(self, error: OSError) -> NoSourceError:
        return NoSourceError(
            f"{self.path} cannot be read: {error.strerror or error}",
            remedy="put it back in, and run the command again: what came is kept",
        )


def look(path: Path) -> Medium:
    """What is on a stick.

    Raises `NotFoundError` if there is no bundle, `NoSourceError` if it cannot be read or has more
    names than any bundle.
    """
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        folder = os.open(path / FOLDER, flags)
    except OSError as error:
        raise NotFoundError(
            f"there is no bundle in {path}: {error.strerror}",
            remedy="name the folder in which `p2phub bundle export` was told to write",
        ) from None
    medium = Medium(path, folder)
    with ExitStack() as undo:
        undo.callback(medium.close)
        for name in sorted(_names(medium)):
            _take(medium, name)
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
    try:
        with os.scandir(medium.folder) as entries:
            for count, entry in enumerate(entries):
                if count >= MOST_NAMES:
                    raise NoSourceError(f"{medium.path} has more names than any bundle")
                found += [entry.name] if NAME.fullmatch(entry.name) else []
    except OSError as error:
        raise medium._gone(error) from None
    return found


def _take(medium: Medium, name: str) -> None:
    """Note an index or a list, or what is wrong with it."""
    kind, number, what = NAME.fullmatch(name).groups()  # type: ignore[union-attr]
    try:
        if (kind, what) == ("contents", "list"):
            data = _whole(medium, name, limits.MAX_CONTENTS)
            medium.contents[int(number)] = Contents.from_bytes(data)
        elif kind in _LONGEST and what == "index":
            size = _size(medium, name_of(kind, int(number), "pack"))
            data = _whole(medium, name, _MOST_INDEX)
            longest = _LONGEST[kind]
            medium.packs[kind][int(number)] = PackIndex.read(data, pack=size, longest=longest)
    except P2PHubError as error:
        medium.problems[name] = error.message


def _size(medium: Medium, name: str) -> int:
    with medium.opened(name) as fd:
        size = os.fstat(fd).st_size
    if size > _MOST_PACK:
        raise NoSourceError(f"{name} is larger than any pack")
    return size


def _whole(medium: Medium, name: str, most: int) -> bytes:
    with medium.opened(name) as fd:
        size = os.fstat(fd).st_size
        if size > most:
            raise NoSourceError(f"{name} has {size} bytes; {most} is the most")
        return b"".join(_parts(medium, fd, size))


def _parts(medium: Medium, fd: int, size: int) -> Iterator[bytes]:
    at = 0
    while at < size:
        data = medium.pread(fd, min(1 << 24, size - at), at)
        if not data:
            return
        at += len(data)
        yield data
