"""Which small files to ask of which source next: pure, like `fetch_plan`, for whole files.

Every source takes as many as one request may ask for of what nobody has been asked for. What a
source lacks, or did not bring before it failed, goes back for the others. When nothing is left but
what others were asked for and have not brought for `PATIENCE`, it is asked for a second time.

>>> one, two = ContentId(1, bytes(32)), ContentId(2, bytes(32))
>>> plan = BatchPlan([one, two])
>>> plan.next_for("ann", 0.0) == Ask((one, two)), plan.next_for("bob", 0.0)
(True, Wait(seconds=2.0))
>>> plan.got("ann", one, 1.0), plan.got("ann", one, 1.0)
(True, False)
>>> plan.ended("ann", (one, two))
>>> plan.next_for("ann", 1.0), plan.next_for("bob", 1.0) == Ask((two,))
(Leave(), True)
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from p2phub.formats.ids import ContentId
from p2phub.protocol.batch import batches_of

PATIENCE: Final = 2.0
"""Seconds without a file after which somebody else is asked for what a source was asked for."""
SHORTEST: Final = 0.01
"""Seconds of a wait: what is left to wait for may be less than a clock can tell."""
SHARE: Final = 256
"""Files asked of a source at once: what it brings is kept while it brings the next."""


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask the source for these files, in this order."""

    contents: tuple[ContentId, ...]


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to ask for now; look again after so many seconds, or when something has changed."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Leave:
    """There is nothing that this source could bring."""


class BatchPlan:
    """What of `contents`, small files, is still missing. `now` is seconds, of any clock;
    `patience`: without a file, after which others are asked for what a source was asked for.
    """

    def __init__(self, contents: Iterable[ContentId], *, patience: float = PATIENCE) -> None:
        self._patience = patience
        self._missing = dict.fromkeys(contents)
        self._free = dict(self._missing)
        self._asked: dict[ContentId, list[str]] = {}
        """Of whom what is missing was asked for; each content is free or here."""
        self._lacks: dict[str, set[ContentId]] = {}
        self._moved: dict[str, float] = {}
        """When a source last brought a file, or was asked after a pause."""
        self._out: set[str] = set()

    @property
    def missing(self) -> tuple[ContentId, ...]:
        """What has not come."""
        return tuple(self._missing)

    @property
    def finished(self) -> bool:
        return not self._missing

    def next_for(self, source: str, now: float) -> Ask | Wait | Leave:
        """What to do with `source`, which has room for a request."""
        lacks = self._lacks.setdefault(source, set())
        if source in self._out or self._missing.keys() <= lacks:
            return Leave()
        batch = _share(each for each in self._free if each not in lacks)
        if not batch:
            late = [
                each for each in self._others(source) if self._silence(each, now) >= self._patience
            ]
            batch = _share(late)
        if not batch:
            waits = [self._patience - self._silence(each, now) for each in self._others(source)]
            return Wait(max(SHORTEST, min(waits, default=self._patience)))
        self._ask(source, batch, now)
        return Ask(batch)

    def got(self, source: str, content: ContentId, now: float) -> bool:
        """`source` has brought a file; whether it was still missing."""
        self._moved[source] = now
        was_missing = content in self._missing
        for each in (self._missing, self._free, self._asked):
            each.pop(content, None)
        return was_missing

    def ended(self, source: str, batch: Sequence[ContentId]) -> None:
        """A request was answered to its end; what did not come by it, `source` lacks."""
        self._lacks[source].update(content for content in batch if content in self._missing)
        self._put_back(source, batch)

    def failed(self, source: str, batch: Sequence[ContentId]) -> None:
        """A request failed; `source` is not asked again."""
        self._out.add(source)
        self._put_back(source, batch)

    def stalled(self, now: float) -> set[str]:
        """Who was asked for something and has brought nothing for a long time."""
        asked = {source for sources in self._asked.values() for source in sources}
        return {source for source in asked if now - self._moved[source] >= self._patience}

    def _ask(self, source: str, batch: Sequence[ContentId], now: float) -> None:
        if not any(source in sources for sources in self._asked.values()):
            self._moved[source] = now
        for content in batch:
            self._free.pop(content, None)
            self._asked.setdefault(content, []).append(source)

    def _put_back(self, source: str, batch: Sequence[ContentId]) -> None:
        for content in batch:
            sources = self._asked.get(content, [])
            if source in sources:
                sources.remove(source)
                if not sources:
                    del self._asked[content]
                    self._free[content] = None

    def _others(self, source: str) -> Iterator[ContentId]:
        """What was asked of others only, and `source` may have."""
        lacks = self._lacks[source]
        for content, sources in self._asked.items():
            if source not in sources and content not in lacks:
                yield content

    def _silence(self, content: ContentId, now: float) -> float:
        """For how long nobody who was asked for it has brought anything."""
        return now - max(self._moved[source] for source in self._asked[content])


def _share(contents: Iterable[ContentId]) -> tuple[ContentId, ...]:
    """The first of them, as many as are asked for at once."""
    return next(batches_of(islice(contents, SHARE)), ())
