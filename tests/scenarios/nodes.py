"""Real nodes in this process, on free ports of 127.0.0.1: for faults that need no process to die.

`stock` fills a store with what a `FakePublisher` has signed, truth and lies alike, as if its node
had let them in; `flip` and `edit` are what a bad disk does behind a node's back.
"""

import os
import sqlite3
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from p2phub import config
from p2phub.errors import P2PHubError
from p2phub.formats.ids import PublisherId
from p2phub.node.initialise import initialise
from p2phub.node.node import Node, open_node
from p2phub.node.offline import layout_of
from p2phub.node.values import Event, Published, PublishRequest, Pulled, PullRequest
from p2phub.store.store import Store
from p2phub.testing.files import tiny_model_folder
from p2phub.testing.publishers import FakePublisher
from p2phub.trust.envelope import claimed_type, is_envelope

LOOPBACK = {
    "P2PHUB_NETWORK_LISTEN": "/ip4/127.0.0.1/tcp/0",
    "P2PHUB_NETWORK_DATA_LISTEN": "127.0.0.1:0",
    "P2PHUB_NETWORK_MDNS": "false",
}
MIB = 1 << 20


def settings(knows: Node | None = None, **more: str) -> config.Config:
    """Settings of a node that meets `knows` first. `more`: environment, without `P2PHUB_`."""
    bootstrap = {"P2PHUB_NETWORK_BOOTSTRAP": knows.identity.addresses[0]} if knows else {}
    named = {f"P2PHUB_{key}": value for key, value in more.items()}
    return config.load("", LOOPBACK | bootstrap | named)


@asynccontextmanager
async def node(home: Path, knows: Node | None = None, **more: str) -> AsyncIterator[Node]:
    """A node for as long as the block lasts."""
    async with open_node(settings(knows, **more), home) as running:
        yield running


@asynccontextmanager
async def consumer(
    home: Path, knows: Node | None, publisher: PublisherId | str, **more: str
) -> AsyncIterator[Node]:
    """A node that calls `publisher` lab and has met `knows`."""
    async with node(home, knows, **more) as running:
        await running.trust.add("lab", str(publisher))
        yield running


def new_publisher(home: Path) -> str:
    """Make an identity; its publisher id."""
    return initialise(settings(), home, "lab", None, int(time.time())).publisher_id


def quiet(event: Event) -> None:
    """A report that nobody reads."""


async def publish(running: Node, folder: Path, name: str = "x") -> Published:
    return await running.publish(PublishRequest(folder, name), quiet)


async def pull(running: Node, reference: str = "lab/x", to: Path | None = None) -> Pulled:
    return await running.pull(PullRequest(reference, to), quiet)


async def refused(exit: int, running: Node, reference: str = "lab/x") -> P2PHubError:
    """The error with exit code `exit` that a pull ends with; nothing of it may be visible."""
    out = running_home(running) / "out"
    with pytest.raises(P2PHubError) as caught:
        await pull(running, reference, out)
    assert caught.value.exit == exit, repr(caught.value)
    assert not list(snapshots(running_home(running)))
    assert not out.exists() or not list(out.iterdir())
    return caught.value


def running_home(running: Node) -> Path:
    return running._services.store.layout.home


def snapshots(home: Path) -> list[Path]:
    """Every file that people can see in the snapshots of a home."""
    return [path for path in (home / "store" / "snapshots").rglob("*") if not path.is_dir()]


def contents(folder: Path) -> dict[str, bytes]:
    found = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def model(folder: Path, seed: str = "x") -> Path:
    """Two shards of 2 MiB, a config and a card."""
    return tiny_model_folder(folder, seed=seed, shards=2, shard_bytes=2 * MIB)


# ---------------------------------------------------------------- what a bad disk does


def flip(path: Path, at: int = 50, *, keep_times: bool = False) -> None:
    """Change one bit of a file, whatever its mode; perhaps with its times set back."""
    before = path.stat()
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 1]))
    path.chmod(before.st_mode)
    if keep_times:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def edit(home: Path, table: str, where: str, at: int = -9) -> None:
    """Change one bit of the `data` of every row of a table of index.db that `where` names."""
    database = sqlite3.connect(home / "store" / "index.db", isolation_level=None)
    try:
        rows = database.execute(f"SELECT rowid, data FROM {table} WHERE {where}").fetchall()
        assert rows, f"no row of {table} where {where}"
        for row, data in rows:
            wrong = bytearray(data)
            wrong[at] ^= 1
            database.execute(f"UPDATE {table} SET data = ? WHERE rowid = ?", (bytes(wrong), row))
    finally:
        database.close()


# ---------------------------------------------------------------- what a liar has


def stock(home: Path, lab: FakePublisher, hidden: Mapping[bytes, bytes] | None = None) -> None:
    """Fill the store of `home` with what `lab` has signed last, and `hidden` documents."""
    layout = layout_of(settings(), home)
    with Store.open(layout) as store:
        for digest, data in {**lab.documents, **(hidden or {})}.items():
            type = claimed_type(data) if is_envelope(data) else "page"
            store.documents.put(digest, type, data)
        assert lab.head is not None
        assert lab.index is not None
        store.documents.set_head(lab.publisher, lab.head.digest, lab.index.digest, 1)
        for number, (content, data) in enumerate(lab.contents.items()):
            path = layout.temp / f"stocked-{number}"
            path.write_bytes(data)
            if content in lab.tables:
                table = store.blobs.put_table(content, lab.tables[content])
            else:
                table = store.blobs.table(content)
            assert table is not None
            store.blobs.adopt(path, content, table)


# ---------------------------------------------------------------- nodes that come and go


class Machine:
    """A node that can be switched off and on while others run. Made by `machine`."""

    def __init__(self, home: Path, nursery: trio.Nursery) -> None:
        self._home, self._nursery = home, nursery
        self._off: trio.Event | None = None
        self._gone = trio.Event()

    async def on(self, knows: Node | None = None, **more: str) -> Node:
        """Start the node; on other ports than last time."""
        self._off, self._gone = trio.Event(), trio.Event()
        running: Node = await self._nursery.start(self._run, knows, more)
        return running

    async def off(self) -> None:
        """Stop it, and return when it has."""
        if self._off is not None:
            self._off.set()
            await self._gone.wait()

    async def _run(
        self,
        knows: Node | None,
        more: Mapping[str, str],
        task_status: trio.TaskStatus[Node] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        off, gone = self._off, self._gone
        assert off is not None
        async with node(self._home, knows, **more) as running:
            task_status.started(running)
            await off.wait()
        gone.set()


@asynccontextmanager
async def machine(home: Path) -> AsyncIterator[Machine]:
    """A machine that is off at first and at the end."""
    async with trio.open_nursery() as nursery:
        made = Machine(home, nursery)
        yield made
        await made.off()
