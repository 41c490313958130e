"""Who sent wrong bytes of what, lately: a small memory that all fetches of one node share.

Only bytes that were found wrong against the table they were asked by are a lie. Who owns up to a
damaged copy, or serves pieces of a table that later turns out to be somebody's lie, is honest.

Rules it keeps:
 * a lie is about one file: who has a bad copy of it is a good source of others;
 * it is remembered for `REMEMBERED` seconds since it was told last, and then forgotten;
 * of at most `MAX_LIARS` names at most `MAX_LIES` lies each are remembered, the latest: a crowd
   costs no memory, and one that lies about everything makes no room for others.

What follows for a liar is for others to say. It is not for ever, because a disk that rots is
mended some day.

>>> liars = Liars()
>>> liars.remember("mallory", content := ContentId(9, bytes(32)), now=0)
>>> liars.names(content, now=60), liars.names(content, now=2 * REMEMBERED)
(frozenset({'mallory'}), frozenset())
"""

from typing import Final

from p2phub.formats.ids import ContentId

REMEMBERED: Final = 3600.0
"""Seconds."""
MAX_LIARS: Final = 1000
MAX_LIES: Final = 64
"""Of one source."""


class Liars:
    """The names of sources that lied. Times are seconds of a clock that never goes back."""

    def __init__(self) -> None:
        self._until: dict[str, dict[ContentId, float]] = {}

    def remember(self, name: str, content: ContentId, now: float) -> None:
        """`name` sent wrong bytes of `content` at `now`."""
        lies = self._until.pop(name, {})
        lies.pop(content, None)
        lies[content] = now + REMEMBERED
        if len(lies) > MAX_LIES:
            del lies[next(iter(lies))]
        self._until[name] = lies
        if len(self._until) > MAX_LIARS:
            del self._until[next(iter(self._until))]

    def names(self, content: ContentId, now: float) -> frozenset[str]:
        """Who is remembered at `now` to have lied about `content`."""
        while self._until and max(next(iter(self._until.values())).values()) <= now:
            del self._until[next(iter(self._until))]
        return frozenset(name for name, lies in self._until.items() if lies.get(content, now) > now)
