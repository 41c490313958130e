"""A gateway that really listens, in front of any node, for clients that block.

It runs in a thread of its own, because the code under test (`Hub`, the command line) blocks the
thread it is called in. Bugs that the gateway met are raised at the end.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import trio

from p2phub import config
from p2phub.gateway.ports import NodeApi
from p2phub.gateway.server import Gateway, open_gateway


@contextmanager
def gateway_in_a_thread(make_node: Callable[[], NodeApi], home: Path) -> Iterator[Gateway]:
    """Serve what `make_node` makes, on a free port of loopback, for the length of the block."""
    settings = config.load("", {"P2PHUB_GATEWAY_LISTEN": "127.0.0.1:0"})
    bugs: list[Exception] = []
    opened: list[Gateway] = []
    started, stop = threading.Event(), trio.Event()
    token: list[trio.lowlevel.TrioToken] = []

    async def serve() -> None:
        token.append(trio.lowlevel.current_trio_token())
        try:
            async with open_gateway(make_node(), settings, home, on_bug=bugs.append) as gateway:
                opened.append(gateway)
                started.set()
                await stop.wait()
        finally:
            started.set()

    thread = threading.Thread(target=trio.run, args=(serve,))
    thread.start()
    started.wait()
    try:
        yield opened[0]
    finally:
        token[0].run_sync_soon(stop.set)
        thread.join()
    if bugs:
        raise bugs[0]
