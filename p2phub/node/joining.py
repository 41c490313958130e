"""Sources that take part in fetching one file, from the moment they are found until it is here.

Each source is asked what it has of the file and goes on telling what it gets (a peer that we are
connected to), or is asked once (anything else). What it says is passed to the running `FileFetch`.

Rules it keeps:
 * nobody waits for anybody: who has answered takes part;
 * a source whose news end is asked again after a while; one that can't be reached leaves, and may
   come back;
 * a fetch that nobody helps waits for those who have not answered yet and for those who are
   fetching the file themselves, but not for long without a byte or a new one of them; and for one
   who has stopped getting more only as long as its pauses lead to expect, because two who wait for
   each other wait for nothing.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass

import trio

from p2phub.errors import NotFoundError, P2PHubError, RemoteError, plain_errors
from p2phub.formats.ids import ContentId
from p2phub.node.acquaintances import Acquaintances
from p2phub.node.fetch import FileFetch
from p2phub.node.gathering import Gathering
from p2phub.node.holdings import Holdings
from p2phub.node.neighbours import Neighbours
from p2phub.protocol.ports import Holding, Source

FIRST_AGAIN = 0.5  # seconds
LAST_AGAIN = 10.0  # seconds
BEGUN_AGAIN = 2.0  # seconds until one that did not fetch the file is asked whether it does now
LOOK = 0.25  # seconds
STARVED = 10.0  # seconds
ANSWER = 10.0  # seconds that a fetch waits for somebody who says what it has
GRACE = 2.0  # seconds that it waits for the others once one has
QUIET = 3.0  # seconds without more at one that got more quickly, after which nothing is expected
PAUSES = 3  # times its longest pause so far, for one that gets more slowly


@dataclass(slots=True)
class _Growth:
    """When a source that lacks some last had more than before, and how long that takes it."""

    at: float
    longest: float | None = None
    """Seconds; None as long as it has not grown."""
    is_over: bool = False
    """Whether the source says that it is not fetching the file."""

    def note(self, now: float) -> None:
        self.longest = max(self.longest or 0.0, now - self.at)
        self.at = now

    def is_expected(self, now: float) -> bool:
        """Whether it may get more."""
        if self.is_over:
            return False
        if self.longest is None:
            return now - self.at < STARVED
        return now - self.at < min(STARVED, max(QUIET, PAUSES * self.longest))


class Joining:
    """`fetch` is the fetch of `content`; `bytes_here()` grows as pieces come.

    `slow` names sources that take part only when nobody else helps, `without` those that never do;
    it may grow. `patience`: seconds without a
    byte for which the fetch waits for sources that are fetching the file themselves. `begun` is
    called when there is something to serve to others.
    """

    def __init__(
        self,
        content: ContentId,
        fetch: FileFetch,
        neighbours: Neighbours,
        holdings: Holdings,
        acquaintances: Acquaintances,
        bytes_here: Callable[[], int],
        *,
        slow: Collection[str] = (),
        without: Collection[str] = (),
        patience: float = STARVED,
        begun: Callable[[], None] = lambda: None,
    ) -> None:
        self._content, self._fetch, self._bytes_here = content, fetch, bytes_here
        self._neighbours, self._told = neighbours, holdings
        self._acquaintances = acquaintances
        self._slow, self._without = frozenset(slow), without
        self._patience, self._begun = patience, begun
        self._nursery: trio.Nursery | None = None
        self._reserve: dict[str, Source] = {}
        self._sources: dict[str, Source] = {}
        self._holdings: dict[str, Holding] = {}
        self._growth: dict[str, _Growth] = {}
        self._following: set[str] = set()
        """Who follows us, and therefore fetches the file too."""
        self._silent: dict[str, float] = {}
        """Since when they have not given their first answer."""
        self._alone = trio.Event()

    @property
    def helping(self) -> tuple[Source, ...]:
        """Who has any of the file."""
        useful = (name for name, each in self._holdings.items() if each.complete or each.ranges)
        return tuple(self._sources[name] for name in useful)

    def add(self, source: Source) -> None:
        """Let this source take part, once it has said what it has."""
        if source.name in self._without:
            return
        if source.name in self._slow:
            self._reserve[source.name] = source
        elif self._sources.get(source.name) is not source:
            self._begin(source)

    async def run(self, *gatherings: Gathering) -> None:
        """Fetch, with whoever is added or gathered. Raises what `FileFetch.run` raises."""
        with plain_errors():
            async with trio.open_nursery() as self._nursery:
                for source in self._sources.values():
                    self._nursery.start_soon(self._keep, source)
                for gathering in gatherings:
                    gathering.listen(self.add)
                self._nursery.start_soon(self._watch)
                self._nursery.start_soon(self._note_followers)
                try:
                    await self._fetch.run(until=self._alone)
                finally:
                    for gathering in gatherings:
                        gathering.leave(self.add)
                    self._nursery.cancel_scope.cancel()

    async def _note_followers(self) -> None:
        """Whoever follows what we get of the file fetches it, though it may have nothing yet."""
        while True:
            members = self._acquaintances.members(self._content.digest)
            self._following = {peer.peer_id for peer in members}
            for name in self._following & self._holdings.keys():
                self._fetch.join(self._sources[name], self._holdings[name], fetches=True)
            await self._acquaintances.change()

    def _begin(self, source: Source) -> None:
        self._sources[source.name] = source
        self._silent[source.name] = trio.current_time()
        if self._nursery is not None:
            self._nursery.start_soon(self._keep, source)

    async def _watch(self) -> None:
        """Notice when there is something, and when nobody is left to wait for."""
        since, here, was_told = trio.current_time(), self._bytes_here(), False
        known = len(self._growth)
        while True:
            await trio.sleep(LOOK)
            now = trio.current_time()
            if self._bytes_here() != here or len(self._growth) > known:
                here, known, since = self._bytes_here(), len(self._growth), now
            if here and not was_told:
                was_told = True
                self._begun()
            if now - since < self._patience and self._is_hopeful(now):
                continue
            if not self._reserve:
                self._alone.set()
            elif not self._holdings or now - since >= GRACE:
                self._call_in_the_slow()
                since = now

    def _call_in_the_slow(self) -> None:
        while self._reserve:
            self._begin(self._reserve.popitem()[1])

    def _is_hopeful(self, now: float) -> bool:
        """Whether somebody has yet to say what it has, or may get more."""
        lacking = (name for name, each in self._holdings.items() if not each.complete)
        if any(self._growth[name].is_expected(now) for name in lacking):
            return True
        longest = GRACE if self._holdings else ANSWER
        return any(now - since < longest for since in self._silent.values())

    async def _keep(self, source: Source) -> None:
        """Be told what one source has, for ever."""
        pause = FIRST_AGAIN
        while self._sources[source.name] is source:
            try:
                await self._hear(source)
            except RemoteError:
                self._lose(source)
            except P2PHubError:
                self._silent.pop(source.name, None)  # it has nothing, or does not tell
            holding = self._holdings.get(source.name)
            if holding is not None and holding.complete:
                return
            await trio.sleep(pause)
            growth = self._growth.get(source.name)
            may_begin = growth is not None and growth.is_over
            pause = min(2 * pause, BEGUN_AGAIN if may_begin else LAST_AGAIN)

    async def _hear(self, source: Source) -> None:
        if self._neighbours.is_connected(source.name):
            try:
                await self._told.follow(
                    source.name, self._content, lambda holding: self._join(source, holding)
                )
                if source.name in self._growth:
                    self._growth[source.name].is_over = True
                return
            except P2PHubError:
                await trio.lowlevel.checkpoint()  # its data port may answer all the same
        holding = await source.holds(self._content)
        if holding is None:
            raise NotFoundError(f"{source.name} has nothing of {self._content}")
        self._join(source, holding)

    def _join(self, source: Source, holding: Holding) -> None:
        if self._sources[source.name] is not source:
            return
        now, growth = trio.current_time(), self._growth.get(source.name)
        if growth is None:
            growth = self._growth[source.name] = _Growth(now)
        elif self._holdings.get(source.name) != holding:
            growth.note(now)
        growth.is_over = False
        self._silent.pop(source.name, None)
        is_first = source.name not in self._holdings
        self._holdings[source.name] = holding
        follows = is_first and source.name in self._following
        self._fetch.join(source, holding, fetches=True if follows else None)

    def _lose(self, source: Source) -> None:
        if self._sources[source.name] is source:
            self._silent.pop(source.name, None)
            self._holdings.pop(source.name, None)
            self._fetch.leave(source.name)
