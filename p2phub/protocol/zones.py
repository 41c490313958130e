"""Who of the nodes that fetch one file together asks a source of everything for which part of it.

What a node has is told to the others a moment after it came; what it has asked for is not told. So
that two of them do not ask a lone seeder for the same, the file is divided into one zone a node,
in the order of a hash of their names: whoever knows the same nodes draws the same bounds. A node
brings its own zone from the seeder, from the front, and has the others' zones from them. Where
another one lags far behind, its zone is helped along from behind, by each at a place of its own.

Rules it keeps:
 * nothing is random, and nobody is asked: the same names give the same zones;
 * who does not know of the others begins at a place of its own too (`first_place`);
 * zones say only what comes first: how long another node is waited for is for the plan to say.

>>> zones = Zones("bob", ["eve", "ann"], count=90)
>>> zones.mine
(30, 60)
>>> zones.split([Candidate(20, 70, 0)], cursor=0)
[Candidate(first=30, stop=60, count=0), Candidate(first=20, stop=30, count=0), \
Candidate(first=60, stop=70, count=0)]
>>> zones.help_with(20, 30)
(25, 28)
"""

from collections.abc import Iterable
from itertools import pairwise

from p2phub.formats.digest import sha256
from p2phub.protocol.piece_set import Stretch
from p2phub.protocol.swarm import Candidate


def place_of(name: str) -> int:
    """A number of 64 bits of a node's own; 0 for nobody."""
    return int.from_bytes(sha256(name.encode())[:8], "big") if name else 0


def first_place(name: str, count: int) -> int:
    """Where a node that knows of no others begins in a file of `count` pieces; nobody at 0.

    >>> [first_place(name, 100) for name in ("", "ann", "bob", "eve")]
    [0, 28, 50, 52]
    """
    return place_of(name) * count >> 64


class Zones:
    """`own` and `others`: the names of the nodes that fetch a file of `count` pieces."""

    def __init__(self, own: str, others: Iterable[str], count: int) -> None:
        names = sorted({own, *others}, key=place_of)
        self._rank, self._nodes, self._count = names.index(own), len(names), count
        self._bounds = [count * rank // len(names) for rank in range(len(names) + 1)]

    @property
    def mine(self) -> Stretch:
        """Our own zone."""
        return self._bounds[self._rank], self._bounds[self._rank + 1]

    def is_mine(self, index: int) -> bool:
        """Whether a piece lies in our own zone."""
        first, stop = self.mine
        return first <= index < stop

    def split(self, candidates: Iterable[Candidate], cursor: int) -> list[Candidate]:
        """What may be asked of a source of everything, the first ones first: what no other node
        has, our own zone first and on from `cursor`, then where most is left; the rest behind.
        """
        parts = [part for each in candidates for part in self._split(each)]
        return sorted(parts, key=lambda part: self._order(part, cursor))

    def help_with(self, first: int, stop: int) -> Stretch:
        """Where in a part of another's zone we help: in its second half, apart from others who help
        too.
        """
        turn = (self._rank - self._owner(first)) % self._nodes - 1
        half, helpers = first + (stop - first) // 2, max(1, self._nodes - 1)
        size = stop - half
        return half + size * turn // helpers, half + -(-size * (turn + 1) // helpers)

    def _order(self, part: Candidate, cursor: int) -> tuple[int, bool, int]:
        is_others = part.count > 0 or not self.is_mine(part.first)
        ahead = (part.first - cursor) % self._count
        return part.count, is_others, part.first - part.stop if is_others else ahead

    def _split(self, candidate: Candidate) -> Iterable[Candidate]:
        bounds = [each for each in self._bounds if candidate.first < each < candidate.stop]
        edges = [candidate.first, *bounds, candidate.stop]
        for first, stop in pairwise(edges):
            yield Candidate(first, stop, candidate.count)

    def _owner(self, index: int) -> int:
        return next(rank for rank, stop in enumerate(self._bounds[1:]) if index < stop)
