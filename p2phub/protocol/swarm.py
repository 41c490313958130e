"""What a swarm knows: how rare each piece is, how fast each source is.

`Rate` smooths the bytes of one source as they come. `Availability` counts, for every piece, how
many of the sources that lack some have it; whoever has all adds the same to every piece and does
not count. `by_rarity` is the order in which one source is asked for what is free.

Rules it keeps:
 * nothing here is random: the same calls give the same answers;
 * the time a source was not asked for anything does not make it slower;
 * costs grow with the stretches of pieces, not with the pieces.

Example: a source has all, another one the first half; of the source that has all, the second half
is asked, which nobody else has.

>>> availability = Availability([PieceSet([(0, 50)])])
>>> everything = PieceSet([(0, 100)])
>>> by_rarity(everything, None, availability, cursor=10, count=100)[0]
Candidate(first=50, stop=100, count=0)
>>> rate = Rate()
>>> rate.begin(now=0.0)
>>> for tenth in range(1, 11):
...     rate.add(1_000_000, now=tenth / 10)
>>> round(rate.value / 1_000_000)
10
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import exp

from p2phub.protocol.piece_set import PieceSet

SMOOTHING = 2.0  # seconds; what came longer ago hardly counts
LEAST_TIME = 0.05  # seconds; a rate over less than this is not believed


class Rate:
    """Bytes a second of one source, over the time that it was asked for something."""

    def __init__(self) -> None:
        self.value = 0.0
        """Bytes a second when the last ones came; 0 if none ever did."""
        self._bytes = self._busy = self._last = 0.0

    def begin(self, now: float) -> None:
        """It is asked for something, and was not."""
        self._last = now

    def add(self, size: int, now: float) -> None:
        """`size` bytes came, evenly since the last ones did."""
        passed = max(now - self._last, 1e-9)
        kept = exp(-passed / SMOOTHING)
        self._last = now
        self._busy = max(self._busy + passed, LEAST_TIME)
        self._bytes = self._bytes * kept + size / passed * SMOOTHING * (1 - kept)
        self.value = self._bytes / (SMOOTHING * (1 - exp(-self._busy / SMOOTHING)))


class Availability:
    """How many of `sets` have each piece."""

    def __init__(self, sets: Iterable[PieceSet] = ()) -> None:
        steps: dict[int, int] = {}
        for pieces in sets:
            for place, bound in enumerate(pieces.bounds()):
                steps[bound] = steps.get(bound, 0) + (1 if place % 2 == 0 else -1)
        self._bounds: list[int] = [0]
        self._counts: list[int] = [0]
        for bound in sorted(steps):
            self._step(bound, self._counts[-1] + steps[bound])

    def __bool__(self) -> bool:
        """Whether any source lacks some."""
        return len(self._bounds) > 1

    def _step(self, bound: int, count: int) -> None:
        if bound == self._bounds[-1]:
            self._counts[-1] = count
        elif count != self._counts[-1]:
            self._bounds.append(bound)
            self._counts.append(count)

    def parts(self, first: int, stop: int) -> Iterator["Candidate"]:
        """[first, stop) in parts of pieces that equally many have."""
        place = bisect_right(self._bounds, first) - 1
        while first < stop:
            last = place + 1 == len(self._bounds)
            end = stop if last else min(stop, self._bounds[place + 1])
            yield Candidate(first, end, self._counts[place])
            first, place = end, place + 1


@dataclass(frozen=True, slots=True)
class Candidate:
    """The pieces [first, stop), which `count` of the sources that lack some have."""

    first: int
    stop: int
    count: int


def by_rarity(
    free: PieceSet, held: PieceSet | None, availability: Availability, cursor: int, count: int
) -> list[Candidate]:
    """What is `free` and `held` (None: all of it), the rarest first.

    Of equally rare ones the first from `cursor` on, beginning again at 0 after the last of `count`
    pieces. In a swarm, where some are still fetching, the largest comes before others of which
    none begins at `cursor`: what lies right behind the pieces of another node it is fetching now.
    """
    found: list[Candidate] = []
    for first, stop in ((cursor, count), (0, cursor)):
        both = free.stretches(first, stop) if held is None else free.common(held, first, stop)
        for begin, end in both:
            found.extend(availability.parts(begin, end))
    if not availability:
        return found
    return sorted(
        found, key=lambda each: (each.count, each.first != cursor, each.first - each.stop)
    )
