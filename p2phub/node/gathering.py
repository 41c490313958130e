"""The sources of one thing, a release or a file by its SHA-256, found while a pull lasts.

A pull begins with who is connected. A moment later, when bytes flow, every source is asked whom it
knows (peer exchange), and the DHT who has it; both again from time to time. Whoever asks us about
the same thing is a source as well: it fetches what we fetch. Each is greeted, and named once to
`joined` of whoever fetches a file. The longer nobody new is found, the less often others are asked.

Rules it keeps: nobody is waited for; at most `MOST_SOURCES` are gathered; who lied in this pull is
not gathered again.
"""

from collections.abc import AsyncIterator, Callable, Collection, Iterable
from contextlib import asynccontextmanager, suppress
from functools import partial

import trio

from p2phub.errors import P2PHubError, plain_errors
from p2phub.network.control_client import ControlClient
from p2phub.node.acquaintances import Acquaintances
from p2phub.node.neighbours import Neighbours
from p2phub.node.services import Services
from p2phub.protocol.ports import PeerAddress, Source

MOST_SOURCES = 16
"""Sources of one thing."""
EXCHANGE_EVERY = 3.0  # seconds, at first and after somebody new was found
EXCHANGE_AT_LEAST = 24.0  # seconds
LOOK_UP_EVERY = 20.0  # seconds

Joined = Callable[[Source], None]


class Gathering:
    """Looks for sources of `digest` while `run` runs. `unwanted`: names of those who lied."""

    def __init__(
        self,
        digest: bytes,
        neighbours: Neighbours,
        control: ControlClient,
        acquaintances: Acquaintances,
        unwanted: Collection[str] = (),
    ) -> None:
        self._digest, self._unwanted = digest, unwanted
        self._neighbours, self._control = neighbours, control
        self._acquaintances = acquaintances
        self._found: dict[str, Source] = {}
        self._listeners: list[Joined] = []
        self._asked = trio.Event()

    @property
    def sources(self) -> tuple[Source, ...]:
        """Who was found so far and has not lied since."""
        return tuple(each for each in self._found.values() if each.name not in self._unwanted)

    def listen(self, joined: Joined) -> None:
        """Call `joined` with every source found so far, and with those found from now on."""
        self._listeners.append(joined)
        for source in self.sources:
            joined(source)

    def leave(self, joined: Joined) -> None:
        """Call `joined` no more."""
        self._listeners.remove(joined)

    def add(self, sources: Iterable[Source]) -> None:
        """These were found; another object of the same name takes the place of the old one."""
        for source in sources:
            known = self._found.get(source.name)
            is_full = known is None and len(self._found) >= MOST_SOURCES
            if known is source or is_full or source.name in self._unwanted:
                continue
            self._found[source.name] = source
            self._asked.set()
            for joined in tuple(self._listeners):
                joined(source)

    async def run(self, *, near: bool = False, after: float = 0.0) -> None:
        """Look for more until cancelled: at once whether those are sources that we are connected
        to, if `near`; from `after` seconds on in the DHT and with those who were found.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._hear_of_who_asks)
            if near:
                self.add(await self._neighbours.near(self._unwanted))
            await trio.sleep(after)
            nursery.start_soon(self._look_up)
            nursery.start_soon(self._ask_around, nursery)

    async def _look_up(self) -> None:
        while True:
            self.add(await self._neighbours.holders(self._digest, without=self._unwanted))
            await trio.sleep(LOOK_UP_EVERY)

    async def _hear_of_who_asks(self) -> None:
        while True:
            change = self._acquaintances.change
            await self._greet(self._acquaintances.members(self._digest))
            await change()

    async def _ask_around(self, nursery: trio.Nursery) -> None:
        """Ask each source whom it knows: a new one at once, all of them now and then."""
        told: set[str] = set()
        every = EXCHANGE_EVERY
        while True:
            self._asked = trio.Event()
            for name in self._found.keys() - told:
                nursery.start_soon(self._ask, name)
            told = set(self._found)
            with trio.move_on_after(every) as pause:
                await self._asked.wait()
                every = EXCHANGE_EVERY
            if pause.cancelled_caught:
                told, every = set(), min(2 * every, EXCHANGE_AT_LEAST)

    async def _ask(self, name: str) -> None:
        if not self._neighbours.is_connected(name):
            return
        self._acquaintances.wants(name, self._digest)
        with suppress(P2PHubError):  # an older one does not know the question; a liar is no loss
            texts = await self._control.exchange(name, self._digest)
            await self._greet(self._acquaintances.heard(name, texts))

    async def _greet(self, peers: Iterable[PeerAddress]) -> None:
        strangers = [
            peer
            for peer in peers
            if peer.peer_id not in self._found and peer.peer_id not in self._unwanted
        ]
        if strangers and len(self._found) < MOST_SOURCES:
            self.add(await self._neighbours.greet(strangers))


@asynccontextmanager
async def gathering_of(
    services: Services,
    digest: bytes,
    unwanted: Collection[str],
    *,
    near: bool = False,
    after: float = 0.0,
) -> AsyncIterator[Gathering]:
    """A gathering that looks for sources for as long as the block lasts, as its `run` does."""
    gathering = Gathering(
        digest, services.neighbours, services.control, services.acquaintances, unwanted
    )
    with plain_errors():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(gathering.run, near=near, after=after))
            yield gathering
            nursery.cancel_scope.cancel()
