"""T5: a thousand files of 10 KiB, beside one file with as many bytes.

In every round a fresh node pulls each of the two repos from the node that published them:
encrypted, verified, committed. The budget of the many is 1.5 × the one + a millisecond a file.
huggingface_hub fetches the same thousand files in the same rounds, where it is installed. The floor
is what a plain loop takes that makes the same files and links as durably, from memory.

Nothing is removed before the end: ext4 without a journal looks at every inode that was freed in the
last minutes before it gives out another one, and would make each round slower than the one before.
"""

import argparse
import os
import resource
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from loopback import Home
from measure import Result, cpu_seconds, median, peak_mib, show
from peer import Peer, publisher, quiet
from rivals import Field, Rival, Spent, sync_file_system

FILE = 10 << 10  # bytes
FILES = 1000
TIMES_ONE, SECONDS_A_FILE = 1.5, 0.001
A_FOLDER = 100
"""Files in one folder."""
FLOOR = "the files and links alone"


def make(place: Path, files: int) -> None:
    """The same bytes twice: `place/many` and `place/one`."""
    (place / "one").mkdir()
    with (place / "one" / "whole.txt").open("wb") as whole:
        for number in range(files):
            folder = place / "many" / f"part-{number // A_FOLDER}"
            folder.mkdir(parents=True, exist_ok=True)
            data = os.urandom(FILE)
            (folder / f"{number}.txt").write_bytes(data)
            whole.write(data)


def pulled(lab: Peer, references: dict[str, str], home: Home) -> dict[str, Spent]:
    """What each repo costs a node that has nothing."""
    spent = {}
    with ExitStack() as running:
        reader = Peer(home, running, lab.address)
        reader.meet()
        pids = lab.node.pid, reader.node.pid
        for name, reference in references.items():
            quiet(*pids)
            os.sync()
            before = sum(map(cpu_seconds, pids))
            wall, _ = reader.timed_pull(reference)
            cpu = sum(map(cpu_seconds, pids)) - before
            spent[name] = Spent(wall, cpu, peak_mib(reader.node.pid))
    return spent


def floor(place: Path, files: int) -> Spent:
    """What it costs to make so many files and links with plain system calls: aside, all synced,
    renamed into 256 folders, synced again, and linked to.
    """
    (place / "aside").mkdir(parents=True)
    (place / "links").mkdir()
    data = [os.urandom(FILE) for _ in range(files)]
    os.sync()
    started, before = time.perf_counter(), _own_cpu()
    for folder in range(256):
        os.mkdir(f"{place}/{folder}")
    for number, each in enumerate(data):
        fd = os.open(f"{place}/aside/{number}", os.O_WRONLY | os.O_CREAT, 0o444)
        os.write(fd, each)
        os.close(fd)
    sync_file_system(place)
    for number in range(files):
        os.rename(f"{place}/aside/{number}", f"{place}/{number % 256}/{number}")
    sync_file_system(place)
    for number in range(files):
        os.symlink("../" * 30 + f"{number % 256}/{number}", f"{place}/links/{number}")
    return Spent(time.perf_counter() - started, _own_cpu() - before, 0.0)


def _own_cpu() -> float:
    spent = resource.getrusage(resource.RUSAGE_SELF)
    return spent.ru_utime + spent.ru_stime


def measure(files: int, rounds: int, place: Path) -> list[Result]:
    make(place, files)
    hub = Rival(
        "huggingface_hub + SHA-256",
        "huggingface",
        serve=(str(place / "many"),),
        wall=1.0,
        modules=("huggingface_hub",),
    )
    spent: dict[str, list[Spent]] = {}
    with ExitStack() as running:
        lab = publisher(place, running)
        references = {name: lab.publish(place / name, name)[0] for name in ("one", "many")}
        field = Field([hub], running)
        for number in range(rounds):
            order = dict(sorted(references.items(), reverse=number % 2 == 1))
            target = place / f"round-{number}"
            target.mkdir()
            took = pulled(lab, order, Home(target / "reader"))
            took |= field.round(target)
            took[FLOOR] = floor(target / "floor", files)
            for name, each in took.items():
                spent.setdefault(name, []).append(each)
    return lines(spent, hub, files, rounds)


def lines(spent: dict[str, list[Spent]], hub: Rival, files: int, rounds: int) -> list[Result]:
    def middle(name: str, attribute: str) -> float:
        return median([getattr(each, attribute) for each in spent[name]])

    many, one = middle("many", "wall"), middle("one", "wall")
    what = f"{files} files of {FILE >> 10} KiB: wall"
    cost = f"{middle('many', 'cpu'):.2f} CPU s, {middle('many', 'peak'):.0f} MiB"
    found = [
        Result(
            benchmark="T5",
            what=what,
            value=many,
            baseline=one,
            unit="s",
            budget=TIMES_ONE * one + SECONDS_A_FILE * files,
            relative=False,
            rounds=rounds,
            note=f"{cost}; against one file ({middle('one', 'cpu'):.2f} CPU s)",
        )
    ]
    note = f"against {FLOOR} ({middle(FLOOR, 'cpu'):.2f} CPU s)"
    found.append(Result("T5", what, many, middle(FLOOR, "wall"), "s", None, True, rounds, note))
    if hub.name in spent:
        wall, cpu = middle(hub.name, "wall"), middle(hub.name, "cpu")
        note = f"against {hub.name} ({cpu:.2f} CPU s, {middle(hub.name, 'peak'):.0f} MiB)"
        found.append(Result("T5", what, many, wall, "s", hub.wall, True, rounds, note))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="few files: does it run?")
    parser.add_argument("--files", type=int, default=FILES)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    asked = parser.parse_args()
    files, rounds = (50, 1) if asked.small else (asked.files, asked.rounds)
    with tempfile.TemporaryDirectory(prefix="p2phub-bench-", dir=".bench") as place:
        show(measure(files, rounds, Path(place).absolute()), asked.json)


if __name__ == "__main__":
    main()
