"""One connection to an ordinary web server: plain or over TLS, straight or through a proxy.

What comes is read into the buffer of whoever wants it, as much as there is with one call.

Rules it keeps:
 * only the addresses that it is given are dialled; where there are none, only the proxy is, which
   resolves names itself;
 * certificates are checked for the host of the URL; a proxy of `https://` shows one of its own;
 * a user and a password of a proxy go to that proxy only, and stand in no message.

`cut` may be called from another thread and makes whatever blocks fail at once. It leaves to
`web_client` what is said, how long is waited, and what an `OSError` means.
"""

import socket
import ssl
import time
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, Self
from urllib.parse import quote, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from p2phub.errors import GarbageError, RemoteError
from p2phub.network.http_head import HeadReader
from p2phub.network.limits import Patience
from p2phub.network.tls_connection import TlsConnection

_PORTS: Final = {"http": 80, "https": 443}
_PLAIN: Final = "%/?:@!$&'()*+,;=~-._[]"


@dataclass(frozen=True, slots=True)
class Origin:
    """The server of a URL. `proxy`: the address of the proxy that leads to it, or empty."""

    scheme: str
    host: str
    port: int
    proxy: str = ""

    @classmethod
    def of(cls, url: str, proxy: str | None = None) -> Self:
        """Of a URL that `formats.urls` takes for one."""
        parts = urlsplit(url)
        port = parts.port or _PORTS[parts.scheme]
        return cls(parts.scheme, (parts.hostname or "").lower(), port, proxy or "")

    @property
    def shown(self) -> str:
        """Host and port, as the head of a request names them.

        >>> Origin.of("https://Mirror.example/x").shown, Origin.of("http://[::1]:8000/").shown
        ('mirror.example', '[::1]:8000')
        """
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    def request(self, url: str, headers: Sequence[tuple[str, str]]) -> bytes:
        """A GET of `url` as it goes over a connection to this server.

        >>> Origin.of("http://x/").request("http://x/a|b?c=%2F", [("Range", "bytes=0-1")])
        b'GET /a%7Cb?c=%2F HTTP/1.1\\r\\nHost: x\\r\\nRange: bytes=0-1\\r\\n\\r\\n'
        """
        parts, more = urlsplit(url), list(headers)
        target = quote((parts.path or "/") + (f"?{parts.query}" if parts.query else ""), _PLAIN)
        if self.proxy and self.scheme == "http":
            target = f"http://{self.shown}{target}"
            more += _proxy_rights(self.proxy)
        return _head(f"GET {target} HTTP/1.1", [("Host", self.shown), *more])


def proxy_of(url: str) -> str | None:
    """The proxy that the environment names for `url`."""
    parts, proxies = urlsplit(url), getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(parts.hostname or ""):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


class Wire(Protocol):
    """A connection as it is used: plain or TLS."""

    def set_patience(self, seconds: float) -> None: ...

    def send(self, data: bytes) -> None: ...

    def read_into(self, view: memoryview) -> int: ...


class _PlainWire:
    """A TCP connection as a `Wire`."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def set_patience(self, seconds: float) -> None:
        self._connection.settimeout(max(0.001, seconds))

    def send(self, data: bytes) -> None:
        self._connection.sendall(data)

    def read_into(self, view: memoryview) -> int:
        return self._connection.recv_into(view)


class _Tunnel:
    """A `Wire` in the place of a TCP connection, for TLS inside it."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def settimeout(self, seconds: float) -> None:
        self._wire.set_patience(seconds)

    def sendall(self, data: bytes) -> None:
        self._wire.send(data)

    def recv_into(self, view: memoryview) -> int:
        return self._wire.read_into(view)


class WebConnection:
    """A connection to `origin`, for people `name`. Open after `open`."""

    def __init__(
        self, origin: Origin, name: str, patience: Patience, context: Callable[[], ssl.SSLContext]
    ) -> None:
        self.origin = origin
        self.address = ""
        """The numeric address that was dialled; empty for that of a proxy."""
        self.idle_since = 0.0
        """By the monotonic clock."""
        self._name, self._patience, self._context = name, patience, context
        self._socket: socket.socket | None = None
        self._is_cut = False

    def open(self, addresses: Sequence[str]) -> None:
        """Connect to the first of `addresses` that answers, or to the proxy. Raises `OSError`,
        `RemoteError`.
        """
        wire = self._through_proxy() if self.origin.proxy else self._dial_one(addresses)
        self.wire: Wire = self._secured(wire) if self.origin.scheme == "https" else wire

    def cut(self) -> None:
        """Make whatever blocks in another thread fail, now and from now on."""
        self._is_cut = True
        if self._socket is not None:
            try:
                self._socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                return  # not connected, or closed already

    def close(self) -> None:
        """Give the socket back; not while another thread uses it."""
        if self._socket is not None:
            self._socket.close()

    def _dial_one(self, addresses: Sequence[str]) -> Wire:
        problem: OSError | None = None
        for address in addresses:
            try:
                wire = self._dial(address, self.origin.port)
            except OSError as error:
                problem = error
                self.close()
            else:
                self.address = address
                return wire
        raise problem or RemoteError(f"{self._name} has no address")

    def _dial(self, host: str, port: int) -> Wire:
        if self._is_cut:
            raise RemoteError(f"the connection to {self._name} was closed from this side")
        family, kind, protocol, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[
            0
        ]
        made = self._socket = socket.socket(family, kind, protocol)
        made.settimeout(self._patience.connect)
        made.connect(where)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._is_cut:
            self.cut()
        return _PlainWire(made)

    def _secured(self, wire: Wire, host: str = "") -> Wire:
        tls = TlsConnection(_Tunnel(wire), self._context(), server_name=host or self.origin.host)
        tls.handshake(self._patience.handshake)
        return tls

    def _through_proxy(self) -> Wire:
        proxy = urlsplit(self.origin.proxy)
        try:
            host, port = proxy.hostname, proxy.port
        except ValueError:
            host = port = None
        if not host or proxy.scheme not in _PORTS:
            raise RemoteError(
                f"the proxy that the environment names for {self._name} cannot be used",
                remedy="set HTTPS_PROXY to http://host:port, or NO_PROXY for this host",
            )
        wire = self._dial(host, port or _PORTS[proxy.scheme])
        if proxy.scheme == "https":
            wire = self._secured(wire, host)
        if self.origin.scheme == "https":
            self._ask_for_tunnel(wire)
        return wire

    def _ask_for_tunnel(self, wire: Wire) -> None:
        place = f"{self.origin.host}:{self.origin.port}"
        if ":" in self.origin.host:
            place = f"[{self.origin.host}]:{self.origin.port}"
        rights = _proxy_rights(self.origin.proxy)
        deadline = time.monotonic() + self._patience.request
        wire.send(_head(f"CONNECT {place} HTTP/1.1", [("Host", place), *rights]))
        reader, byte, head = HeadReader(from_web=True), memoryview(bytearray(1)), None
        while head is None:  # byte by byte: what follows belongs to the server
            wire.set_patience(deadline - time.monotonic())
            if not wire.read_into(byte):
                raise RemoteError(f"the proxy hung up that leads to {self._name}")
            head = reader.feed(bytes(byte))
        if head.status == 407:
            raise RemoteError(
                f"the proxy that leads to {self._name} wants to know who asks",
                remedy="set HTTPS_PROXY to http://user:password@host:port",
            )
        if head.status >= 500 or head.status < 200:
            raise RemoteError(f"the proxy does not reach {self._name} (status {head.status})")
        if head.status != 200:
            raise GarbageError(f"the proxy does not lead to {self._name} (status {head.status})")


def _proxy_rights(proxy: str) -> list[tuple[str, str]]:
    """What tells a proxy who asks, if its address says so.

    >>> _proxy_rights("http://me:se%40cret@proxy.example:3128")
    [('Proxy-Authorization', 'Basic bWU6c2VAY3JldA==')]
    """
    parts = urlsplit(proxy)
    if parts.username is None:
        return []
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return [("Proxy-Authorization", f"Basic {b64encode(pair.encode()).decode()}")]


def _head(first: str, headers: Sequence[tuple[str, str]]) -> bytes:
    lines = [first, *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode("ascii")
