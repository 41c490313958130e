"""Reading a file against its piece table: which pieces are not what they should be.

A piece that cannot be read counts as wrong: a failing disk and wrong bytes are the same to whoever
needs the file. Reads go through the file once, from start to end, in one reused buffer.
"""

import contextlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from p2phub.errors import P2PHubError
from p2phub.formats.limits import MAX_PIECE
from p2phub.formats.pieces import PieceTable
from p2phub.store.disk import Progress, no_progress, read_into

Take = Callable[[int, memoryview], None]
"""Given a piece that is right: its index and its bytes, which are valid during the call only."""


def ignore(index: int, data: memoryview) -> None:
    """For callers that only want to know what is wrong."""


def bad_pieces(
    fd: int,
    table: PieceTable,
    path: Path,
    *,
    indexes: Iterable[int] | None = None,
    take: Take = ignore,
    progress: Progress = no_progress,
) -> list[int]:
    """Which of these pieces (all of them, if not said) are wrong in the open file `fd`.

    Each one that is right is given to `take`. `path` is for error messages.
    """
    with contextlib.suppress(OSError):  # only an advice
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)
    buffer = memoryview(bytearray(min(MAX_PIECE, table.size)))
    bad = []
    for index in range(table.count) if indexes is None else indexes:
        length = table.length(index)
        piece = buffer[:length]
        if _fill(fd, piece, table.offset(index), path) and table.check(index, piece):
            take(index, piece)
        else:
            bad.append(index)
        progress(length)
    return bad


def _fill(fd: int, piece: memoryview, offset: int, path: Path) -> bool:
    try:
        return read_into(fd, piece, offset, path) == len(piece)
    except P2PHubError:
        return False
