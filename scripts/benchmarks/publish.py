"""T6: what publishing costs: SHA-256, pieces and the signature, page cache warm.

A running node publishes a file it has never seen, and its CPU seconds are counted (the commands
that talk to it are not: their cost does not grow with the file). Weights are cut at tensor bounds,
everything else by content: each has its budget. Three things are measured, in the same rounds:

 * `--in-place` beside one pass of SHA-256 and BLAKE3 over the same bytes;
 * copying beside such a pass that also writes each buffer to a new file, and fsyncs it. Both get
   memory from the system for a file it has never held, which alone may cost more than hashing;
 * what the store of an in-place publisher grew by, beside the bytes that it published.

`scripts/bench publish` runs it; --size, in MiB, is for a closer look.
"""

import argparse
import hashlib
import json
import os
import shutil
import tempfile
import time
from pathlib import Path

from blake3 import blake3
from loopback import Home, Running
from measure import Result, cpu_of, cpu_seconds, median, show

BUFFER = 1 << 20
MIB = 1 << 20
TENSORS = 64
NOWHERE = Path(os.devnull)
BUDGETS = {"model.safetensors": 1.15, "data.parquet": 1.4}
DISK = 0.001
"""Of the bytes published, in place."""


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


def hash_once(path: Path, copy: Path) -> None:
    """The baseline: both digests of every byte, read in one pass and written to `copy`."""
    sha256, tree, buffer = hashlib.sha256(), blake3(), bytearray(BUFFER)
    view = memoryview(buffer)
    with path.open("rb", buffering=0) as file, copy.open("wb", buffering=0) as out:
        while count := file.readinto(buffer):
            sha256.update(view[:count])
            tree.update(view[:count])
            out.write(view[:count])
        if copy != NOWHERE:
            os.fsync(out.fileno())


def publish_once(home: Home, node: Running, folder: Path, *flags: str) -> tuple[float, float]:
    """CPU seconds of the node and wall seconds of the command."""
    before, started = cpu_seconds(node.pid), time.perf_counter()
    published = home.type("publish", str(folder), "benchmark", *flags)
    spent = cpu_seconds(node.pid) - before, time.perf_counter() - started
    size = max(path.stat().st_size for path in folder.iterdir())
    if published["bytes_hashed"] < size:
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
        self.before = 0
        self.cpu: list[float] = []
        self.wall: list[float] = []
        self.baseline: list[float] = []

    def round(self, node: Running, folder: Path, path: Path, copy: Path) -> None:
        self.baseline.append(cpu_of(lambda: hash_once(path, copy)))
        spent, took = publish_once(self.home, node, folder, *self.flags)
        self.cpu.append(spent)
        self.wall.append(took)

    def result(self, what: str, name: str, against: str, rounds: int) -> Result:
        return Result(
            benchmark="T6",
            what=f"{what}: CPU",
            value=median(self.cpu),
            baseline=median(self.baseline),
            unit="s",
            budget=BUDGETS[name],
            relative=True,
            rounds=rounds,
            note=f"wall {median(self.wall):.2f} s; against SHA-256 + BLAKE3{against} in one pass",
        )


def measure(name: str, size: int, rounds: int, place: Path) -> list[Result]:
    folder, copies = place / "folder", place / "copies"
    folder.mkdir(exist_ok=True)
    copies.mkdir(exist_ok=True)
    (folder / "README.md").write_text("Random bytes, to measure with.\n")
    path = folder / name
    placed = Publisher(place, f"in-place-{name}", "--in-place")
    copied = Publisher(place, f"copy-{name}")
    with placed.home.node():
        pass  # makes the store
    before = taken(placed.store)
    with placed.home.node() as in_place, copied.home.node() as copying:
        for number in range(rounds):
            (write_safetensors if name.endswith(".safetensors") else write_bytes)(path, size)
            placed.round(in_place, folder, path, NOWHERE)
            copied.round(copying, folder, path, copies / f"{name}-{number}")
    grown = taken(placed.store) - before
    what = f"{name}, {size // MIB} MiB"
    path.unlink()
    shutil.rmtree(copies)
    return [
        placed.result(f"{what}, in place", name, "", rounds),
        copied.result(f"{what}, copied", name, " + write + fsync", rounds),
        Result(
            benchmark="T6",
            what=f"{what}, in place: disk",
            value=grown / 1024 / rounds,
            baseline=size / 1024,
            unit="KiB",
            budget=DISK,
            relative=True,
            rounds=rounds,
            note="what the store grew by, of the bytes published",
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="few bytes: does it run?")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--size", type=int, default=512, metavar="MIB", help="of each file")
    asked = parser.parse_args()
    size, rounds = (8 * MIB, 2) if asked.small else (asked.size * MIB, 5)
    with tempfile.TemporaryDirectory(prefix="p2phub-bench-", dir=".bench") as place:
        for name in BUDGETS:
            show(measure(name, size, rounds, Path(place)), asked.json)


if __name__ == "__main__":
    main()
