"""Byte ranges [start, stop) of a file: which may be asked for, and which hold a slice of a tensor.

A tensor lies in its file row by row. A slice of its first dimension is one range; a slice of a
later one is a range for each index before it, with the rest of the row between them. Pieces are
what is fetched, so a strided slice brings every piece that one of its ranges touches.

>>> from p2phub.formats.tensors import Tensor
>>> weight = Tensor("w", "F16", (2, 8), 100, 132)
>>> list(slice_ranges(weight, 0, 1, 2)), list(slice_ranges(weight, 1, 4, 8))
([(116, 132)], [(108, 116), (124, 132)])
>>> list(spans([(0, 10), (12, 20), (90, 99)], gap=2))
[(0, 20), (90, 99)]
"""

from collections.abc import Iterable, Iterator, Sequence
from math import prod
from typing import Final

from p2phub.errors import UsageError
from p2phub.formats.limits import MIB
from p2phub.formats.pieces import PieceTable, Run
from p2phub.formats.tensors import Tensor

MAX_READ: Final = 16 * MIB
"""Bytes that one call may read."""
MAX_RANGES: Final = 4096
"""Ranges that one call may name."""

Range = tuple[int, int]


def check_ranges(
    ranges: Sequence[Sequence[int]], size: int, most: int | None = None
) -> tuple[Range, ...]:
    """`ranges` of a file of `size` bytes, once they are that, and at most `most` bytes in all.

    Raises `UsageError`.
    """
    if len(ranges) > MAX_RANGES:
        raise UsageError(f"{len(ranges)} ranges in one call; {MAX_RANGES} is the most")
    checked = []
    for given in ranges:
        if len(given) != 2 or not 0 <= given[0] <= given[1] <= size:
            raise UsageError(
                f"{list(given)} is no range of a file of {size} bytes",
                remedy="a range is [start, stop], in bytes, with 0 <= start <= stop <= size",
            )
        checked.append((given[0], given[1]))
    total = sum(stop - start for start, stop in checked)
    if most is not None and total > most:
        raise UsageError(
            f"{total} bytes in one call; {most} is the most", remedy="read them in several calls"
        )
    return tuple(checked)


def covering(table: PieceTable, ranges: Iterable[Range]) -> list[Run]:
    """The pieces that hold these ranges, in order, each once."""
    runs: list[Run] = []
    for start, stop in sorted(ranges):
        first, count = table.pieces_covering(start, stop)
        end = runs[-1].first + runs[-1].count if runs else 0
        if runs and first <= end:
            last = runs.pop()
            first, count = last.first, max(end, first + count) - last.first
        if count:
            runs.append(Run(first, count))
    return runs


def both(some: Iterable[Run], others: Iterable[Run]) -> list[Run]:
    """The pieces that are in both lists of runs; each is in order.

    >>> both([Run(0, 5), Run(8, 2)], [Run(3, 6)])
    [Run(first=3, count=2), Run(first=8, count=1)]
    """
    found = []
    left, right = list(some), list(others)
    while left and right:
        first = max(left[0].first, right[0].first)
        ends = left[0].first + left[0].count, right[0].first + right[0].count
        if min(ends) > first:
            found.append(Run(first, min(ends) - first))
        (left if ends[0] <= ends[1] else right).pop(0)
    return found


def spans(ranges: Iterable[Range], gap: int = 0) -> Iterator[Range]:
    """Ranges in the order of the file, those that are at most `gap` bytes apart made one."""
    last: Range | None = None
    for start, stop in ranges:
        if last is not None and start - last[1] <= gap:
            last = last[0], max(last[1], stop)
            continue
        if last is not None:
            yield last
        last = start, stop
    if last is not None:
        yield last


def batches(ranges: Iterable[Range], most: int | None = MAX_READ) -> Iterator[list[Range]]:
    """The same bytes in the same order, in calls of at most `most` bytes and `MAX_RANGES` ranges.

    >>> list(batches([(0, 5), (7, 8)], most=4))
    [[(0, 4)], [(4, 5), (7, 8)]]
    """
    batch: list[Range] = []
    room = most
    for start, stop in ranges:
        while start < stop:
            take = stop - start if room is None else min(room, stop - start)
            batch.append((start, start + take))
            start += take
            room = None if room is None else room - take
            if room == 0 or len(batch) == MAX_RANGES:
                yield batch
                batch, room = [], most
    if batch:
        yield batch


def slice_ranges(tensor: Tensor, dim: int, start: int, stop: int) -> Iterator[Range]:
    """Where the elements `start` … `stop` of dimension `dim` lie, in the order of the slice.

    Raises `UsageError` if the tensor has no such slice.
    """
    shape = tensor.shape
    if not (0 <= dim < len(shape) and 0 <= start <= stop <= shape[dim]):
        raise UsageError(
            f"{tensor.name} of the shape {list(shape)} has no elements {start} to {stop} in "
            f"dimension {dim}"
        )
    rows = prod(shape[:dim])
    if start == stop or not rows or tensor.start == tensor.stop:
        return iter(())
    unit, rest = divmod(tensor.stop - tensor.start, rows * shape[dim])
    if rest:
        raise UsageError(f"{tensor.name} of {tensor.dtype} cannot be cut inside a byte")
    stride = unit * shape[dim]
    first = tensor.start + start * unit
    length = (stop - start) * unit
    if length == stride:
        return iter([(first, first + rows * stride)])
    return ((first + row * stride, first + row * stride + length) for row in range(rows))
