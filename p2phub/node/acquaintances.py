"""Who wants or has what, as the peers themselves have told this node: what peer exchange tells.

Whoever asks us about a release or a file, or follows it, wants it, and will have pieces of it soon.
Others who ask are told where to find him. A pull of our own reads the same list, and adds whom it
found.

Rules it keeps:
 * only peers that are connected to us now are told of, by the addresses that they themselves listen
   on: nothing is passed on from hearsay;
 * what is told and what is taken is cut: a few peers, a few addresses each, of the right form, and
   none of a smaller network than the one we share with whoever asks or answers;
 * memory is bounded, whoever asks for whatever; who has not asked for a while is forgotten.

It leaves dialling to `neighbours`: an address proves itself when it is dialled, by the peer id.
"""

from collections.abc import Callable, Iterable

import trio

from p2phub.errors import UsageError
from p2phub.network.addresses import fit_between
from p2phub.network.libp2p_addresses import parse_peer
from p2phub.protocol.ports import ControlNetwork, PeerAddress

MAX_THINGS = 4096
"""Releases and files of which we know who wants them; the one asked for longest ago goes first."""
MAX_MEMBERS = 64
"""Peers that we know to want one thing."""
MAX_TOLD = 16
"""Peers of one answer, told or taken."""
MAX_PLACES = 4
"""Addresses of one peer, told or taken; 16 peers with 4 fit into an answer."""
REMEMBERED = 900.0
"""Seconds for which a peer that does not ask again is thought to want a thing."""


class Acquaintances:
    """`host_of(peer id)`: the IP at which we see a connected peer, None if it is not connected."""

    def __init__(self, network: ControlNetwork, host_of: Callable[[str], str | None]) -> None:
        self._network, self._host_of = network, host_of
        self._things: dict[bytes, dict[str, float]] = {}
        self._changed = trio.Event()

    def wants(self, peer: str, digest: bytes) -> None:
        """`peer` wants or has what has this digest."""
        members = self._things.pop(digest, {})
        is_new = peer not in members
        members.pop(peer, None)
        members[peer] = trio.current_time()
        while len(members) > MAX_MEMBERS:
            del members[next(iter(members))]
        self._things[digest] = members
        while len(self._things) > MAX_THINGS:
            del self._things[next(iter(self._things))]
        if is_new:
            changed, self._changed = self._changed, trio.Event()
            changed.set()

    def others(self, peer: str, digest: bytes) -> tuple[str, ...]:
        """Full multiaddrs, for `peer`, of others who want or have this; who asked last first."""
        host = self._host_of(peer)
        told: list[str] = []
        for each in self.members(digest):
            places = fit_between(each.addresses, host)[:MAX_PLACES]
            if each.peer_id != peer and places:
                told += [f"{place}/p2p/{each.peer_id}" for place in places]
        return tuple(told)

    def members(self, digest: bytes) -> tuple[PeerAddress, ...]:
        """Connected peers who want or have this; who asked last first, at most `MAX_TOLD`."""
        since = trio.current_time() - REMEMBERED
        connected = {peer.peer_id: peer for peer in self._network.peers()}
        members = reversed(self._things.get(digest, {}).items())
        found = [connected[each] for each, when in members if when >= since and each in connected]
        return tuple(found[:MAX_TOLD])

    def heard(self, teller: str, texts: Iterable[str]) -> tuple[PeerAddress, ...]:
        """The peers that `teller` names, as far as what it says can be one."""
        host, named = self._host_of(teller), dict[str, list[str]]()
        for text in texts:
            try:
                peer = parse_peer(text)
            except UsageError:
                continue  # a stranger's words: not worth failing over
            places = named.setdefault(peer.peer_id, [])
            if len(places) < MAX_PLACES:
                places += fit_between(peer.addresses, host)
        strangers = {self._network.peer_id, teller}
        found = [
            PeerAddress(peer_id, tuple(places))
            for peer_id, places in named.items()
            if places and peer_id not in strangers
        ]
        return tuple(found[:MAX_TOLD])

    async def change(self) -> None:
        """Return when somebody new wants something."""
        await self._changed.wait()
