"""A running node, asked over its gateway: what the benchmarks of transfers are made of.

A peer is started with its home and stopped with the `ExitStack` it is given.
"""

import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from loopback import Home, wait_for
from measure import TICK, cpu_seconds

from p2phub.client import calls
from p2phub.client.connection import Connection
from p2phub.client.running import find_running
from p2phub.errors import NotFoundError

IDLE, WINDOW, NO_PATIENCE = 0.05, 0.3, 30.0
"""When a node counts as idle: share of a core, seconds it is watched, seconds it has for it."""


class Peer:
    """A node. `chosen`: settings of its node.toml, such as `swarm_up="60 MB"`."""

    def __init__(self, home: Home, running: ExitStack, bootstrap: str = "", **chosen: str) -> None:
        self.home = home
        self.node = running.enter_context(home.node(bootstrap, **chosen))
        found = find_running(home.folder)
        if found is None:
            raise AssertionError("a node that is ready has a gateway")
        self._connection = Connection(found)
        running.callback(self._connection.close)
        self.publisher_id = self._connection.answer(calls.identity())["publisher_id"]

    @property
    def address(self) -> str:
        return self.node.addresses[0]

    def publish(self, folder: Path, name: str) -> tuple[str, str]:
        """The reference of the release, and its commit."""
        *_, done = self._connection.events(calls.publish(folder, name))
        return f"{self.publisher_id}/{name}", done["commit"]

    def pull(self, reference: str) -> Mapping[str, Any]:
        """What a pull tells when it is done: `bytes_fetched`, `bytes_total`, `seconds`, …"""
        *_, done = self._connection.events(calls.pull(reference))
        return done

    def export(self, reference: str, stick: Path) -> Mapping[str, Any]:
        """What an export into the folder `stick` tells when it is done."""
        *_, done = self._connection.events(calls.bundle_export([reference], stick))
        return done

    def bring(self, stick: Path) -> Mapping[str, Any]:
        """What an import tells when it is done."""
        *_, done = self._connection.events(calls.bundle_import(stick))
        return done

    def timed_pull(self, reference: str) -> tuple[float, Mapping[str, Any]]:
        """Wall seconds of a pull, and what it told."""
        started = time.perf_counter()
        done = self.pull(reference)
        return time.perf_counter() - started, done

    def pulling(self, reference: str) -> Iterator[Mapping[str, Any]]:
        """The events of a pull, which ends when they are closed."""
        return self._connection.events(calls.pull(reference))

    def verify(self, reference: str) -> None:
        """Have every byte of it read and checked."""
        for _ in self._connection.events(calls.verify(reference)):
            pass

    def remove(self, reference: str) -> None:
        self._connection.answer(calls.remove(reference))

    def forget(self, reference: str) -> None:
        """Remove what there is of it, if anything is."""
        with suppress(NotFoundError):
            self.remove(reference)

    def answer(self) -> Mapping[str, Any]:
        """The answer of a call that asks nobody else."""
        return self._connection.answer(calls.status())

    def load(self, reference: str) -> Mapping[str, Any]:
        """Bring a model and load it; its line of `ps`."""
        *_, done = self._connection.events(calls.load_model(reference))
        return done

    def ask(self, path: str, body: Mapping[str, Any]) -> tuple[Any, Mapping[str, str]]:
        """What a request of a program is answered with, and the headers."""
        return self._connection.ask(path, body)

    def workers(self) -> list[int]:
        """The processes of the models in memory."""
        return [row["pid"] for row in self._connection.answer(calls.loaded())["models"]]

    def meet(self, peers: int = 1) -> None:
        """Wait until it is connected to so many."""
        wait_for(f"{peers} connections", lambda: self.answer()["peers"] >= peers)

    def settle(self) -> None:
        """Wait until it has told the DHT of everything it has."""
        wait_for("every announcement", lambda: self.answer()["announce_lag"] == 0)

    def kill(self) -> None:
        os.kill(self.node.pid, signal.SIGKILL)

    def stop(self) -> None:
        os.kill(self.node.pid, signal.SIGTERM)
        wait_for("the end of a node", lambda: find_running(self.home.folder) is None)


def publisher(place: Path, running: ExitStack, name: str = "lab", **chosen: str) -> Peer:
    """A peer with an identity of its own, in `place/name`."""
    home = Home(place / name)
    home.type("init", "--backup", str(place / f"{name}.backup"))
    return Peer(home, running, **chosen)


def quiet(*pids: int) -> None:
    """Return once these processes do next to nothing: a twentieth of a core each, at most."""
    deadline = time.monotonic() + NO_PATIENCE
    while time.monotonic() < deadline:
        before = sum(map(cpu_seconds, pids))
        time.sleep(WINDOW)
        if sum(map(cpu_seconds, pids)) - before <= 1 / TICK + IDLE * WINDOW * len(pids):
            return
    print(f"bench: a node was still busy after {NO_PATIENCE:g} seconds", file=sys.stderr)
