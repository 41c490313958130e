"""Which missing pieces of a file are to be fetched, where some of them have the same bytes.

Tensors of zeros, tied weights, padding: a digest may stand in a table many times. Its bytes come
over the wire once; the other places are filled from the first (`p2phub/store/linking.py`).

A place of few bytes that would cut a run in two is fetched all the same: another request costs more
than it saves.

>>> table = PieceTable.build([1 << 20] * 4, [bytes(32), b"a" * 32, bytes(32), b"b" * 32])
>>> without_repeats(table, [Run(0, 4)])
[Run(first=0, count=2), Run(first=3, count=1)]
"""

from collections import deque
from collections.abc import Iterable

from p2phub.formats.limits import MIN_CUT
from p2phub.formats.pieces import PieceTable, Run

LEAST = MIN_CUT
"""Bytes side by side that are worth leaving out."""


def without_repeats(table: PieceTable, runs: Iterable[Run]) -> list[Run]:
    """The same pieces, each digest once: its first place, and places that are hardly worth it."""
    wanted = list(runs)
    repeats = deque(run for run in _repeats(table, wanted) if _size(table, run) >= LEAST)
    left: list[Run] = []
    for run in wanted:
        first, stop = run.first, run.first + run.count
        while repeats and repeats[0].first < stop:
            repeat = repeats.popleft()
            if repeat.first > first:
                left.append(Run(first, repeat.first - first))
            first = repeat.first + repeat.count
        if first < stop:
            left.append(Run(first, stop - first))
    return left


def _repeats(table: PieceTable, runs: Iterable[Run]) -> list[Run]:
    """The pieces whose digest and length stood in an earlier place, as runs in order."""
    seen: set[tuple[bytes, int]] = set()
    found: list[Run] = []
    for run in runs:
        goes_on = False
        for index in range(run.first, run.first + run.count):
            piece = table.digest(index), table.length(index)
            repeated = piece in seen
            if repeated and goes_on:
                found[-1] = Run(found[-1].first, found[-1].count + 1)
            elif repeated:
                found.append(Run(index, 1))
            seen.add(piece)
            goes_on = repeated
    return found


def _size(table: PieceTable, run: Run) -> int:
    return table.offset(run.first + run.count) - table.offset(run.first)
