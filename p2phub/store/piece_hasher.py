"""The piece table of a file that passes by: planned and hashed while its bytes are in the cache.

The file comes in windows, each a run of its bytes. Where tensors decide how it is cut, a piece is
hashed as its parts come. Where the content decides, a piece cannot be hashed before its end is
known: those bytes are given back, to be the beginning of the next window. So each piece is hashed
right after the planner looked at it, where it lies, without a copy.

It holds no bytes but those of the header of a weights file, while that is incomplete.
"""

from p2phub.errors import FileChangedError
from p2phub.formats.cuts import certain_cuts, cut_all
from p2phub.formats.digest import Blake3, blake3
from p2phub.formats.pieces import PieceTable
from p2phub.formats.planner import PiecePlanner

NOTHING = memoryview(b"")


class PieceHasher:
    """Plans and hashes the pieces of a file of more than 1 MiB, fed to it from start to end.

    >>> hasher, rest = PieceHasher(2_000_000), NOTHING
    >>> for _ in range(4):
    ...     rest = hasher.feed(memoryview(bytes(rest) + bytes(500_000)))
    >>> len(rest), hasher.table(rest).content_id.size
    (951424, 2000000)
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._planner = PiecePlanner(size)
        self._lengths: list[int] = []
        self._digests: list[bytes] = []
        self._waiting = bytearray()
        """All bytes so far, while it is not decided how they are cut."""
        self._begun = Blake3()
        """Of the bytes since the last cut, where tensors decide."""

    def feed(self, window: memoryview) -> memoryview:
        """Hash what is certain of `window`; what of it the next one is to begin with: under 1 MiB,
        and valid for as long as the memory of the window.
        """
        if self._planner.by_content:
            for length in certain_cuts(window):
                window = self._cut(length, window)
            return window
        lengths = self._planner.feed(window)
        if self._waiting or self._planner.undecided:
            self._waiting += window
            if self._planner.undecided:
                return NOTHING
            window, self._waiting = memoryview(self._waiting), bytearray()
        for length in lengths:
            window = self._cut(length, window)
        if self._planner.by_content:
            return window
        self._begun.update(window)
        return NOTHING

    def table(self, rest: memoryview) -> PieceTable:
        """The table of the whole file; `rest` is what the last window gave back.

        Raises `FileChangedError` if that is not what the file was said to be.
        """
        for length in cut_all(rest):
            rest = self._cut(length, rest)
        if sum(self._lengths) != self._size:
            raise FileChangedError(f"the file had {self._size} bytes and has not that many now")
        return PieceTable.build(self._lengths, self._digests)

    def _cut(self, length: int, data: memoryview) -> memoryview:
        """Hash the next piece; what of `data` comes after it."""
        missing = length - self._begun.length
        if self._begun.length:
            self._begun.update(data[:missing])
            self._digests.append(self._begun.digest())
            self._begun = Blake3()
        else:
            self._digests.append(blake3(data[:length]))
        self._lengths.append(length)
        return data[missing:]
