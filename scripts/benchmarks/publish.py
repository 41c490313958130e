"""T6: what publishing costs: SHA-256, pieces and the signature, page cache warm.

A running node publishes files it has never seen, and its CPU seconds are counted (the commands that
talk to it are not: their cost does not grow with the file). Weights are cut at tensor bounds,
everything else by content: each has its budget. Measured in the same rounds:

 * `--in-place` beside one pass of SHA-256 and BLAKE3 over the same bytes: of one file of weights,
   of one file of another kind, of weights in four shards;
 * copying beside such a pass that also writes each buffer to a new file, and fsyncs it. Both get
   memory from the system for a file it has never held, which alone may cost more than hashing;
 * what the store of an in-place publisher grew by, beside the bytes that it published;
 * how far the memory of the node went up meanwhile, beside a file of an eighth of the size.

The baseline reads the file: nobody hashes one without that. It is as fast as this machine can make
it, on all cores, as the node is: of one file, one thread reads a MiB and hashes it with BLAKE3,
another hashes the same memory with SHA-256; of several files, each core has its own. What the same
pass costs in a single thread is in the note: on a quiet machine 2 to 6 % less, because no memory
moves between cores.

Where the time goes, in milliseconds a MiB on a quiet machine of 2 cores: SHA-256 0.60, BLAKE3 0.17,
reading 0.06, and where the content decides, 0.26 for the search for cuts. That search is compiled
(pyfastcdc, which skips what is too short for a piece), takes one step a byte and cannot be had for
less without another library: 1.3 of the baseline is the least that a single thread can do. What the
node adds is 0.02 a MiB for counting pieces and handing over memory, and 0.02 s for any publish.

Blocks of 2 MiB, twice those of the baseline, win back some of that: less is handed over and copied.
They are written a MiB at a time, because ext4 takes 1.6 times as long over a write of 2 MiB, for
which it has to find or make pages of that size.

Other work on the machine slows the search more than it slows SHA-256: with eight busy threads a
core, 1.5 to 1.65 was measured of what is cut by content, and 1.03 to 1.2 of weights.

Wall time of a single file is bound by SHA-256, which one core computes: at least 0.7 of all the CPU
time of weights, and 0.55 of what is cut by content. Shards share two cores evenly: 0.5.

`scripts/bench publish` runs it; --size, in MiB, is for a closer look.
"""

import argparse
import hashlib
import json
import os
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from blake3 import blake3
from loopback import Home, Running
from measure import Result, cpu_of, cpu_seconds, median, peak_mib, resident_mib, show

BUFFER = 1 << 20
AHEAD = 3
MIB = 1 << 20
TENSORS = 64
NOWHERE = Path(os.devnull)
DISK = 0.001
"""Of the bytes published, in place."""


@dataclass(frozen=True, slots=True)
class Case:
    """What is published."""

    title: str
    names: tuple[str, ...]
    budget: float
    copied: bool = True
    """Whether it is also published with a copy."""


SHARDS = tuple(f"model-{number}-of-4.safetensors" for number in range(1, 5))
CASES = (
    Case("safetensors", ("model.safetensors",), 1.15),
    Case("parquet", ("data.parquet",), 1.4),
    Case("4 safetensors", SHARDS, 1.15, copied=False),
)


def write_safetensors(path: Path, size: int) -> None:
    """About `size` bytes of weights, as 64 tensors of one size."""
    each = size // TENSORS // 4 * 4
    header = {
        f"layer.{number}.weight": {
            "dtype": "F32",
            "shape": [each // 4],
            "data_offsets": [number * each, (number + 1) * each],
        }
        for number in range(TENSORS)
    }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _ in range(TENSORS):
            file.write(os.urandom(each))


def write_bytes(path: Path, size: int) -> None:
    with path.open("wb") as file:
        for _ in range(size // MIB):
            file.write(os.urandom(MIB))


def write_all(folder: Path, case: Case, size: int) -> list[Path]:
    """New files of `size` bytes together."""
    (folder / "README.md").write_text(f"Random bytes, to measure with: {os.urandom(16).hex()}.\n")
    paths = [folder / name for name in case.names]
    for path in paths:
        write = write_safetensors if path.suffix == ".safetensors" else write_bytes
        write(path, size // len(paths))
    return paths


def hash_once(path: Path, copy: Path = NOWHERE) -> None:
    """Both digests of every byte, read in one pass and written to `copy`, in this thread."""
    sha256, tree, buffer = hashlib.sha256(), blake3(), bytearray(BUFFER)
    view = memoryview(buffer)
    with path.open("rb", buffering=0) as file, copy.open("wb", buffering=0) as out:
        while count := file.readinto(buffer):
            sha256.update(view[:count])
            tree.update(view[:count])
            if copy != NOWHERE:
                out.write(view[:count])
        if copy != NOWHERE:
            os.fsync(out.fileno())


def hash_in_two_threads(path: Path, copy: Path = NOWHERE) -> None:
    """The same: SHA-256 of the same buffers in another thread."""
    sha256, tree = hashlib.sha256(), blake3()
    free: SimpleQueue[memoryview] = SimpleQueue()
    filled: SimpleQueue[tuple[memoryview, int] | None] = SimpleQueue()
    for _ in range(AHEAD):
        free.put(memoryview(bytearray(BUFFER)))

    def hash_beside() -> None:
        while (given := filled.get()) is not None:
            sha256.update(given[0][: given[1]])
            free.put(given[0])

    beside = threading.Thread(target=hash_beside)
    beside.start()
    with path.open("rb", buffering=0) as file, copy.open("wb", buffering=0) as out:
        while count := file.readinto(buffer := free.get()):
            filled.put((buffer, count))
            tree.update(buffer[:count])
            if copy != NOWHERE:
                out.write(buffer[:count])
        filled.put(None)
        beside.join()
        if copy != NOWHERE:
            os.fsync(out.fileno())


def hash_all(paths: Sequence[Path], copies: Sequence[Path]) -> None:
    """The baseline: on all cores."""
    cores = len(os.sched_getaffinity(0))
    if cores > 1 and len(paths) == 1:
        hash_in_two_threads(paths[0], copies[0])
        return
    with ThreadPoolExecutor(cores) as pool:
        list(pool.map(hash_once, paths, copies))


def publish_once(home: Home, node: Running, folder: Path, *flags: str) -> tuple[float, float]:
    """CPU seconds of the node and wall seconds of the command."""
    before, started = cpu_seconds(node.pid), time.perf_counter()
    published = home.type("publish", str(folder), "benchmark", *flags)
    spent = cpu_seconds(node.pid) - before, time.perf_counter() - started
    if published["bytes_hashed"] < sum(path.stat().st_size for path in folder.iterdir()):
        raise AssertionError("the node knew bytes that are new: nothing was measured")
    return spent


def taken(folder: Path) -> int:
    """Bytes of the disk that a folder takes."""
    return sum(path.lstat().st_blocks * 512 for path in folder.rglob("*"))


class Publisher:
    """A node that publishes again and again: what each time cost, beside its baseline."""

    def __init__(self, place: Path, name: str, *flags: str) -> None:
        self.home, self.flags = Home(place / f"home-{name}"), flags
        self.home.type("init", "--backup", str(place / f"backup-{name}"))
        self.store = place / f"home-{name}" / "store"
        self.cpu: list[float] = []
        self.wall: list[float] = []
        self.baseline: list[float] = []

    def round(
        self, node: Running, folder: Path, paths: Sequence[Path], copies: Sequence[Path]
    ) -> None:
        self.baseline.append(cpu_of(lambda: hash_all(paths, copies)))
        spent, took = publish_once(self.home, node, folder, *self.flags)
        self.cpu.append(spent)
        self.wall.append(took)

    def result(self, what: str, case: Case, note: str) -> Result:
        return Result(
            benchmark="T6",
            what=f"{what}: CPU",
            value=median(self.cpu),
            baseline=median(self.baseline),
            unit="s",
            budget=case.budget,
            relative=True,
            rounds=len(self.cpu),
            note=note,
        )


class Memory:
    """How far the memory of a node went up while it published, in MiB."""

    def __init__(self, node: Running) -> None:
        self._pid = node.pid
        Path(f"/proc/{node.pid}/clear_refs").write_text("5")  # the peak is the present again
        self._before = resident_mib(node.pid)

    @property
    def grown(self) -> float:
        return peak_mib(self._pid) - self._before


def measure_in_place(case: Case, size: int, rounds: int, place: Path) -> list[Result]:
    folder, small = place / "folder", place / "small"
    placed = Publisher(place, "in-place", "--in-place")
    with placed.home.node():
        pass  # makes the store
    before = taken(placed.store)
    alone: list[float] = []
    start_up: list[tuple[float, float]] = []
    grown: list[tuple[float, float]] = []
    with placed.home.node() as node:
        for _ in range(rounds):
            write_all(small, case, size // 8)
            memory = Memory(node)
            publish_once(placed.home, node, small, *placed.flags)
            less = memory.grown
            _clear(small)
            (small / "README.md").write_bytes(os.urandom(20).hex().encode())
            start_up.append(publish_once(placed.home, node, small, *placed.flags))
            paths = write_all(folder, case, size)
            alone.append(cpu_of(lambda paths=paths: [hash_once(path) for path in paths]))
            memory = Memory(node)
            placed.round(node, folder, paths, [NOWHERE] * len(paths))
            grown.append((memory.grown, less))
    grew = taken(placed.store) - before
    _clear(folder)
    what = f"{case.title}, {size // MIB} MiB, in place"
    started = median([took for _, took in start_up])
    note = (
        f"in one thread the baseline is {median(alone):.3f} s; any publish costs"
        f" {median([cpu for cpu, _ in start_up]):.3f} s; wall {median(placed.wall) - started:.2f} s"
        f" besides {started:.2f} s of any"
    )
    return [
        placed.result(what, case, note),
        Result(
            benchmark="T6",
            what=f"{what}: disk",
            value=grew / 1024 / rounds,
            baseline=size * 9 / 8 / 1024,
            unit="KiB",
            budget=DISK,
            relative=True,
            rounds=rounds,
            note="what the store grew by, of the bytes published",
        ),
        Result(
            benchmark="T6",
            what=f"{what}: memory",
            value=median([large for large, _ in grown]),
            baseline=median([less for _, less in grown]),
            unit="MiB",
            budget=None,
            relative=False,
            rounds=rounds,
            note="what the node grew by meanwhile; baseline: for an eighth of the bytes",
        ),
    ]


def measure_copied(case: Case, size: int, rounds: int, place: Path) -> list[Result]:
    folder, copies = place / "folder", place / "copies"
    copies.mkdir()
    copied = Publisher(place, "copy")
    with copied.home.node() as node:
        for number in range(rounds):
            paths = write_all(folder, case, size)
            outs = [copies / f"{path.name}-{number}" for path in paths]
            copied.round(node, folder, paths, outs)
    _clear(folder)
    what = f"{case.title}, {size // MIB} MiB, copied"
    note = f"wall {median(copied.wall):.2f} s; the baseline writes and fsyncs too"
    return [copied.result(what, case, note)]


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="few bytes: does it run?")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--size", type=int, default=1024, metavar="MIB", help="of each case")
    asked = parser.parse_args()
    size, rounds = (16 * MIB, 1) if asked.small else (asked.size * MIB, 5)
    for case in CASES:
        for measure in (measure_in_place, measure_copied)[: 1 + case.copied]:
            with tempfile.TemporaryDirectory(prefix="p2phub-bench-", dir=".bench") as scratch:
                place = Path(scratch)
                (place / "folder").mkdir()
                (place / "small").mkdir()
                show(measure(case, size, rounds, place), asked.json)


if __name__ == "__main__":
    main()
