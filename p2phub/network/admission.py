"""Who may come in when the data port is full: no party can keep another one out.

A party is a peer that showed its ticket, or an address (IP) from which none was shown. Pure.

 * Whoever is idle makes room first: of the largest party, the one that was idle longest.
 * If all of the largest party are busy, it gives up its newest connection, but only to a party
   that then has no more than it has left.
 * Otherwise the newcomer is turned away.

>>> hog = [Guest(number, "10.0.0.1", None) for number in range(3)]
>>> makes_room([*hog, Guest(3, "alice", None)], "10.0.0.2").key
2
>>> makes_room([Guest(0, "alice", None), Guest(1, "bob", None)], "carol") is None
True
"""

import ipaddress
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Guest:
    """A connection that is open. `key` is for whoever asks, and grows with every newcomer.

    `idle_since`: when it began to wait for the other side, None while it is busy.
    """

    key: int
    party: str
    idle_since: float | None


def makes_room(guests: Sequence[Guest], newcomer: str) -> Guest | None:
    """Which of `guests`, who take every place, goes for one of the party `newcomer`; None: none."""
    sizes = Counter(guest.party for guest in guests)
    sizes[newcomer] += 1
    most = max(sizes.values())
    largest = [guest for guest in guests if sizes[guest.party] == most]
    is_smaller = sizes[newcomer] < most
    if idle := _idle(largest) or (_idle(guests) if is_smaller else []):
        return min(idle, key=lambda guest: guest.idle_since or 0.0)
    return max(largest, key=lambda guest: guest.key) if is_smaller else None


def party_of(host: str) -> str:
    """Whom an address belongs to: a machine, or in IPv6 the network of one household.

    >>> party_of("192.0.2.7"), party_of("2001:db8::7"), party_of("::ffff:192.0.2.7")
    ('192.0.2.7', '2001:db8::/64', '192.0.2.7')
    """
    ip = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(ip, ipaddress.IPv4Address):
        return str(ip)
    if ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    return str(ipaddress.IPv6Network((ip, 64), strict=False))


def _idle(guests: Sequence[Guest]) -> list[Guest]:
    return [guest for guest in guests if guest.idle_since is not None]
