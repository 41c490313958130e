"""The socket that the gateway listens on, taken before anything else is started.

It listens from the moment it is taken: a second program that wants the port is told at once, and a
client that comes early waits in the queue instead of being refused.

>>> with listen_on(Endpoint("127.0.0.1", 0)) as taken:
...     endpoint_of(taken).port > 0
True
"""

import errno
import socket

from p2phub.config import Endpoint
from p2phub.errors import ConfigError, P2PHubError, PortInUseError, RefusedError

BACKLOG = 1024
"""Connections that may wait to be accepted."""


def listen_on(endpoint: Endpoint) -> socket.socket:
    """A listening socket at `endpoint`; port 0 takes any free one.

    Raises `PortInUseError`, `RefusedError` for a port that needs more rights, `ConfigError` for an
    address that this machine does not have.
    """
    family = socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.bind((endpoint.host, endpoint.port))
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise _told(endpoint, error) from error
    return listener


def endpoint_of(listener: socket.socket) -> Endpoint:
    """Where a socket really listens."""
    host, port = listener.getsockname()[:2]
    return Endpoint(host, port)


def url_of(endpoint: Endpoint) -> str:
    """The URL under which programs on this machine reach a gateway that listens at `endpoint`.

    >>> url_of(Endpoint("0.0.0.0", 8642)), url_of(Endpoint("::", 80))
    ('http://127.0.0.1:8642', 'http://[::1]:80')
    """
    near = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(endpoint.host, endpoint.host)
    return f"http://{Endpoint(near, endpoint.port)}"


def _told(endpoint: Endpoint, error: OSError) -> P2PHubError:
    change = "Set [gateway] listen in node.toml, or P2PHUB_GATEWAY_LISTEN; port 0 takes a free one."
    if error.errno == errno.EADDRINUSE:
        return PortInUseError(
            f"the gateway cannot listen on {endpoint}: port {endpoint.port} is in use",
            remedy=change,
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return RefusedError(f"this user may not listen on {endpoint}", remedy=change)
    return ConfigError(
        f"the gateway cannot listen on {endpoint}: {error.strerror or error}", remedy=change
    )
