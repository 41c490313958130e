"""Reaching a peer: all of its addresses, in time, and an error a person can act on.

Rules it keeps
- Every address is tried: the library dials one of each kind, so that a peer whose first address is
  dead cannot be reached, and is then not tried again for 60 s (swarm.py:881-892).
  Test: test_libp2p_dial.py::test_dead_addresses_first_still_connect.
- The next address is tried after `STAGGER`, or at once when the one before failed; the first that
  stands wins.
- A connection stands within the time allowed or is given up: the library waits for ever for the
  handshake of a peer that accepts and says nothing (swarm.py:1254).
  Test: test_libp2p_dial.py::test_a_tarpit_does_not_hold_us.
"""

import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

import trio
from libp2p.peer.id import ID
from multiaddr import Multiaddr

from p2phub.errors import RemoteError, TooSlowError
from p2phub.network.libp2p_addresses import dialable
from p2phub.network.libp2p_patches import log
from p2phub.protocol.ports import PeerAddress

STAGGER: Final = 0.25
"""Seconds that one address has for itself."""


async def dial(swarm: Any, peer: PeerAddress, within: float) -> str:
    """The address at which a connection to `peer` stands now. Raises `RemoteError`."""
    addresses = dialable(peer.addresses)
    if not addresses:
        raise RemoteError(f"no address of peer {peer.peer_id} is known that we could dial")
    race = _Race(swarm, peer)
    with trio.move_on_after(within):
        async with trio.open_nursery() as nursery:
            for address in addresses:
                failed = trio.Event()
                nursery.start_soon(race.run, address, failed, nursery.cancel_scope)
                with trio.move_on_after(STAGGER):
                    await failed.wait()
    if race.winner:
        return race.winner
    if len(race.failures) < len(addresses):
        raise TooSlowError(
            f"peer {peer.peer_id} did not answer within {within:g} s at {', '.join(addresses)}"
        )
    raise RemoteError(
        f"cannot reach peer {peer.peer_id}: {'; '.join(race.failures)}",
        remedy="check that it runs, and its address (`p2phub id` there prints it)",
    )


class _Race:
    def __init__(self, swarm: Any, peer: PeerAddress) -> None:
        self._swarm, self._peer = swarm, peer
        self.winner = ""
        self.failures: list[str] = []

    async def run(self, address: str, failed: trio.Event, others: trio.CancelScope) -> None:
        try:
            await self._dial(address)
        except Exception as error:
            log.debug("dialling %s failed", address, exc_info=error)
            self.failures.append(f"{address}: {_reason(error)}")
            failed.set()
        else:
            self.winner = address
            others.cancel()

    async def _dial(self, address: str) -> None:
        peer_id = ID.from_string(self._peer.peer_id)
        *first, last = await _resolved(address)
        for one in first:
            with suppress(Exception):
                await self._swarm.dial_addr(Multiaddr(one), peer_id)
                return
        await self._swarm.dial_addr(Multiaddr(last), peer_id)


async def _resolved(address: str) -> list[str]:
    """The address with a name turned into IPs, as the system knows names: hosts file, LAN, DNS."""
    _, kind, host, rest = address.split("/", 3)
    if kind.startswith("ip"):
        return [address]
    family = {"dns4": socket.AF_INET, "dns6": socket.AF_INET6}.get(kind, socket.AF_UNSPEC)
    found = await trio.socket.getaddrinfo(host, None, family, socket.SOCK_STREAM)
    ips = dict.fromkeys(str(each[4][0]) for each in found)
    return [f"/ip{6 if ':' in ip else 4}/{ip}/{rest}" for ip in ips]


def _reason(error: BaseException) -> str:
    """The sentence in a chain of the library's exceptions that says most to a person."""
    chain = list(_chain(error))
    text = " ".join(f"{type(each).__name__} {each}" for each in chain)
    if "mismatch" in text.lower():
        return "another peer answers there"
    for each in reversed(chain):
        if isinstance(each, OSError) and each.strerror:
            return each.strerror
    return "it hung up: not a peer of this network, or full"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    if error is not None:
        yield error
        for each in error.exceptions if isinstance(error, BaseExceptionGroup) else ():
            yield from _chain(each)
        yield from _chain(error.__cause__ or error.__context__)
