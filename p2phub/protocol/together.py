"""Nodes that fetch one file at the same time: what each of them leaves to the others.

A seeder (a source of everything that does not fetch) should send every piece once, however many
nodes begin together. So a node asks it for its own zone (`zones.py`), and has from the others what
they have, and what is left of their zones, unless that is much: then it helps from behind.

Rules it keeps:
 * others are waited for while they bring something or their news go on, for a few seconds at most,
   and no longer than twice what the seeder would need itself: who lags or lies costs little;
 * who follows what we get fetches the file too, and so does who had more a moment ago;
 * the head of a file that is read while it comes is left to nobody: who is there is asked for it
   first, and then for what follows it.

>>> from p2phub.formats.pieces import Run
>>> sizes = PieceSizes([1_000_000] * 90)
>>> seeder, bob = SourceState(held=None, cursor=0), SourceState(PieceSet([(31, 40)]), cursor=0)
>>> bob.fetches = True
>>> together = Together("ann", sizes)
>>> together.note({"seeder": seeder, "bob": bob}, now=0.0)
True
>>> together.saves(seeder, now=0.0), together.saves(bob, now=0.0)
(True, False)
>>> together.wanted_until(Asked(Run(40, 9), 40, 49, 0.0)), together.place(Candidate(80, 90, 0))
(45, (85, 90))
"""

from collections.abc import Iterable, Iterator, Mapping

from p2phub.formats.limits import MAX_PIECE
from p2phub.protocol.piece_set import PieceSet, Stretch
from p2phub.protocol.piece_sizes import PieceSizes
from p2phub.protocol.source_state import Asked, SourceState
from p2phub.protocol.swarm import Candidate
from p2phub.protocol.zones import Zones, first_place

MOST_WAIT = 5.0  # seconds that a seeder is not asked for what other nodes may bring
NO_NEWS = 1.0  # seconds without news of that, after which it is asked all the same
NEWS_PIECES = 4
"""On slow lines: so many pieces' time is no news yet."""
MUCH = 6
"""A part of another's zone of so many usual runs is helped with."""


class Together:
    """`own`: the name of this node. `sizes`: of the pieces of the file. `head`: so many of them
    come before the others.
    """

    def __init__(self, own: str, sizes: PieceSizes, head: int = 0) -> None:
        self._own, self._sizes, self._head = own, sizes, head
        self._nodes: dict[str, SourceState] = {}
        self.zones: Zones | None = None
        """None while nobody else fetches."""

    def note(self, sources: Mapping[str, SourceState], now: float) -> bool:
        """See who fetches; whether that is not who did."""
        before = self._nodes.keys()
        self._nodes = {name: each for name, each in sources.items() if each.is_growing(now)}
        if self._nodes.keys() == before:
            return False
        self.zones = Zones(self._own, self._nodes, self._sizes.count) if self._nodes else None
        return True

    def begins_at(self) -> int:
        """Where a source of everything is asked first."""
        return 0 if self._head else first_place(self._own, self._sizes.count)

    def saves(self, state: SourceState, now: float) -> bool:
        """Whether a source is a seeder that others, who have to get all first, may save work."""
        is_whole = state.held is None and not state.in_order
        return self.zones is not None and is_whole and not state.is_growing(now)

    def is_left_to_others(
        self, state: SourceState, part: Candidate, usual: float, free: PieceSet, now: float
    ) -> bool:
        """Whether a seeder should not be asked for a free part now.

        `usual`: bytes of a run for it; `free`: everything that is not asked of anybody."""
        if part.first < self._head:
            return False
        if part.count:
            rates = [each.rate.value for each in self._nodes.values() if _has(each, part.first)]
            if all(rates) and sum(rates) < state.rate.value:
                return False
        elif self._is_mine(part) or self._sizes.of(part.first, part.stop) > MUCH * max(
            usual, MAX_PIECE
        ):
            return False
        state.wait_for(part, now)
        share = state.share(more=1)
        news = max(NO_NEWS, NEWS_PIECES * MAX_PIECE / share if share else 0.0)
        most = max(MOST_WAIT, news)
        if state.rate.value:
            left = sum(self._sizes.of(*each) for each in free.stretches())
            most = min(most, max(news, 2 * left / state.rate.value))
        return now - state.idle_since < most and now - state.awaited_since < news

    def makes_rare(self, sources: Iterable[SourceState], now: float) -> Iterator[PieceSet]:
        """What those have of whom some lack pieces that others have."""
        for each in sources:
            if each.held is not None and not each.dropped:
                yield each.held
            elif each.is_growing(now):
                yield PieceSet([(0, self._sizes.count)])

    def in_order(self, state: SourceState, now: float) -> list[Candidate]:
        """What may be asked of a source, the first ones first."""
        order = state.order
        if self.zones is not None and self.saves(state, now):
            order = self.zones.split(order, state.cursor)
        if not self._head or state.in_order:
            return order
        parts = [part for each in order for part in _split(each, self._head)]
        return sorted(parts, key=lambda part: part.first if part.first < self._head else self._head)

    def place(self, part: Candidate) -> Stretch:
        """Where in a free part to ask a seeder: in another's zone, apart from all others."""
        if self.zones is None or part.count or self._is_mine(part) or part.first < self._head:
            return part.first, part.stop
        return self.zones.help_with(part.first, part.stop)

    def wanted_until(self, asked: Asked) -> int:
        """How far a seeder should go with a run that began before the zones were as they are."""
        if self.zones is None or not self.zones.is_mine(asked.at):
            return asked.at + 1
        return min(asked.stop, self.zones.mine[1])

    def _is_mine(self, part: Candidate) -> bool:
        return self.zones is None or self.zones.is_mine(part.first)


def _split(part: Candidate, bound: int) -> Iterator[Candidate]:
    """What is before `bound`, and what is not."""
    if part.first < bound < part.stop:
        yield Candidate(part.first, bound, part.count)
        part = Candidate(bound, part.stop, part.count)
    yield part


def _has(node: SourceState, index: int) -> bool:
    return node.held is None or index in node.held
