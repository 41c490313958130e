"""B1: a bundle written, read back, and taken in on the far side, beside `cp` there and back.

A node exports a model of four shards into a folder, and a node that is new in every round, and
knows nobody, imports it. Measured in the same rounds, in an order left to chance, on the same file
system: `cp` of the same files out, read back and hashed with BLAKE3, `cp` in, hashed again. Both
fsync what they wrote, both read back past the page cache, and before it is taken in the cache
forgets what is on the medium: it is another machine that reads it. What is exported is in the cache
for both.

CPU seconds are those of the nodes; SHA-256 of the whole files, which the far node computes
afterwards in the background, is reported apart. --size, in MiB, is for other sizes.
"""

import json
import os
import random
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from carrying import cached, uncached
from loopback import Home
from measure import Result, cpu_seconds, median, peak_mib, run
from peer import Peer, publisher, quiet
from rivals import CHANCE, LATEST, Spent, command
from weights import MIB, make_shards, size_of

BUDGET = 1.3
OURS, COPY = "p2phub", "cp + read back + BLAKE3"


@dataclass(frozen=True, slots=True)
class Carried:
    """What one trip cost."""

    out: Spent
    into: Spent

    @property
    def wall(self) -> float:
        return self.out.wall + self.into.wall

    @property
    def cpu(self) -> float:
        return self.out.cpu + self.into.cpu

    @property
    def peak(self) -> float:
        return max(self.out.peak, self.into.peak)


def exported(lab: Peer, reference: str, stick: Path) -> Spent:
    """A bundle is written by a node that runs already."""
    os.sync()
    quiet(lab.node.pid)
    before, started = cpu_seconds(lab.node.pid), time.perf_counter()
    lab.export(reference, stick)
    wall = time.perf_counter() - started
    return Spent(wall, cpu_seconds(lab.node.pid) - before, peak_mib(lab.node.pid))


def imported(home: Home, stick: Path, size: int) -> Spent:
    """A node that knows nothing takes all of it."""
    with ExitStack() as running:
        far = Peer(home, running)
        os.sync()
        quiet(far.node.pid)
        before, started = cpu_seconds(far.node.pid), time.perf_counter()
        done = far.bring(stick)
        wall, after = time.perf_counter() - started, cpu_seconds(far.node.pid)
        if done["bytes_fetched"] < size or done["exit"]:
            raise AssertionError(f"it did not all come: {done}")
        peak = peak_mib(far.node.pid)
        quiet(far.node.pid)
        return Spent(wall, after - before, peak, later=cpu_seconds(far.node.pid) - after)


def by_p2phub(lab: Peer, reference: str, place: Path, size: int) -> Carried:
    out = exported(lab, reference, place / "stick")
    uncached(place / "stick")
    return Carried(out, imported(Home(place / "far"), place / "stick", size))


def by_copying(folder: Path, place: Path) -> Carried:
    out = copied("out", folder, place / "stick")
    uncached(place / "stick")
    return Carried(out, copied("in", place / "stick", place / "far"))


def copied(way: str, source: Path, target: Path) -> Spent:
    os.sync()
    words = command("carrying", way, str(source), str(target))
    told = json.loads(subprocess.check_output(words, timeout=LATEST))
    return Spent(told["wall"], told["cpu"], told["peak"])


def measure(size: int, rounds: int, place: Path, chance: random.Random = CHANCE) -> list[Result]:
    folder = place / "shards"
    make_shards(folder, size)
    trips: dict[str, list[Carried]] = {OURS: [], COPY: []}
    with ExitStack() as running:
        lab = publisher(place, running)
        reference, _ = lab.publish(folder, "shards")
        ways = {
            OURS: lambda target: by_p2phub(lab, reference, target, size_of(folder)),
            COPY: lambda target: by_copying(folder, target),
        }
        for _ in range(rounds):
            for name in chance.sample(list(ways), len(ways)):
                cached(lab.home.folder / "store")
                cached(folder)
                with tempfile.TemporaryDirectory(dir=place) as target:
                    trips[name].append(ways[name](Path(target)))
    return list(results(trips[OURS], trips[COPY], size_of(folder)))


def results(ours: Sequence[Carried], copies: Sequence[Carried], size: int) -> Iterator[Result]:
    what, rounds = f"{round(size / MIB)} MiB", len(ours)
    later, peak, theirs = (
        median([trip.into.later for trip in ours]),
        median([trip.peak for trip in ours]),
        median([trip.peak for trip in copies]),
    )
    notes = {
        "wall": f"against {COPY} ({theirs:.0f} MiB); {peak:.0f} MiB",
        "cpu": f"SHA-256 afterwards {later:.2f} s",
    }
    for name, each in notes.items():
        value, baseline = (median([getattr(x, name) for x in trips]) for trips in (ours, copies))
        budget = BUDGET if name == "wall" else None
        label = f"{what}, out and in: {name if name == 'wall' else 'CPU'}"
        yield Result("B1", label, value, baseline, "s", budget, True, rounds, each)
    for name, title in (("out", "export"), ("into", "import")):
        value, baseline = (
            median([getattr(trip, name).wall for trip in trips]) for trips in (ours, copies)
        )
        yield Result("B1", f"{what}, {title} alone", value, baseline, "s", None, True, rounds)


if __name__ == "__main__":
    run(__doc__, measure)
