"""Peers as sources: who has something, connected and greeted.

A peer becomes a source by three steps: a control connection to the peer id that the DHT named,
`hello` (where its data port is, and a ticket that says who we are there), and a `PeerSource` on
top. Sources are kept while their ticket lives, so that a pull of many files greets a peer once. A
peer that does not answer is left alone for a while."""

from collections.abc import Awaitable, Callable, Sequence

import trio

from p2phub.errors import P2PHubError, RemoteError
from p2phub.protocol.ports import ControlNetwork, PeerAddress, Records, Source

ENOUGH = 8
"""Sources that one pull uses at most."""
GREET_PATIENCE = 8.0  # seconds for connecting and greeting one peer
FORGET_AFTER = 60.0  # seconds that a peer which did not answer is left alone
LOOK_UP_AGAIN = 20.0  # seconds that the answer "who has this" is used for

OpenSource = Callable[[PeerAddress], Awaitable[Source]]


class Neighbours:
    """`open_source(peer)` greets a connected peer and makes a source of it."""

    def __init__(self, network: ControlNetwork, records: Records, open_source: OpenSource) -> None:
        self._network, self._records, self._open_source = network, records, open_source
        self._sources: dict[str, Source] = {}
        self._silent: dict[str, float] = {}
        self._found: dict[bytes, tuple[float, tuple[PeerAddress, ...]]] = {}
        self._greeting: dict[str, trio.Lock] = {}

    async def holders(self, digest: bytes, *, again: bool = False) -> list[Source]:
        """Sources that are said to have `digest`, then other peers we are connected to.

        `again`, because the ones known did not do: looks them up anew, and greets those anew that
        are not connected any more (they may have come back elsewhere). At most `ENOUGH`; possibly
        none.
        """
        if again:
            await self._retire_the_lost()
        providers = await self._providers(digest, again)
        known = {peer.peer_id for peer in providers}
        others = [peer for peer in self._network.peers() if peer.peer_id not in known]
        return await self._greet_all([*providers, *others][: 2 * ENOUGH])

    def is_direct(self, peer_id: str) -> bool:
        """Whether a peer's data port was reached, so that its bytes need no libp2p stream."""
        return getattr(self._sources.get(peer_id), "via", "") == "tls"

    def is_indirect(self, peer_id: str) -> bool:
        """Whether a peer's data port could not be reached, so that its bytes come over a stream."""
        return getattr(self._sources.get(peer_id), "via", "") == "stream"

    async def close(self) -> None:
        """Close every source."""
        for source in self._sources.values():
            await source.close()
        self._sources.clear()

    async def _retire_the_lost(self) -> None:
        connected = {peer.peer_id for peer in self._network.peers()}
        for peer_id in [peer_id for peer_id in self._sources if peer_id not in connected]:
            await self._sources.pop(peer_id).close()

    async def _providers(self, digest: bytes, again: bool) -> tuple[PeerAddress, ...]:
        now = trio.current_time()
        asked_at, found = self._found.get(digest, (-LOOK_UP_AGAIN, ()))
        if not again and found and now - asked_at < LOOK_UP_AGAIN:
            return found
        try:
            found = await self._records.providers(digest, ENOUGH)
        except RemoteError:
            found = ()
        self._found[digest] = (now, found)
        return found

    async def _greet_all(self, peers: Sequence[PeerAddress]) -> list[Source]:
        found: dict[str, Source] = {}

        async def greet(peer: PeerAddress) -> None:
            source = await self._source(peer)
            if source is not None:
                found[peer.peer_id] = source

        async with trio.open_nursery() as nursery:
            for peer in peers:
                nursery.start_soon(greet, peer)
        return [found[peer.peer_id] for peer in peers if peer.peer_id in found][:ENOUGH]

    async def _source(self, peer: PeerAddress) -> Source | None:
        async with self._greeting.setdefault(peer.peer_id, trio.Lock()):
            known = self._sources.get(peer.peer_id)
            if known is not None:
                return known
            now = trio.current_time()
            if now - self._silent.get(peer.peer_id, -FORGET_AFTER) < FORGET_AFTER:
                return None
            try:
                with trio.fail_after(GREET_PATIENCE):
                    await self._network.connect(peer)
                    source = await self._open_source(peer)
            except (P2PHubError, trio.TooSlowError):
                self._silent[peer.peer_id] = now
                return None
            self._sources[peer.peer_id] = source
            return source
