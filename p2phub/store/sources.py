"""What the files of people held when they were last read: why a second publish reads so little.

A file is known again by its path (through no link), its size and its stamp. That is a strong hint
and no proof: a clock can be set back, and bytes written through a mapping are stamped late. So a
few pieces of it are read and compared with its table each time (`sample`). Where the file system
counts whole seconds, no stamp is believed: two edits within one of them look the same.

>>> sample(PieceTable.build([1 << 20] * 3, [bytes(32)] * 3))
[0]
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from p2phub.formats.ids import ContentId
from p2phub.formats.pieces import PieceTable
from p2phub.store.index import Index
from p2phub.store.stamp import Stamp

MOST_SAMPLES, ONE_OF = 8, 8
"""How many pieces of a known file are read again: one of so many, and never more than that."""
_SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Remembered:
    """What a file was found to be when it was last read."""

    content: ContentId
    sha256: bytes
    git_sha1: bytes | None


class Sources:
    """The files of people that one store knows. Thread-safe."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def recall(self, path: Path, stamp: Stamp) -> Remembered | None:
        """What the file at `path` held when it had this very stamp; None if that is not known."""
        with self._index.read() as statements:
            row = statements.one("sources.find", os.fsencode(path), *stamp.row)
            if row is None or row[1] != stamp.size:
                return None
            with statements.decoding():
                return Remembered(ContentId(row[1], row[0]), row[2], row[3])

    def remember(self, found: Iterable[tuple[Path, Stamp, Remembered]]) -> None:
        """Keep what these files held, for next time."""
        rows = [
            (
                os.fsencode(path),
                known.content.digest,
                known.content.size,
                known.sha256,
                known.git_sha1,
                *stamp.row,
            )
            for path, stamp, known in found
            if stamp.mtime_ns % _SECOND or stamp.ctime_ns % _SECOND
        ]
        if rows:
            with self._index.write() as statements:
                statements.many("sources.put", rows)


def sample(table: PieceTable) -> list[int]:
    """The pieces of a known file that are looked at: the same for the same bytes, and spread.

    A file of one piece has none: to read it would be to read the whole.
    """
    count = table.count
    if count <= 1:
        return []
    wanted = min(MOST_SAMPLES, -(-count // ONE_OF))
    first = int.from_bytes(table.content_id.digest[:8], "big")
    return sorted({(first + step * count // wanted) % count for step in range(wanted)})
