"""The whole command line, around a fake node: `python fake_p2phub.py WORDS`.

Everything is real (processes, signals, the gateway, the store's lock) but the node itself, which is
a `FakeNode`. What this program starts as a child is this program again. `P2PHUB_TEST` steers it:
`hold` makes long work wait until the fifo `go` in the home folder is written to, `die` ends the
node with a bug before it is ready, `fail` makes it refuse to start.
"""

import os
import sys
import types
from contextlib import asynccontextmanager

import trio

from p2phub.client import embedded
from p2phub.errors import RefusedError
from p2phub.store.disk import Disk
from p2phub.store.layout import Layout
from p2phub.store.lock import StoreLock
from p2phub.testing.nodes import FakeNode

STEER = os.environ.pop("P2PHUB_TEST", "")


@asynccontextmanager
async def open_node(config, home):
    if STEER == "die":
        raise ZeroDivisionError("a bug of the node")
    if STEER == "fail":
        raise RefusedError("the node does not want to", remedy="ask nicely")
    layout = Layout.of(home, config.store.path or "store")
    layout.make(Disk())
    lock = StoreLock.acquire(layout, Disk())
    node = FakeNode(home / "snapshot")
    try:
        async with trio.open_nursery() as nursery:
            if STEER == "hold":
                node.hold = trio.Event()
                nursery.start_soon(until, home / "go", node.hold)
            yield node
            nursery.cancel_scope.cancel()
    finally:
        lock.release()


async def until(path, event):
    async with trio.lowlevel.FdStream(os.open(path, os.O_RDWR | os.O_NONBLOCK)) as fifo:
        await fifo.receive_some(1)
    event.set()


def command(home, *options):
    if STEER:
        os.environ["P2PHUB_TEST"] = STEER
    words = ["--home", str(home), "--json", "node"]
    return [sys.executable, __file__, *words, *options]


if __name__ == "__main__":
    module = types.ModuleType("p2phub.node.node")
    module.open_node = open_node
    sys.modules["p2phub.node.node"] = module
    embedded.command = command
    from p2phub.cli.main import main

    sys.exit(main())
