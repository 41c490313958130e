"""D1 and D2: how long it takes to find a release whose publisher this node never met.

Real nodes on loopback, all started from one. Publishers publish, then every other node looks up
every release once: from the name to the manifest that is proved to be the publisher's ("resolved"
of a pull), cold, one at a time and when nothing else is going on. The same is measured again after
the publishers left, and after 30 % of the other nodes were killed. D2 is the time from the end of
`publish` until a node that did not know the repo has resolved the release; it is asked at once,
while the publisher still tells the network. The baseline is a call of the same gateway that asks
nobody.

With many nodes on few cores this measures the cores as well: every message of the DHT is served by
a process of its own.
"""

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from loopback import Home
from measure import Result, show
from peer import Peer

from p2phub.client import calls
from p2phub.errors import P2PHubError

NODES, PUBLISHERS, REPOS, DELAYS = 32, 4, 2, 8
LEAST_NODES, FEWEST_NODES = 2 + PUBLISHERS * 3, 5
CACHED, COLD, AFTER_DEATHS = 0.005, 0.5, 1.5
"""Budgets of D1, in seconds at p95."""
FINDABLE = 3.0
"""Budget of D2, in seconds at p95."""
FAILURES = 1.0
"""Per cent of look-ups that may fail."""
DEATHS = 0.3
PATIENCE = 30.0
"""Seconds after which a release that was published counts as not findable."""


@dataclass(slots=True)
class Times:
    """Seconds that look-ups took, and how many failed."""

    seconds: list[float] = field(default_factory=list)
    failed: int = 0

    def p95(self) -> float:
        if len(self.seconds) < 2:
            return max(self.seconds, default=float("inf"))
        return statistics.quantiles(self.seconds, n=20, method="inclusive")[-1]

    def failures(self) -> float:
        """Per cent."""
        return 100 * self.failed / max(1, self.failed + len(self.seconds))


class Searcher(Peer):
    """A node that looks for releases."""

    def resolve(self, reference: str) -> float:
        """Seconds until a pull knew the release. The pull goes on to its end."""
        started = time.perf_counter()
        took = 0.0
        for event in self._connection.events(calls.pull(reference)):
            if event["event"] == "resolved":
                took = time.perf_counter() - started
        return took

    def finds(self, reference: str, since: float, times: Times) -> bool:
        """Look once; count the time since `since` when it is there."""
        asked = time.perf_counter()
        try:
            times.seconds.append(self.resolve(reference) + asked - since)
        except P2PHubError:
            return False
        return True

    def look_up(self, references: Sequence[str], times: Times) -> None:
        for reference in references:
            if not self.finds(reference, time.perf_counter(), times):
                times.failed += 1
            self.settle()

    def status(self) -> float:
        """Seconds that a call takes which asks nobody."""
        started = time.perf_counter()
        self.answer()
        return time.perf_counter() - started


class Swarm:
    """Nodes that know each other through the DHT alone, and what was published among them."""

    def __init__(self, folder: Path, nodes: int, publishers: int, running: ExitStack) -> None:
        self._folder = folder
        self.first = Searcher(Home(folder / "first"), running)
        bootstrap = self.first.node.addresses[0]
        self.publishers = []
        for number in range(publishers):
            home = Home(folder / f"publisher-{number}")
            home.type("init")
            self.publishers.append(Searcher(home, running, bootstrap))
        rest = range(nodes - publishers - 1)
        self.others = [Searcher(Home(folder / f"node-{n}"), running, bootstrap) for n in rest]
        self.commits: dict[str, str] = {}

    def publish(self, publisher: Searcher, name: str) -> str:
        folder = self._folder / f"model-{len(self.commits)}"
        folder.mkdir()
        (folder / "config.json").write_text(f'{{"number": {len(self.commits)}}}')
        (folder / "README.md").write_text(f"# {name}\n")
        reference, commit = publisher.publish(folder, name)
        self.commits[reference] = commit
        return reference


def line(benchmark: str, what: str, times: Times, baseline: float, budget: float) -> Result:
    return Result(
        benchmark=benchmark,
        what=f"{what}: p95",
        value=times.p95(),
        baseline=baseline,
        unit="s",
        budget=budget,
        relative=False,
        rounds=len(times.seconds),
        note=f"median {statistics.median(times.seconds or [0.0]):.3f} s",
    )


def failures(what: str, times: Times) -> Result:
    return Result(
        benchmark="D1",
        what=f"{what}: failed",
        value=times.failures(),
        baseline=0.0,
        unit="%",
        budget=FAILURES,
        relative=False,
        rounds=times.failed + len(times.seconds),
    )


def delays(swarm: Swarm, rounds: int) -> Times:
    """D2: a publisher publishes, and a node that does not know it asks until it is there."""
    times, strangers = Times(), random.Random(1)
    for number in range(rounds):
        publisher = swarm.publishers[number % len(swarm.publishers)]
        reference = swarm.publish(publisher, f"news-{number}")
        published = time.perf_counter()
        peer = strangers.choice(swarm.others)
        while not peer.finds(reference, published, times):
            if time.perf_counter() - published > PATIENCE:
                times.failed += 1
                break
    return times


def measure(folder: Path, nodes: int, publishers: int, repos: int, rounds: int) -> list[Result]:
    cached, cold, left, killed = Times(), Times(), Times(), Times()
    with ExitStack() as running:
        swarm = Swarm(folder, nodes, publishers, running)
        found = delays(swarm, rounds)
        for publisher in swarm.publishers:
            for repo in range(repos):
                swarm.publish(publisher, f"model-{repo}")
            publisher.settle()
        references = [each for each in swarm.commits if "/model-" in each]
        third = len(swarm.others) // 3
        groups = swarm.others[:third], swarm.others[third : 2 * third], swarm.others[2 * third :]
        baseline = statistics.median(groups[0][0].status() for _ in range(20))
        for peer in groups[0]:
            peer.look_up(references, cold)
        for peer in groups[0]:
            peer.look_up([f"{each}@{swarm.commits[each]}" for each in references], cached)
        for publisher in swarm.publishers:
            publisher.stop()
        for peer in groups[1]:
            peer.look_up(references, left)
        rest = [swarm.first, *groups[0], *groups[1]]
        for victim in random.Random(2).sample(rest, round(DEATHS * nodes)):
            victim.kill()
        for peer in groups[2]:
            peer.look_up(references, killed)
    lines = [line("D1", "cached", cached, baseline, CACHED)]
    for what, times, budget in (
        (f"DHT of {nodes} nodes", cold, COLD),
        ("after the publishers left", left, COLD),
        ("after 30 % died", killed, AFTER_DEATHS),
    ):
        lines += [line("D1", what, times, baseline, budget), failures(what, times)]
    return [*lines, line("D2", "publish to findable", found, baseline, FINDABLE)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=NODES, help=f"{LEAST_NODES} or more")
    parser.add_argument("--small", action="store_true", help="few nodes: does it run?")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    asked = parser.parse_args()
    sizes = (asked.nodes, PUBLISHERS, REPOS, DELAYS)
    if asked.small:
        sizes = (FEWEST_NODES, 1, 1, 1)
    elif asked.nodes < LEAST_NODES:
        parser.error(f"--nodes must be {LEAST_NODES} at least")
    with tempfile.TemporaryDirectory(prefix="p2phub-bench-", dir=".bench") as folder:
        show(measure(Path(folder).absolute(), *sizes), asked.json)


if __name__ == "__main__":
    main()
