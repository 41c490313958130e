"""N2: the memory of a node that seeds: 5,000 files to 20 peers at once, and one very large file.

The seeding node is started anew each time, after everything is published, so that its peak is that
of seeding alone; the baseline is what it held before anybody asked. The large file has holes on
this disk, but no two MiB of it are alike; beside it a file of a sixty-fourth of its size is served,
also by a fresh node, and the memory that either end held at most is compared: it must not grow
with the file.
"""

import argparse
import os
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from loopback import Home
from measure import Result, cpu_seconds, peak_mib, resident_mib, show
from peer import Peer, publisher, quiet
from weights import MIB

MEMORY_BUDGET, GROWTH_BUDGET = 350.0, 1.1
FILE = 10 << 10
A_FOLDER = 500
SMALLER = 64
STARTED_TOGETHER = 4
"""Nodes that are started at the same time."""


@dataclass(frozen=True, slots=True)
class Held:
    """MiB that the seeding node held before and at most, and a receiver at most; seconds that the
    slowest receiver took, and CPU seconds of the seeding node."""

    before: float
    seeder: float
    receiver: float
    wall: float
    cpu: float


def many_files(folder: Path, files: int) -> None:
    for number in range(files):
        part = folder / f"part-{number // A_FOLDER}"
        part.mkdir(parents=True, exist_ok=True)
        (part / f"{number}.txt").write_bytes(os.urandom(FILE))


def one_file(folder: Path, size: int) -> None:
    """Every MiB begins with some bytes of its own, and then has nothing."""
    folder.mkdir()
    with (folder / "large.dat").open("wb") as file:
        file.truncate(size)
        for offset in range(0, size, MIB):
            os.pwrite(file.fileno(), os.urandom(4096), offset)


class Lab:
    """A home that has published what is to be seeded."""

    def __init__(self, place: Path, folders: Sequence[Path]) -> None:
        self._place = place
        with ExitStack() as running:
            lab = publisher(place, running)
            self._references = {each: lab.publish(each, each.name)[0] for each in folders}

    def seeds(self, folder: Path, peers: int) -> Held:
        """What it takes a fresh node to give what is in `folder` to so many peers at once."""
        reference = self._references[folder]
        with (
            tempfile.TemporaryDirectory(dir=self._place) as fresh,
            ExitStack() as running,
        ):
            seeder = Peer(Home(self._place / "lab"), running)
            homes = [Home(Path(fresh) / str(number)) for number in range(peers)]
            with ThreadPoolExecutor(STARTED_TOGETHER) as pool:
                readers = list(pool.map(lambda home: Peer(home, running, seeder.address), homes))
            for reader in readers:
                reader.meet()
            pid = seeder.node.pid
            quiet(pid)
            before, cpu = resident_mib(pid), cpu_seconds(pid)
            with ThreadPoolExecutor(peers) as pool:
                pulls = list(pool.map(lambda each: each.timed_pull(reference), readers))
            cpu = cpu_seconds(pid) - cpu
            receiver = max(peak_mib(reader.node.pid) for reader in readers)
            wall = max(wall for wall, _ in pulls)
            return Held(before, peak_mib(pid), receiver, wall, cpu)


def many(lab: Lab, folder: Path, files: int, peers: int) -> list[Result]:
    held = lab.seeds(folder, peers)
    return [
        Result(
            benchmark="N2",
            what=f"{files} files to {peers} peers: memory",
            value=held.seeder,
            baseline=held.before,
            unit="MiB",
            budget=MEMORY_BUDGET,
            relative=False,
            rounds=1,
            note=f"a peer at most {held.receiver:.0f} MiB; slowest in {held.wall:.1f} s;"
            f" {held.cpu:.1f} CPU s of the seeding node",
        )
    ]


def large(lab: Lab, whole: Path, part: Path, size: int) -> list[Result]:
    small, big = lab.seeds(part, 1), lab.seeds(whole, 1)
    note = f"against {size // SMALLER / MIB:g} MiB; {big.wall:.1f} s, {big.cpu:.1f} CPU s"
    what = f"one file of {size // MIB} MiB: memory"
    growth = (GROWTH_BUDGET, True, 1, note)
    limit = (MEMORY_BUDGET, False, 1, "against before")
    return [
        Result("N2", f"{what}", big.seeder, big.before, "MiB", *limit),
        Result("N2", f"{what} of who seeds", big.seeder, small.seeder, "MiB", *growth),
        Result("N2", f"{what} of who fetches", big.receiver, small.receiver, "MiB", *growth),
    ]


def measure(files: int, peers: int, size: int, place: Path) -> list[Result]:
    every, whole, part = (place / name for name in ("files", "whole", "part"))
    many_files(every, files)
    one_file(whole, size)
    one_file(part, size // SMALLER)
    lab = Lab(place, [every, whole, part])
    return [*many(lab, every, files, peers), *large(lab, whole, part, size)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="few files: does it run?")
    parser.add_argument("--files", type=int, default=5000)
    parser.add_argument("--peers", type=int, default=20)
    parser.add_argument("--size", type=int, default=4096, help="MiB of the large file")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    asked = parser.parse_args()
    files, peers, size = asked.files, asked.peers, asked.size
    if asked.small:
        files, peers, size = 20, 2, 64
    with tempfile.TemporaryDirectory(prefix="p2phub-bench-", dir=".bench") as place:
        show(measure(files, peers, size * MIB, Path(place).absolute()), asked.json)


if __name__ == "__main__":
    main()
