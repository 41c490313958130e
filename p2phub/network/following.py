"""What changes about a file while somebody waits for it: updates to `have`, both sides of them.

Who follows a file is told what is held of it, and then, from time to time, what was verified since,
until the file is complete or one of the two has had enough. The longer it takes, the rarer is the
news: it lags by a twentieth of the time so far, and by `PUSH_EVERY` where little is missing.

Rules it keeps:
 * an update names what is new, so that a long transfer does not say everything again and again;
 * the memory of either side is bounded, whatever the other says: of too many byte ranges the
   largest are kept, and they lie inside the file (that is checked where a message is read);
 * an update that says nothing new is not passed on.

It leaves streams, time limits and who may follow to `p2phub.network.control`.

>>> heard = Heard(content := ContentId(9, bytes(32)))
>>> heard.update(HaveReply(partial={content: ((0, 3),)}))
Holding(complete=False, ranges=((0, 3),), in_order=False)
>>> heard.update(HaveReply(partial={content: ((3, 5),)}))
Holding(complete=False, ranges=((0, 5),), in_order=False)
>>> added(((0, 5), (7, 9)), ((0, 3),))
((3, 5), (7, 9))
"""

from collections.abc import Mapping
from typing import Final

from p2phub.formats.ids import ContentId
from p2phub.formats.limits import MAX_RANGES
from p2phub.formats.messages import HaveReply
from p2phub.protocol.ports import Holding

PUSH_EVERY: Final = 0.2
"""Seconds between two updates, at least."""
PUSH_AT_LEAST: Final = 1.0
"""Seconds between two updates, at most."""
LAG: Final = 0.05
LITTLE: Final = 1 / 8
"""Where so much of a file is missing, or less, others wait for the rest."""

Ranges = tuple[tuple[int, int], ...]


class Told:
    """What somebody who follows was told so far; gives the next thing to tell."""

    def __init__(self) -> None:
        self._complete: set[ContentId] = set()
        self._ranges: dict[ContentId, Ranges] = {}

    def update(self, held: Mapping[ContentId, Holding | None]) -> HaveReply | None:
        """What is new in `held`; None if nothing is."""
        reply = have_reply(held)
        complete = tuple(each for each in reply.complete if each not in self._complete)
        self._complete |= set(complete)
        news = {
            content: added(ranges, self._ranges.get(content, ()))
            for content, ranges in reply.partial.items()
        }
        is_new = bool(complete) or any(news.values())
        self._ranges |= reply.partial
        partial = {content: ranges for content, ranges in news.items() if ranges}
        return HaveReply(complete, partial) if is_new else None

    def pause(self, seconds: float) -> float:
        """Seconds until the next update for somebody who has followed for so many."""
        lacking = [each for each in self._ranges if each not in self._complete]
        for content in lacking:
            told = sum(stop - start for start, stop in self._ranges[content])
            if told >= (1 - LITTLE) * content.size:
                return PUSH_EVERY
        return min(max(PUSH_EVERY, LAG * seconds), PUSH_AT_LEAST)

    def is_over(self, wanted: int) -> bool:
        """Whether all of the `wanted` files are complete, so that nothing can follow."""
        return len(self._complete) >= wanted


class Heard:
    """What a peer has said of one file that we follow there."""

    def __init__(self, content: ContentId) -> None:
        self._content = content
        self._holding = Holding(complete=False)

    @property
    def is_over(self) -> bool:
        """Whether the peer has all of it, so that no news can come."""
        return self._holding.complete

    def update(self, reply: HaveReply) -> Holding | None:
        """What the peer holds by now; None if that is what it was."""
        before = self._holding
        ranges = before.ranges + reply.partial.get(self._content, ())
        self._holding = Holding(
            complete=before.complete or self._content in reply.complete,
            ranges=largest(ranges, MAX_RANGES),
        )
        return self._holding if self._holding != before else None


def have_reply(held: Mapping[ContentId, Holding | None]) -> HaveReply:
    """What is held of some files, as one answer; of too many byte ranges the largest."""
    complete = tuple(content for content, each in held.items() if each and each.complete)
    parts = {content: each for content, each in held.items() if each and not each.complete}
    most = MAX_RANGES // max(1, len(parts))
    partial = {content: largest(each.ranges, most) for content, each in parts.items()}
    return HaveReply(complete, {content: ranges for content, ranges in partial.items() if ranges})


def added(ranges: Ranges, before: Ranges) -> Ranges:
    """What `ranges` has and `before` has not; both in order, none touching another."""
    kept = frozenset(ranges) & frozenset(before)  # what has not changed costs little
    before = tuple(each for each in before if each not in kept)
    found: list[tuple[int, int]] = []
    at = 0
    for start, stop in (each for each in ranges if each not in kept):
        while at < len(before) and before[at][1] <= start:
            at += 1
        look = at
        while look < len(before) and before[look][0] < stop:
            if start < before[look][0]:
                found.append((start, before[look][0]))
            start = max(start, before[look][1])
            look += 1
        if start < stop:
            found.append((start, stop))
    return tuple(found)


def largest(ranges: Ranges, most: int) -> Ranges:
    """At most so many ranges, the largest ones; in order, and none touching another.

    >>> largest(((0, 2), (2, 3), (5, 6), (7, 9)), 2)
    ((0, 3), (7, 9))
    """
    merged: list[tuple[int, int]] = []
    for start, stop in sorted(ranges):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(stop, merged[-1][1]))
        else:
            merged.append((start, stop))
    if len(merged) <= most:
        return tuple(merged)
    return tuple(sorted(sorted(merged, key=lambda each: each[0] - each[1])[:most]))
