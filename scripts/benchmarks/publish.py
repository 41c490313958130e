"""T6: what publishing costs: SHA-256, pieces and the signature, page cache warm.

A running node publishes a file it has never seen, and its CPU seconds are counted (the commands
that talk to it are not: their cost does not grow with the file). The baseline, in the same round,
is one pass of SHA-256 and BLAKE3 over the same bytes. Weights are cut at tensor bounds, everything
else by content: each has its budget.

Where the file system cannot share blocks between files, a node also writes a copy of what it
publishes. The second baseline writes one too, so that the two costs can be told apart.
"""

import argparse
import hashlib
import json
import os
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


def publish_once(home: Home, node: Running, folder: Path) -> tuple[float, float]:
    """CPU seconds of the node and wall seconds of the command."""
    before, started = cpu_seconds(node.pid), time.perf_counter()
    published = home.type("publish", str(folder), "benchmark")
    spent = cpu_seconds(node.pid) - before, time.perf_counter() - started
    size = sum(path.stat().st_size for path in folder.iterdir())
    if published["bytes_hashed"] < size:
        raise AssertionError("the node knew bytes that are new: nothing was measured")
    return spent


def measure(name: str, size: int, rounds: int, place: Path) -> list[Result]:
    home, folder = Home(place / f"home-{name}"), place / "folder"
    home.type("init", "--backup", str(place / f"backup-{name}"))
    folder.mkdir(exist_ok=True)
    (folder / "README.md").write_text("Random bytes, to measure with.\n")
    path, copy = folder / name, place / "copy"
    hashed, copied, cpu, wall = [], [], [], []
    with home.node() as node:
        for _ in range(rounds):
            (write_safetensors if name.endswith(".safetensors") else write_bytes)(path, size)
            hashed.append(cpu_of(lambda: hash_once(path, NOWHERE)))
            copied.append(cpu_of(lambda: hash_once(path, copy)))
            spent, took = publish_once(home, node, folder)
            cpu.append(spent)
            wall.append(took)
    path.unlink()
    return [
        Result(
            benchmark="T6",
            what=f"{name}{extra}, {size // MIB} MiB: CPU",
            value=median(cpu),
            baseline=median(baseline),
            unit="s",
            budget=BUDGETS[name],
            relative=True,
            rounds=rounds,
            note=f"wall {median(wall):.2f} s; against SHA-256 + BLAKE3{against} in one pass",
        )
        for extra, baseline, against in (
            ("", hashed, ""),
            (" and copy", copied, " + write + fsync"),
        )
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="few bytes: does it run?")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    asked = parser.parse_args()
    size, rounds = (8 * MIB, 2) if asked.small else (256 * MIB, 5)
    with tempfile.TemporaryDirectory(prefix="p2phub-bench-", dir=".bench") as place:
        for name in BUDGETS:
            show(measure(name, size, rounds, Path(place)), asked.json)


if __name__ == "__main__":
    main()
