"""Multiaddrs as text: which ones we listen on, dial, and tell others. No libp2p in here.

Rules it keeps
- Only TCP: `/ip4|ip6|dns|dns4|dns6/<host>/tcp/<port>`, with `/p2p/<peer id>` where a peer is meant.
  QUIC of libp2p 0.8.1 loses bytes from the middle of a stream without an error and lets peers past
  the key of a private network, so an address with UDP in it is never listened on nor dialled.
- What a stranger tells of addresses is cut to a few well-formed ones before anybody keeps it.
- We never tell others an address they cannot dial: `0.0.0.0` becomes the addresses of our
  interfaces, and loopback is told only when we listen on nothing else.

It leaves names (DNS) to the dialler.

>>> parse_peer("/ip4/192.0.2.1/tcp/4042/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN")
PeerAddress(peer_id='12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN', \
addresses=('/ip4/192.0.2.1/tcp/4042',))
>>> dialable(["/ip4/192.0.2.1/udp/4042/quic-v1", "/ip4/0.0.0.0/tcp/1", "/ip6/::1/tcp/4042"])
('/ip6/::1/tcp/4042',)
"""

import ipaddress
import re
from collections.abc import Iterable
from typing import Final

from p2phub.errors import ConfigError, UsageError
from p2phub.network.libp2p_identity import public_of_peer_id
from p2phub.protocol.ports import PeerAddress

MAX_ADDRESSES: Final = 16
"""Addresses of one peer that we keep."""
MAX_ADDRESS_TEXT: Final = 300
"""Characters of one address; a DNS name has at most 253."""
_ADDRESS: Final = re.compile(
    r"/(ip4|ip6|dns|dns4|dns6)/([^/\s]{1,253})/tcp/([0-9]{1,5})(?:/p2p/([1-9A-HJ-NP-Za-km-z]{1,64}))?"
)


def parse_peer(text: str) -> PeerAddress:
    """Read a full multiaddr, as people pass it around. Raises `UsageError`."""
    found = _ADDRESS.fullmatch(text.strip()) if len(text) <= MAX_ADDRESS_TEXT else None
    if found is None or not found[4] or not _can_be_dialled(found):
        raise UsageError(
            f"{text[:MAX_ADDRESS_TEXT]!r} is not the address of a peer",
            remedy="Addresses look like /ip4/192.0.2.1/tcp/4042/p2p/12D3KooW… (TCP only).",
        )
    public_of_peer_id(found[4])
    return PeerAddress(found[4], (text.strip().partition("/p2p/")[0],))


def check_listen(text: str) -> tuple[str, int]:
    """The IP and port of an address to listen on. Raises `ConfigError`."""
    found = _ADDRESS.fullmatch(text)
    if found is None or not found[1].startswith("ip") or found[4] or not _is_sound(found):
        raise ConfigError(
            f"cannot listen on {text!r}",
            remedy="Listen addresses look like /ip4/0.0.0.0/tcp/4042; QUIC (UDP) is not used.",
        )
    return found[2], int(found[3])


def dialable(addresses: Iterable[str]) -> tuple[str, ...]:
    """The well-formed TCP addresses among these, without `/p2p/…`, each once, at most a few."""
    kept: dict[str, None] = {}
    for text in addresses:
        found = _ADDRESS.fullmatch(text) if len(text) <= MAX_ADDRESS_TEXT else None
        if found is not None and _can_be_dialled(found):
            kept[text.partition("/p2p/")[0]] = None
        if len(kept) == MAX_ADDRESSES:
            break
    return tuple(kept)


def announced(listening: Iterable[str], interfaces: Iterable[str]) -> tuple[str, ...]:
    """What we tell others: `listening` with wildcards spread over the IPs of our `interfaces`.

    >>> announced(["/ip4/0.0.0.0/tcp/4042"], ["127.0.0.1", "192.0.2.7", "fe80::1"])
    ('/ip4/192.0.2.7/tcp/4042',)
    >>> announced(["/ip4/127.0.0.1/tcp/4042"], [])
    ('/ip4/127.0.0.1/tcp/4042',)
    """
    told: list[tuple[str, str]] = []
    interfaces = tuple(interfaces)
    for text in listening:
        host, port = check_listen(text)
        address = ipaddress.ip_address(host)
        same_kind = [ip for ip in interfaces if ipaddress.ip_address(ip).version == address.version]
        for ip in same_kind if address.is_unspecified else [host]:
            told.append((ip, f"/ip{address.version}/{ip}/tcp/{port}"))
    useful = [each for each in told if not ipaddress.ip_address(each[0]).is_link_local]
    away = [each for each in useful if not ipaddress.ip_address(each[0]).is_loopback]
    public_first = sorted(away or useful, key=lambda each: ipaddress.ip_address(each[0]).is_private)
    return dialable(text for _, text in public_first)


def interface_ips() -> tuple[str, ...]:
    """The IPs of this machine, as the system says right now."""
    import ifaddr  # costs 10 ms, and only a listener on a wildcard needs it

    found = [ip.ip for adapter in ifaddr.get_adapters() for ip in adapter.ips]
    return tuple(ip if isinstance(ip, str) else ip[0] for ip in found)


def _can_be_dialled(found: re.Match[str]) -> bool:
    if not _is_sound(found) or int(found[3]) == 0:
        return False
    return not found[1].startswith("ip") or not ipaddress.ip_address(found[2]).is_unspecified


def _is_sound(found: re.Match[str]) -> bool:
    if int(found[3]) > 65535:
        return False
    if not found[1].startswith("ip"):
        return True
    try:
        return str(ipaddress.ip_address(found[2]).version) == found[1][2:]
    except ValueError:
        return False
