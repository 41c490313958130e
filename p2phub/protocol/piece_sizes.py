"""How many bytes the pieces of one file have: what turns bytes into runs of pieces and back.

>>> sizes = PieceSizes([4, 4, 2])
>>> sizes.count, sizes.of(1, 3), sizes.inside(3, 10)
(3, 6, (1, 3))
>>> sizes.cut(0, 3, 5)
2
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from itertools import accumulate

from p2phub.protocol.piece_set import Stretch


class PieceSizes:
    """The sizes of the pieces of a file, in order."""

    def __init__(self, lengths: Iterable[int]) -> None:
        self._offsets = array("Q", accumulate(lengths, initial=0))

    @property
    def count(self) -> int:
        """The number of pieces."""
        return len(self._offsets) - 1

    def of(self, first: int, stop: int) -> int:
        """Bytes of the pieces [first, stop)."""
        return self._offsets[stop] - self._offsets[first]

    def inside(self, start: int, end: int) -> Stretch:
        """The pieces that lie whole in the bytes [start, end)."""
        first = bisect_left(self._offsets, start)
        return first, max(first, bisect_right(self._offsets, end) - 1)

    def cut(self, first: int, limit: int, size: float) -> int:
        """Where the pieces from `first` on have `size` bytes: one piece at least, before `limit` or
        there.
        """
        return bisect_left(self._offsets, self._offsets[first] + size, first + 1, limit)
