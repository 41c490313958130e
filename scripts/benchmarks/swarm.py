"""T2 and T3: a swarm whose sources may send 60 MB a second each, encrypted and verified.

T2: four sources, one node that has nothing. The baseline is the limit: size / (4 × 60 MB/s).
T3: one source, four nodes at once that have nothing. The baseline is size / (60 MB/s) until the
last one is done, and one copy of the model that leaves the source; what it sent is counted at its
sockets. libtorrent does the same in the same rounds, where it is installed.

Nodes know each other before the clock starts, as do libtorrent's.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from loopback import Home
from measure import Result, cpu_seconds, median, peak_mib, show
from peer import Peer, publisher, quiet
from rivals import Rival, Served, fetched, present, serving
from weights import MIB, make_shards, size_of
from wire import Sent, own_network

CAP = 60_000_000
"""Bytes a second that a source may send."""
NODES = 4
SUM_BUDGET, CROWD_BUDGET, UPLOAD_BUDGET = 1 / 0.95, 1.05, 1.02
LIBTORRENT = Rival("libtorrent v1", "torrent", modules=("libtorrent",))


@dataclass(frozen=True, slots=True)
class Took:
    """One round: seconds until the last node was done, CPU seconds of all, the most MiB that a
    node held, and bytes that the first source sent."""

    wall: float
    cpu: float
    peak: float
    sent: int


class Swarm:
    """The sources, capped, and what they have."""

    def __init__(self, place: Path, sources: int, model: Path, running: ExitStack) -> None:
        first = publisher(place, running, "source-0", swarm_up=str(CAP))
        self.reference, _ = first.publish(model, "model")
        self.sources = [first]
        for number in range(1, sources):
            home = Home(place / f"source-{number}")
            source = Peer(home, running, first.address, swarm_up=str(CAP))
            source.meet()
            source.pull(self.reference)
            self.sources.append(source)

    def pulled(self, place: Path, nodes: int) -> Took:
        """So many nodes that have nothing pull at once."""
        with ExitStack() as running:
            peers = list(self.sources)
            for number in range(nodes):
                known = ",".join(peer.address for peer in peers)
                peers.append(Peer(Home(place / f"node-{number}"), running, known))
            readers = peers[len(self.sources) :]
            for peer in peers:
                peer.meet(len(peers) - 1)
            pids = [peer.node.pid for peer in peers]
            quiet(*pids)
            before = sum(map(cpu_seconds, pids))
            with Sent(self.sources[0].node.pid) as sent, ThreadPoolExecutor(nodes) as pool:
                started = time.perf_counter()
                list(pool.map(lambda peer: peer.pull(self.reference), readers))
                wall = time.perf_counter() - started
            cpu = sum(map(cpu_seconds, pids)) - before
            return Took(wall, cpu, max(peak_mib(peer.node.pid) for peer in readers), sent.total)


class Torrents:
    """The same with libtorrent."""

    def __init__(
        self, place: Path, sources: int, nodes: int, model: Path, running: ExitStack
    ) -> None:
        self._torrent = place / "torrent"
        words = (str(model), str(self._torrent), f"up={CAP}", f"nodes={nodes}")
        self._served = [running.enter_context(serving("torrent", *words)) for _ in range(sources)]

    def pulled(self, place: Path, nodes: int) -> Took:
        ports = ",".join(each.port for each in self._served)
        first = Served(self._served[0].pid, ports)
        with Sent(first.pid) as sent:
            words = (str(self._torrent), f"nodes={nodes}")
            spent = fetched("torrent", first, place / "torrents", *words)
        return Took(spent.wall, spent.cpu, spent.peak, sent.total)


def rounds_of(
    sources: int, nodes: int, model: Path, rounds: int, place: Path
) -> dict[str, list[Took]]:
    place.mkdir()
    took: dict[str, list[Took]] = {}
    with ExitStack() as running:
        rivals: dict[str, Swarm | Torrents] = {"p2phub": Swarm(place, sources, model, running)}
        if present([LIBTORRENT]):
            rivals[LIBTORRENT.name] = Torrents(place, sources, nodes, model, running)
        for _ in range(rounds):
            for name, rival in rivals.items():
                with tempfile.TemporaryDirectory(dir=place) as fresh:
                    took.setdefault(name, []).append(rival.pulled(Path(fresh), nodes))
    return took


def middle(rounds: Sequence[Took], attribute: str) -> float:
    return median([getattr(each, attribute) for each in rounds])


def lines(
    benchmark: str, what: str, took: dict[str, list[Took]], limit: float, budget: float
) -> list[Result]:
    """The wall time of each beside the limit. Only ours has a budget."""
    found = []
    for name, rounds in took.items():
        wall = middle(rounds, "wall")
        cpu, peak = middle(rounds, "cpu"), middle(rounds, "peak")
        note = f"{limit / wall:.0%} of the limit; {cpu:.2f} CPU s, {peak:.0f} MiB"
        mine = budget if name == "p2phub" else None
        subject = what if name == "p2phub" else f"{what}, {name}"
        found.append(
            Result(benchmark, subject, wall, limit, "s", mine, True, len(rounds), note=note)
        )
    return found


def measure(model: Path, nodes: int, rounds: int, place: Path) -> list[Result]:
    size = size_of(model)
    label = f"{round(size / MIB)} MiB"
    many = rounds_of(nodes, 1, model, rounds, place / "many")
    found = lines("T2", f"{label}, {nodes} → 1", many, size / (nodes * CAP), SUM_BUDGET)
    crowd = rounds_of(1, nodes, model, rounds, place / "crowd")
    found += lines("T3", f"{label}, 1 → {nodes}", crowd, size / CAP, CROWD_BUDGET)
    for name, took in crowd.items():
        what = f"{label}, 1 → {nodes}: sent by the source"
        found.append(
            Result(
                benchmark="T3",
                what=what if name == "p2phub" else f"{what}, {name}",
                value=middle(took, "sent") / MIB,
                baseline=size / MIB,
                unit="MiB",
                budget=UPLOAD_BUDGET if name == "p2phub" else None,
                relative=True,
                rounds=len(took),
                note="with TLS and headers" if name == "p2phub" else "",
            )
        )
    return found


def main() -> None:
    own_network()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="few bytes: does it run?")
    parser.add_argument("--size", type=int, default=1024, help="MiB")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    asked = parser.parse_args()
    size, nodes, rounds = (16, 2, 1) if asked.small else (asked.size, NODES, asked.rounds)
    with tempfile.TemporaryDirectory(prefix="p2phub-bench-", dir=".bench") as folder:
        place = Path(folder).absolute()
        make_shards(place / "model", size * MIB)
        show(measure(place / "model", nodes, rounds, place), asked.json)


if __name__ == "__main__":
    main()
