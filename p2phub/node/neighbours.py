"""Peers as sources: who has something, connected and greeted.

A peer becomes a source by three steps: a control connection to the peer id that the DHT named,
`hello` (where its data port is, and a ticket that says who we are there), and a `PeerSource` on
top. Sources are kept while their ticket lives, so that a pull of many files greets a peer once. A
peer that does not answer is left alone for a while, and once another one has answered, nobody
waits long for it."""

from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import trio

from p2phub.errors import NoSourceError, P2PHubError, RemoteError
from p2phub.node.asking import all_quick
from p2phub.protocol.ports import ControlNetwork, PeerAddress, Records, Source

ENOUGH = 8
"""Sources that one pull uses at most."""
GREET_PATIENCE = 8.0  # seconds for connecting and greeting one peer
FORGET_AFTER = 30.0  # seconds that a peer which did not answer is left alone
LATE_AGAIN = 10.0  # seconds that a peer which was slower than others is left alone
LOOK_UP_AGAIN = 20.0  # seconds that the answer "who has this" is used for

OpenSource = Callable[[PeerAddress], Awaitable[Source]]


@dataclass(frozen=True, slots=True)
class _Silence:
    """Since when a peer does not answer, and whether it was connected all the same."""

    since: float
    connected: bool


class Neighbours:
    """`open_source(peer)` greets a connected peer and makes a source of it."""

    def __init__(self, network: ControlNetwork, records: Records, open_source: OpenSource) -> None:
        self._network, self._records, self._open_source = network, records, open_source
        self._sources: dict[str, Source] = {}
        self._met: dict[str, PeerAddress] = {}
        self._doubted: set[str] = set()
        self._greeted: dict[str, tuple[float, frozenset[str]]] = {}
        self._silent: dict[str, _Silence] = {}
        self._found: dict[bytes, tuple[float, tuple[PeerAddress, ...]]] = {}
        self._greeting: dict[str, trio.Lock] = {}
        self._looking: dict[bytes, trio.Lock] = {}
        self._lent: list[Source] = []

    @contextmanager
    def lent(self, source: Source) -> Iterator[None]:
        """Ask `source`, which is no peer, as well, for as long as the block lasts: a bundle."""
        self._lent.append(source)
        try:
            yield
        finally:
            self._lent.remove(source)

    def is_lent(self, name: str) -> bool:
        """Whether this is the name of a source that is no peer."""
        return any(source.name == name for source in self._lent)

    async def holders(
        self,
        digest: bytes,
        *,
        again: bool = False,
        few: bool = False,
        without: Collection[str] = (),
    ) -> list[Source]:
        """Sources that are said to have `digest`, then other peers we are connected to.

        `few`, because one that has it will do: takes whoever is found first, and others only if
        there is none.
        `again`, because the ones known did not do: looks them up anew, and greets those anew that
        are not connected any more (they may have come back elsewhere). `without` names peers that
        are not wanted: a crowd of liars must not hide who is honest. Where nobody is found at all,
        perhaps because our own host is down, the sources of before have to do: their data ports
        need no host of ours. At most `ENOUGH`, and what is `lent`, first; possibly none.
        """
        lent = [source for source in self._lent if source.name not in without]
        if few and lent:
            await trio.lowlevel.checkpoint()
            return lent
        self._note_who_left()
        if again:
            self._doubted |= self._sources.keys() - {peer.peer_id for peer in self._network.peers()}
        enough = 1 if few else ENOUGH + len(without)
        providers = await self._providers(digest, again, enough)
        if few and (sources := await self._greet_all(providers[:ENOUGH])):
            return sources
        known = {peer.peer_id for peer in providers}
        others = [peer for peer in self._network.peers() if peer.peer_id not in known]
        found = [*providers, *others] or list(self._met.values())
        wanted = [peer for peer in found if peer.peer_id not in without]
        return [*lent, *await self._greet_all(self._some_of(wanted))]

    async def greet(self, peers: Sequence[PeerAddress]) -> list[Source]:
        """Those of `peers` that answer, as sources; who was told of by others, for instance."""
        self._note_who_left()
        return await self._greet_all(peers)

    async def near(self, without: Collection[str] = ()) -> list[Source]:
        """Peers that we are connected to, as sources; the DHT is not asked. At most `ENOUGH`."""
        self._note_who_left()
        wanted = [peer for peer in self._network.peers() if peer.peer_id not in without]
        return await self._greet_all(self._some_of(wanted))

    def known(self, name: str) -> Source | None:
        """The source of this name, if it was greeted before."""
        return self._sources.get(name)

    def is_connected(self, peer_id: str) -> bool:
        """Whether a source is a peer that can be asked on the control plane now."""
        return self._is_connected(peer_id)

    def welcome(self, peer_id: str) -> None:
        """A person has connected us to this peer: however silent it was before, it is asked.

        What it lied about is still asked of others first, and of it when nobody else is left: that
        a person names it mends no disk.
        """
        self._silent.pop(peer_id, None)

    def is_direct(self, peer_id: str) -> bool:
        """Whether a peer's data port was reached, so that its bytes need no libp2p stream."""
        return getattr(self._sources.get(peer_id), "via", "") == "tls"

    def is_indirect(self, peer_id: str) -> bool:
        """Whether a peer's data port could not be reached, so that its bytes come over a stream."""
        return getattr(self._sources.get(peer_id), "via", "") == "stream"

    async def close(self) -> None:
        """Close every source."""
        while self._sources:
            await self._sources.popitem()[1].close()

    def _some_of(self, peers: Sequence[PeerAddress]) -> list[PeerAddress]:
        """At most `2 * ENOUGH` of them, in their order. Half of the places are for those we are
        connected to, and who did not answer lately has the last: the records of nodes that are gone
        outlive them by hours, and must not hide who is there.
        """
        now, connected = trio.current_time(), {peer.peer_id for peer in self._network.peers()}
        near = [peer for peer in peers if peer.peer_id in connected][:ENOUGH]
        far = [peer for peer in peers if peer not in near]
        far.sort(key=lambda peer: self._is_left_alone(peer.peer_id, now))
        chosen = {peer.peer_id for peer in [*near, *far[: 2 * ENOUGH - len(near)]]}
        return [peer for peer in peers if peer.peer_id in chosen]

    def _note_who_left(self) -> None:
        """A silent peer that is away now has come back when it is connected again."""
        connected = {peer.peer_id for peer in self._network.peers()}
        for peer_id in self._silent.keys() - connected:
            self._silent[peer_id] = replace(self._silent[peer_id], connected=False)

    async def _providers(self, digest: bytes, again: bool, enough: int) -> tuple[PeerAddress, ...]:
        came = trio.current_time()
        async with self._looking.setdefault(digest, trio.Lock()):  # one walk for all who ask now
            now = trio.current_time()
            told_at, found = self._found.get(digest, (-LOOK_UP_AGAIN, ()))
            if told_at > came or (not again and found and now - told_at < LOOK_UP_AGAIN):
                return found
            try:
                found = await self._records.providers(digest, enough)
            except RemoteError:
                found = ()
            self._found[digest] = (trio.current_time(), found)
            return found

    async def _greet_all(self, peers: Sequence[PeerAddress]) -> list[Source]:
        async def greet(peer: PeerAddress) -> Source:
            source = await self._source(peer)
            if source is None:
                raise NoSourceError(f"peer {peer.peer_id} does not answer")
            return source

        asked = await all_quick(peers, greet)
        for peer in asked.late:
            self._fell_silent(peer.peer_id, FORGET_AFTER - LATE_AGAIN)
        found = {peer.peer_id: source for peer, source in asked.answers}
        return [found[peer.peer_id] for peer in peers if peer.peer_id in found][:ENOUGH]

    async def _source(self, peer: PeerAddress) -> Source | None:
        async with self._greeting.setdefault(peer.peer_id, trio.Lock()):
            now = trio.current_time()
            known = self._sources.get(peer.peer_id)
            if known is not None and not self._is_worth_a_look(peer, now):
                return known
            if self._is_left_alone(peer.peer_id, now):
                return known
            try:
                with trio.fail_after(GREET_PATIENCE):
                    await self._network.connect(peer)
                    source = await self._open_source(peer)
            except (P2PHubError, trio.TooSlowError):
                self._fell_silent(peer.peer_id)
                return known
            self._sources[peer.peer_id], self._met[peer.peer_id] = source, peer
            self._doubted.discard(peer.peer_id)
            self._greeted[peer.peer_id] = (now, frozenset(peer.addresses))
            if known is not None:
                await known.close()
            return source

    def _fell_silent(self, peer_id: str, before: float = 0.0) -> None:
        since = trio.current_time() - before
        self._silent[peer_id] = _Silence(since, self._is_connected(peer_id))

    def _is_connected(self, peer_id: str) -> bool:
        return any(peer.peer_id == peer_id for peer in self._network.peers())

    def _is_left_alone(self, peer_id: str, now: float) -> bool:
        """Whether a peer did not answer lately. One that was away then and is connected now has
        come back.
        """
        silence = self._silent.get(peer_id)
        if silence is None or now - silence.since >= FORGET_AFTER:
            return False
        return silence.connected or not self._is_connected(peer_id)

    def _is_worth_a_look(self, peer: PeerAddress, now: float) -> bool:
        """Whether a source is elsewhere by now, has opened its data port, or was of no use."""
        if peer.peer_id in self._doubted:
            return True
        when, where = self._greeted[peer.peer_id]
        moved = bool(peer.addresses) and where.isdisjoint(peer.addresses)
        return moved or (self.is_indirect(peer.peer_id) and now - when >= FORGET_AFTER)
