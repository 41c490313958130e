"""Which machines a web seed may make us talk to.

A release is written by strangers, and so are redirects: without a rule, whoever publishes could
have every node that pulls knock at routers, databases and cloud metadata on its own network.

Rules it keeps:
 * a seed leads to public addresses only, unless its very host (and port) was named by the user of
   this node, in node.toml or in a release of their own;
 * a redirect never leads further in than where it comes from: from the internet to the internet,
   from a private network not to this machine; link-local addresses must be named by the user;
 * redirects lead to http(s), never from https to http, and carry no user or password;
 * what is checked is what is dialled: names are resolved once, here.

Behind a proxy the proxy resolves names, so only an address that is written out is judged.

>>> [depth_of(each) for each in ("9.9.9.9", "10.0.0.1", "127.0.0.1", "169.254.169.254")]
[0, 1, 2, 3]
>>> depth_of("::ffff:127.0.0.1"), depth_of("64:ff9b::a9fe:a9fe")
(2, 3)
"""

import ipaddress
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urljoin, urlsplit

from p2phub.config import Endpoint
from p2phub.errors import NoSourceError
from p2phub.formats.urls import is_url
from p2phub.network.addresses import numeric
from p2phub.protocol.seeds import host_of

PUBLIC, PRIVATE, LOOPBACK, NOWHERE = range(4)
RESOLVING: Final = 5.0  # seconds
_PORTS = {"http": 80, "https": 443}
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_SHARED = ipaddress.ip_network("100.64.0.0/10")
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], Awaitable[tuple[str, ...]]]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a URL leads. `addresses`: numeric, to be dialled; empty: left to the proxy."""

    url: str
    addresses: tuple[str, ...]
    depth: int


async def resolve(host: str, port: int) -> tuple[str, ...]:
    """The numeric addresses of a host; none if it has none."""
    found = await numeric([Endpoint(host, port)], RESOLVING)
    return tuple(each.host for each in found)


@dataclass(frozen=True, slots=True)
class Guard:
    """`named`: hosts as `host_of` writes them, which the user has named. `depth_of`, `resolve`: how
    addresses are judged and found.
    """

    named: frozenset[str] = frozenset()
    depth_of: Callable[[str], int] = lambda address: depth_of(address)
    resolve: Resolve = resolve

    async def place(self, url: str, came_from: int = PUBLIC, *, proxied: bool = False) -> Place:
        """Where `url` leads, for someone who was sent there from depth `came_from`.

        Raises `NoSourceError` if we do not go there.
        """
        parts, shown = urlsplit(url), host_of(url)
        host = parts.hostname or ""
        if proxied and not _is_number(host):
            return Place(url, (), PUBLIC)
        found = await self.resolve(host, parts.port or _PORTS[parts.scheme])
        if not found:
            raise NoSourceError(f"{shown} has no address that can be found")
        limit = NOWHERE if shown in self.named else min(came_from, LOOPBACK)
        allowed = tuple(each for each in found if self.depth_of(each) <= limit)
        if not allowed:
            raise NoSourceError(
                f"{shown} is on a private network, and who named it is a stranger",
                remedy=f"name {shown} in node.toml under [swarm] web_seeds if it is yours",
            )
        return Place(url, () if proxied else allowed, min(map(self.depth_of, allowed)))


def redirected(url: str, location: str) -> str:
    """Where a redirect leads. Raises `NoSourceError` if nobody should follow it."""
    shown = host_of(url)
    try:
        target = urljoin(url, location).partition("#")[0]
        good = is_url(target)
    except ValueError:
        good = False
    if not good:
        raise NoSourceError(f"{shown} redirects to what is no plain web address")
    if url.startswith("https:") and not target.startswith("https:"):
        raise NoSourceError(f"{shown} redirects from https to http")
    return target


def depth_of(address: str) -> int:
    """How far inside a numeric address is: PUBLIC, PRIVATE, LOOPBACK or, worst, NOWHERE."""
    ip = _outer(ipaddress.ip_address(address.partition("%")[0]))
    if ip.is_unspecified or ip.is_multicast or ip.is_link_local:
        return NOWHERE
    if ip.is_loopback:
        return LOOPBACK
    if isinstance(ip, ipaddress.IPv6Address) and ip.is_site_local:
        return PRIVATE
    if ip.is_global and not ip.is_reserved:
        return PUBLIC
    return PRIVATE if ip.is_private or ip in _SHARED else NOWHERE


def _outer(ip: _Address) -> _Address:
    """The IPv4 address that an IPv6 address stands for, or itself."""
    if isinstance(ip, ipaddress.IPv4Address):
        return ip
    if ip in _NAT64:
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    teredo = ip.teredo[1] if ip.teredo else None
    return ip.ipv4_mapped or ip.sixtofour or teredo or ip


def _is_number(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
