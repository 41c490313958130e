"""Who sent wrong bytes lately: a small memory that all fetches of one node share.

Only bytes that were found wrong against the table they were asked by are a lie. Who owns up to a
damaged copy, or serves pieces of a table that later turns out to be somebody's lie, is honest.

Rules it keeps:
 * a liar is remembered for `REMEMBERED` seconds since its last lie, and then forgotten;
 * at most `MAX_LIARS` are remembered, the latest: a crowd of them costs no memory.

What follows for a liar is for others to say. It is not for ever, because a disk that rots is
mended some day.

>>> liars = Liars()
>>> liars.remember("mallory", now=0)
>>> liars.names(now=60), liars.names(now=2 * REMEMBERED)
(frozenset({'mallory'}), frozenset())
"""

from typing import Final

REMEMBERED: Final = 3600.0
"""Seconds."""
MAX_LIARS: Final = 1000


class Liars:
    """The names of sources that lied. Times are seconds of a clock that never goes back."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def remember(self, name: str, now: float) -> None:
        """`name` sent wrong bytes at `now`."""
        self._until.pop(name, None)
        self._until[name] = now + REMEMBERED
        if len(self._until) > MAX_LIARS:
            del self._until[next(iter(self._until))]

    def names(self, now: float) -> frozenset[str]:
        """Who is remembered at `now`."""
        while self._until and next(iter(self._until.values())) <= now:
            del self._until[next(iter(self._until))]
        return frozenset(self._until)
