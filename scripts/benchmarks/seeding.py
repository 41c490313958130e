"""N2: the memory of a node that seeds: 5,000 files to 20 peers at once, and one very large file.

The seeding node is started anew after it has published, so that its peak is that of seeding alone;
the baseline is what it held before anybody asked. The large file has holes on this disk, but no two
MiB of it are alike; beside it a file of a sixty-fourth of its size is served, also by a fresh node,
and the memory that either end held at most is compared: it must not grow with the file.
"""

import argparse
import os
import tempfile
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


def seeded(folder: Path, peers: int, place: Path) -> Held:
    """What it takes to give what is in `folder` to so many peers at once."""
    place.mkdir()
    with ExitStack() as running:
        reference, _ = publisher(place, running).publish(folder, "model")
    with ExitStack() as running:
        seeder = Peer(Home(place / "lab"), running)
        homes = [Home(place / f"peer-{number}") for number in range(peers)]
        with ThreadPoolExecutor(STARTED_TOGETHER) as pool:
            readers = list(pool.map(lambda home: Peer(home, running, seeder.address), homes))
        for reader in readers:
            reader.meet()
        quiet(seeder.node.pid)
        pid = seeder.node.pid
        before, cpu = resident_mib(pid), cpu_seconds(pid)
        with ThreadPoolExecutor(peers) as pool:
            walls = [took for took, _ in pool.map(lambda each: each.timed_pull(reference), readers)]
        receiver = max(peak_mib(reader.node.pid) for reader in readers)
        return Held(before, peak_mib(pid), receiver, max(walls), cpu_seconds(pid) - cpu)


def many(files: int, peers: int, place: Path) -> list[Result]:
    many_files(place / "files", files)
    held = seeded(place / "files", peers, place / "many")
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


def large(size: int, place: Path) -> list[Result]:
    held = {}
    for each in (size // SMALLER, size):
        with tempfile.TemporaryDirectory(dir=place) as fresh:
            one_file(Path(fresh) / "file", each)
            held[each] = seeded(Path(fresh) / "file", 1, Path(fresh) / "nodes")
    small, big = held[size // SMALLER], held[size]
    note = f"against {size // SMALLER // MIB} MiB; {big.wall:.1f} s, {big.cpu:.1f} CPU s"
    what = f"one file of {size // MIB} MiB: memory"
    growth = (GROWTH_BUDGET, True, 1, note)
    limit = (MEMORY_BUDGET, False, 1, "against before")
    return [
        Result("N2", f"{what}", big.seeder, big.before, "MiB", *limit),
        Result("N2", f"{what} of who seeds", big.seeder, small.seeder, "MiB", *growth),
        Result("N2", f"{what} of who fetches", big.receiver, small.receiver, "MiB", *growth),
    ]


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
    with tempfile.TemporaryDirectory(prefix="p2phub-bench-", dir=".bench") as folder:
        place = Path(folder).absolute()
        show(many(files, peers, place), asked.json)
        show(large(size * MIB, place), asked.json)


if __name__ == "__main__":
    main()
