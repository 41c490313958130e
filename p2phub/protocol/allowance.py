"""How much one party may ask or say: so many at once, so many a second, each party by itself.

An allowance fills up with time and never beyond its fullest; what is taken is gone. Pure: the time
is an argument, in seconds of any steady clock.

>>> allowances = Allowances(rate=2.0, most=10.0)
>>> allowances.take("alice", 10, now=0.0), allowances.take("alice", 1, now=0.0)
(True, False)
>>> allowances.take("bob", 1, now=0.0), allowances.wait("alice", 1, now=0.0)
(True, 0.5)
>>> allowances.take("alice", 1, now=0.5)
True
"""

from collections import OrderedDict
from typing import Final

PARTIES: Final = 1024
"""Parties whose allowance is kept in mind."""


class Allowances:
    """`rate`: what comes back a second; `most`: what an allowance holds when it is full."""

    def __init__(self, rate: float, most: float, parties: int = PARTIES) -> None:
        self._rate, self._most, self._parties = rate, most, parties
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, party: str, cost: float, now: float) -> bool:
        """Take `cost` from the allowance of `party` if so much is left; whether it was."""
        left = self._now_left(party, now)
        enough = left >= cost
        self._keep(party, left - cost if enough else left, now)
        return enough

    def charge(self, party: str, cost: float, now: float) -> None:
        """Take `cost`, whether so much is left or not; no debt is deeper than a full allowance."""
        self._keep(party, max(-self._most, self._now_left(party, now) - cost), now)

    def wait(self, party: str, cost: float, now: float) -> float:
        """Seconds until `cost` (at most a full allowance) can be taken."""
        return max(0.0, min(cost, self._most) - self._now_left(party, now)) / self._rate

    def _now_left(self, party: str, now: float) -> float:
        left, since = self._left.get(party, (self._most, now))
        return min(self._most, left + self._rate * max(0.0, now - since))

    def _keep(self, party: str, left: float, now: float) -> None:
        self._left[party] = (left, now)
        self._left.move_to_end(party)
        if len(self._left) > self._parties:
            self._left.popitem(last=False)
