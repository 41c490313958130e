"""Releases are found by nodes that never met their publisher: in a crowd, after the publisher left,
and after a third of the crowd was killed.

A look-up is the whole way: alias to head, index, manifest, who has it, and every byte of a small
model, by a node that has none of it. It counts as found only if the files are the published ones.
"""

import random
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio

from p2phub.client import calls
from p2phub.client.connection import Connection
from p2phub.client.running import find_running
from p2phub.errors import P2PHubError
from p2phub.node.node import Node
from p2phub.testing.files import tiny_model_folder
from tests.scenarios.nodes import contents, new_publisher, node, publish, pull
from tests.scenarios.processes import Home, Machines, machines

NODES, PUBLISHERS, REPOS = 20, 4, 2
AT_ONCE = 4
"""Processes started at once."""
SUCCESS = 0.99
SHARD = 40_000


@dataclass
class LookUps:
    """What came of them, and how long it took until the release was known, in seconds."""

    resolved: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return len(self.resolved) / (len(self.resolved) + len(self.failures))

    @property
    def p95(self) -> float:
        return statistics.quantiles(self.resolved, n=20, method="inclusive")[-1]

    def told(self, when: str) -> str:
        half = statistics.median(self.resolved)
        count = len(self.resolved) + len(self.failures)
        return (
            f"{when}: {self.rate:.1%} of {count} found;"
            f" resolved in {half:.3f} s (median), {self.p95:.3f} s (p95)"
        )


class Peer:
    """A daemon that is asked over its gateway, as a program on its machine would."""

    def __init__(self, home: Home, bootstrap: str) -> None:
        self.home = home
        self.daemon = home.daemon(bootstrap)
        running = find_running(home.folder)
        assert running is not None
        self._connection = Connection(running)

    def publishes(self, folder: Path, name: str) -> str:
        """The reference of the release."""
        for _ in self._connection.events(calls.publish(folder, name)):
            pass
        return f"{self.daemon.publisher_id}/{name}"

    def looks_up(self, reference: str, expected: dict[str, bytes], found: LookUps) -> None:
        started, resolved, path = time.perf_counter(), 0.0, Path()
        try:
            for event in self._connection.events(calls.pull(reference)):
                if event["event"] == "resolved":
                    resolved = time.perf_counter() - started
                path = Path(event.get("path", ""))
        except P2PHubError as error:
            found.failures.append(f"{self.home.folder.name}: {reference}: {error}")
            return
        assert contents(path) == expected
        found.resolved.append(resolved)

    def is_done_announcing(self) -> bool:
        return self._connection.answer(calls.status())["announce_lag"] == 0

    def close(self) -> None:
        self._connection.close()


class Crowd:
    """Twenty daemons that all started from one, and know each other through the DHT alone."""

    def __init__(self, made: Machines) -> None:
        self._made = made
        self.first = Peer(made.home("node-00"), "")
        self.publishers = self._start(f"publisher-{n}" for n in range(PUBLISHERS))
        self.others = self._start(f"node-{n:02}" for n in range(PUBLISHERS + 1, NODES))

    def _start(self, names: Iterable[str]) -> list[Peer]:
        def start(name: str) -> Peer:
            home = self._made.home(name)
            if name.startswith("publisher"):
                home.done("init")
            return Peer(home, self.first.daemon.address)

        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(start, names))

    def settle(self, peers: Sequence[Peer]) -> None:
        """Wait until these have told the DHT of everything they hold."""
        until("every announcement", lambda: all(peer.is_done_announcing() for peer in peers))

    def close(self) -> None:
        for peer in [self.first, *self.publishers, *self.others]:
            peer.close()


def until(what: str, happened: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds} seconds"
        time.sleep(0.2)


@pytest.mark.alone
@pytest.mark.slow
@pytest.mark.budget(900)
def test_twenty_processes(tmp_path, capsys):
    releases: dict[str, dict[str, bytes]] = {}

    def all_look_up(peers: Sequence[Peer], when: str) -> None:
        found = LookUps()
        for peer in peers:
            for reference, expected in releases.items():
                peer.looks_up(reference, expected, found)
        with capsys.disabled():
            print(f"\n  {found.told(when)}")
        assert found.rate >= SUCCESS, found.failures

    with machines(tmp_path) as made:
        crowd = Crowd(made)
        try:
            for number, publisher in enumerate(crowd.publishers):
                for repo in range(REPOS):
                    seed = f"{number}-{repo}"
                    folder = tiny_model_folder(tmp_path / seed, seed=seed, shard_bytes=SHARD)
                    releases[publisher.publishes(folder, f"model-{repo}")] = contents(folder)
            first, second, third = crowd.others[:5], crowd.others[5:10], crowd.others[10:]
            all_look_up(first, "20 nodes")
            crowd.settle(first)
            for publisher in crowd.publishers:
                assert publisher.daemon.stop() == 0
            all_look_up(second, "after the publishers left")
            crowd.settle(second)
            victims = random.Random(1).sample([crowd.first, *first, *second], NODES * 3 // 10)
            for victim in victims:
                victim.daemon.kill()
            all_look_up(third, f"after {len(victims)} of the others were killed")
        finally:
            crowd.close()


@pytest.mark.alone
@pytest.mark.slow
async def test_nine_nodes_in_one_process(tmp_path, nursery):
    """The same in small: two publishers stop, then a third of the rest."""
    started = []

    async def start(name: str, knows: Node | None, task_status) -> None:
        async with AsyncExitStack() as stack:
            running = await stack.enter_async_context(node(tmp_path / name, knows))
            stop = trio.Event()
            task_status.started((running, stop))
            await stop.wait()

    async def switched_on(name: str) -> tuple[Node, trio.Event]:
        started.append(await nursery.start(start, name, started[0][0] if started else None))
        return started[-1]

    await switched_on("first")
    releases = {}
    for name in ("publisher-0", "publisher-1"):
        publisher = new_publisher(tmp_path / name)
        running, _ = await switched_on(name)
        for repo in ("a", "b"):
            folder = tiny_model_folder(tmp_path / f"{name}-{repo}", seed=name, shard_bytes=SHARD)
            await publish(running, folder, repo)
            releases[f"{publisher}/{repo}"] = contents(folder)

    async def look_up(*names: str) -> None:
        for name in names:
            running, _ = await switched_on(name)
            for reference, expected in releases.items():
                assert contents((await pull(running, reference)).path) == expected

    await look_up("one", "two")
    for _, stop in started[1:3]:
        stop.set()
    await look_up("three", "four")
    for _, stop in (started[0], started[3]):
        stop.set()
    started[0] = started[4]
    await look_up("five", "six")
