"""Run the daemon in the foreground until it is told to stop (SIGTERM or Control-C).

When it is ready it prints where its gateway is and the addresses that peers use. With --detach it
runs in the background and logs to logs/node.log in the home folder.
"""

import argparse
import gc
import logging
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from p2phub.cli.output import Output
from p2phub.cli.session import Session
from p2phub.errors import PortInUseError, plain_errors

if TYPE_CHECKING:
    import trio

    from p2phub.config import Config
    from p2phub.gateway.server import Gateway
    from p2phub.node.values import Identity

_NAMES = {
    "gateway": "gateway",
    "peer_id": "peer id",
    "publisher_id": "publisher id",
    "addresses": "address",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--detach", action="store_true", help="return when it is ready; leave it in the background"
    )
    # What `client.embedded` starts: free ports, and it stops when its standard input closes.
    parser.add_argument("--embedded", action="store_true", help=argparse.SUPPRESS)


def run(arguments: argparse.Namespace, session: Session) -> int:
    config = session.config()
    if arguments.detach:
        from p2phub.client.embedded import detach

        session.output.pairs(detach(session.home, verbose=session.verbose), _NAMES)
        return 0
    import trio

    if arguments.embedded:
        config = on_free_ports(config)
    _start_log(session, config)
    with plain_errors():
        trio.run(_serve, session, config, arguments.embedded)
    return 0


def on_free_ports(config: "Config") -> "Config":
    """The same settings for a node that must not be in the way of another.

    >>> from p2phub.config import Config
    >>> on_free_ports(Config()).network.listen
    ('/ip4/0.0.0.0/tcp/0',)
    """
    from p2phub.config import Endpoint

    network = replace(
        config.network,
        listen=tuple(re.sub(r"/tcp/\d+", "/tcp/0", each) for each in config.network.listen),
        data_listen=replace(config.network.data_listen, port=0),
        announce=(),
    )
    gateway = replace(config.gateway, listen=Endpoint("127.0.0.1", 0))
    return replace(config, network=network, gateway=gateway)


def _start_log(session: Session, config: "Config") -> None:
    chosen = getattr(logging, config.node.log.upper())
    level = logging.DEBUG if session.verbose else chosen
    logging.basicConfig(
        stream=sys.stderr,
        level=max(level, logging.WARNING) if session.output.quiet else level,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    for noisy in ("libp2p", "hypercorn", "httpx", "httpcore", "multiaddr"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


async def _serve(session: Session, config: "Config", embedded: bool) -> None:
    import trio

    from p2phub.gateway.server import open_gateway
    from p2phub.node.node import open_node

    stop = _Stop(trio.Event())
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_heed, signals, stop, nursery.cancel_scope)
            with _listener(session, config) as listener:
                async with (
                    open_node(config, session.home) as node,
                    open_gateway(node, config, session.home, listener=listener) as gateway,
                ):
                    gc.freeze()  # 100,000 objects that stay: 80 ms each time one looks at them
                    _tell_ready(session.output, gateway.url, node.identity)
                    if embedded:
                        nursery.start_soon(_hold_lifeline, gateway, session.output, stop)
                    stop.gently = True
                    await stop.told.wait()
            nursery.cancel_scope.cancel()


@dataclass(slots=True)
class _Stop:
    """Whether the node was told to stop, and whether it can do so without being cancelled."""

    told: "trio.Event"
    gently: bool = False


async def _heed(signals: AsyncIterator[int], stop: _Stop, everything: "trio.CancelScope") -> None:
    """The first signal stops a ready node gently; a second one, or an early one, at once."""
    async for _ in signals:
        if stop.told.is_set() or not stop.gently:
            everything.cancel()
        stop.told.set()


async def _hold_lifeline(gateway: "Gateway", output: Output, stop: _Stop) -> None:
    """Stop once standard input is closed and nobody else's work goes on here."""
    import trio

    async with trio.lowlevel.FdStream(os.dup(0)) as lifeline:
        while await lifeline.receive_some(4096):
            pass
    if gateway.control.streams:
        output.record({"event": "lingering"})
    while gateway.control.streams:
        await gateway.control.idle.wait()
    stop.told.set()


def _tell_ready(output: Output, url: str, identity: "Identity") -> None:
    ready = {
        "event": "ready",
        "gateway": url,
        "peer_id": identity.peer_id,
        "publisher_id": identity.publisher_id,
        "addresses": list(identity.addresses),
    }
    output.pairs(ready, _NAMES)


def _listener(session: Session, config: "Config") -> socket.socket:
    """The gateway's socket. If the port is taken by the node of this very store, that is said."""
    from p2phub.gateway.listener import listen_on
    from p2phub.node.offline import layout_of
    from p2phub.store.disk import Disk
    from p2phub.store.lock import StoreLock

    try:
        return listen_on(config.gateway.listen)
    except PortInUseError:
        layout = layout_of(config, session.home)
        if layout.lock.exists():
            StoreLock.acquire(layout, Disk()).release()
        raise
