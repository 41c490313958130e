"""A set of pieces of one file, kept as the stretches of neighbours that it is made of.

A file has up to a million pieces, and what somebody has of it, or what is still missing, is a few
hundred stretches. Everything here costs as much as the stretches it touches, never as much as the
pieces in them.

A set is one sorted list of bounds: a stretch begins at every even place of it and ends before the
next one, so that no two stretches touch.

>>> pieces = PieceSet([(0, 10)])
>>> pieces.remove(3, 5)
>>> pieces.add(12, 14)
>>> list(pieces.stretches())
[(0, 3), (5, 10), (12, 14)]
>>> 4 in pieces, 5 in pieces, pieces.end_of(6)
(False, True, 10)
>>> list(pieces.common(PieceSet([(2, 6), (13, 20)])))
[(2, 3), (5, 6), (13, 14)]
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator

Stretch = tuple[int, int]
"""The pieces [first, stop)."""


class PieceSet:
    """Pieces by index, from 0 on."""

    __slots__ = ("_bounds",)

    def __init__(self, stretches: Iterable[Stretch] = ()) -> None:
        self._bounds: list[int] = []
        for first, stop in stretches:
            self.add(first, stop)

    def __bool__(self) -> bool:
        return bool(self._bounds)

    def __contains__(self, index: int) -> bool:
        return bisect_right(self._bounds, index) % 2 == 1

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PieceSet) and self._bounds == other._bounds

    def __repr__(self) -> str:
        return f"PieceSet({list(self.stretches())})"

    def add(self, first: int, stop: int) -> None:
        """Put the pieces [first, stop) in."""
        if first < stop:
            self._replace(first, stop, outside=0)

    def remove(self, first: int, stop: int) -> None:
        """Take the pieces [first, stop) out."""
        if first < stop:
            self._replace(first, stop, outside=1)

    def end_of(self, index: int) -> int:
        """Where the stretch that `index` is in ends; `index` itself if it is in none."""
        place = bisect_right(self._bounds, index)
        return self._bounds[place] if place % 2 == 1 else index

    def stretches(self, first: int = 0, stop: int | None = None) -> Iterator[Stretch]:
        """The stretches in order, cut to [first, stop). The set may not change meanwhile."""
        bounds = self._bounds
        place = bisect_right(bounds, first) & ~1
        for at in range(place, len(bounds), 2):
            begin, end = bounds[at], bounds[at + 1]
            if stop is not None and begin >= stop:
                return
            yield max(begin, first), end if stop is None else min(end, stop)

    def common(
        self, other: "PieceSet", first: int = 0, stop: int | None = None
    ) -> Iterator[Stretch]:
        """The stretches of pieces that are in both, cut to [first, stop)."""
        for begin, end in self.stretches(first, stop):
            yield from other.stretches(begin, end)

    def bounds(self) -> Iterator[int]:
        """Where stretches begin and end, in turn."""
        return iter(self._bounds)

    def _replace(self, first: int, stop: int, *, outside: int) -> None:
        """Make [first, stop) one with its inside; a bound stays where the outside differs."""
        bounds = self._bounds
        low, high = bisect_left(bounds, first), bisect_right(bounds, stop)
        kept = [first] if low % 2 == outside else []
        if high % 2 == outside:
            kept.append(stop)
        bounds[low:high] = kept
