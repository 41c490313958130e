"""Where a peer may be reached: its data plane, by what it told us and where we see it; and which of
its addresses are for whom.

Rules it keeps: an address that is not one, or that stands for no machine, is left out, whoever
named it; an address of a smaller network than the one we share with somebody (loopback, private) is
neither told to nor taken from him; names become numbers in trio, where a slow resolver can be
cancelled, never in a thread that holds a connection.

>>> peer = PeerAddress("12D3KooW", ("/ip4/192.0.2.1/tcp/4042", "/ip6/2001:db8::1/tcp/4042"))
>>> [str(each) for each in data_addresses(("hub.example:443", "nonsense"), 4043, peer)]
['hub.example:443', '192.0.2.1:4043', '[2001:db8::1]:4043']
>>> fit_between(("/ip4/10.0.0.7/tcp/1", "/ip4/127.0.0.1/tcp/1", "/ip4/8.8.8.8/tcp/1"), "10.0.0.9")
('/ip4/10.0.0.7/tcp/1', '/ip4/8.8.8.8/tcp/1')
"""

import ipaddress
import socket
from collections.abc import Iterable

import trio

from p2phub.config import Endpoint
from p2phub.protocol.ports import PeerAddress

_LOOPBACK, _LINK, _PRIVATE, _PUBLIC = 1, 2, 3, 4


def data_addresses(told: Iterable[str], data_port: int, peer: PeerAddress) -> tuple[Endpoint, ...]:
    """The addresses to try, best first, each once: `told`, then those of `peer` at `data_port`."""
    found: dict[Endpoint, None] = {}
    for text in told:
        try:
            found[Endpoint.parse(text)] = None
        except ValueError:
            continue  # a stranger's words: not worth failing over
    for address in peer.addresses:
        host = _host(address)
        if host and data_port:
            found[Endpoint(host, data_port)] = None
    return tuple(each for each in found if each.port and not _is_nobody(each.host))


def fit_between(addresses: Iterable[str], host: str | None) -> tuple[str, ...]:
    """Those libp2p addresses that mean the same to us and to whoever we see at `host`.

    None: nothing is known of him, so public ones only.
    """
    least = max(_LOOPBACK, _reach(host)) if host is not None else _PUBLIC
    return tuple(each for each in addresses if _reach(_host(each)) >= least)


def _reach(host: str) -> int:
    """How large the network is in which a host has this address; 0 if in none."""
    ip = _ip(host)
    if not host or _is_nobody(host):
        return 0
    if ip is None:
        return _LOOPBACK if host.lower().rstrip(".").endswith("localhost") else _PUBLIC
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    if ip.is_loopback:
        return _LOOPBACK
    if ip.is_link_local:
        return _LINK
    return _PRIVATE if ip.is_private else _PUBLIC


async def numeric(endpoints: Iterable[Endpoint], patience: float) -> tuple[Endpoint, ...]:
    """The same with names resolved; what does not resolve within `patience` seconds is left out."""
    found: dict[Endpoint, None] = {}
    for each in endpoints:
        if _ip(each.host):
            found[each] = None
            continue
        with trio.move_on_after(patience):
            for host in await _resolve(each):
                found[Endpoint(host, each.port)] = None
    return tuple(found)


async def _resolve(endpoint: Endpoint) -> list[str]:
    try:
        answers = await trio.socket.getaddrinfo(
            endpoint.host, endpoint.port, type=socket.SOCK_STREAM
        )
    except (OSError, UnicodeError):
        return []
    return [str(answer[4][0]) for answer in answers]


def _host(multiaddr: str) -> str:
    """The IP or name in a libp2p address such as `/ip4/192.0.2.1/tcp/4042`; empty if none."""
    parts = multiaddr.split("/")
    is_known = len(parts) > 2 and parts[1] in ("ip4", "ip6", "dns", "dns4", "dns6")
    return parts[2] if is_known else ""


def _ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _is_nobody(host: str) -> bool:
    ip = _ip(host)
    return ip is not None and (ip.is_unspecified or ip.is_multicast)
