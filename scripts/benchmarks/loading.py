"""G4: loading weights so that every byte is checked where it is used, page cache warm.

A model of four shards of bfloat16 is loaded and every byte of every tensor is touched. The baseline
loads the same files with `safetensors.torch.load_file`, hashes each tensor with BLAKE3 as it comes
(one thread), and touches every byte in the same way. What BLAKE3 on all cores would make of it is
told beside it. All are measured in the same rounds, wall time and CPU time.

The baseline maps the file and copies nothing: what it hashes may be something else when it is used.
We read into memory of our own, which the system has to clear first, and check there. In
milliseconds a MiB, on a quiet machine of 2 cores: BLAKE3 0.17 to 0.24, reading 0.11 to 0.15,
clearing 0.11; the baseline spares the last two. What they cost is paid for by working in as many
threads as there are cores: wall time is below the baseline's, CPU time above it.

A virtual machine gives memory that it does not use back to its host, and gets it again only page by
page, at up to ten times the cost of all of the above. So before each measured load as much memory
as it needs is taken and freed.

On a machine with a GPU the tensors go to it, in both.

`scripts/bench loading` runs it; --size, in MiB, is for a closer look.
"""

import json
import mmap
import os
import time
from collections.abc import Callable
from pathlib import Path

import torch
from blake3 import blake3
from measure import Result, cpu_of, median, run
from safetensors.torch import load_file

from p2phub.formats.digest import blake3 as digest
from p2phub.formats.digest import sha256
from p2phub.formats.ids import ContentId
from p2phub.formats.limits import MAX_PIECE
from p2phub.formats.pieces import PieceTable
from p2phub.inference.spec import ModelFile, ModelSpec
from p2phub.inference.worker.weights import Weights

MIB = 1 << 20
SHARDS = 4
WIDTH = 1024
ROWS = 4096
"""A tensor of 8 MiB."""
SPEED = 0.9
"""Of the baseline's."""


def write_shard(path: Path, size: int) -> None:
    """About `size` bytes of tensors of bfloat16."""
    each = min(size, ROWS * WIDTH * 2) // (WIDTH * 2) * WIDTH * 2
    names = [f"{path.stem}.{number}.weight" for number in range(max(1, size // each))]
    header = {
        name: {
            "dtype": "BF16",
            "shape": [each // WIDTH // 2, WIDTH],
            "data_offsets": [number * each, (number + 1) * each],
        }
        for number, name in enumerate(names)
    }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _ in names:
            file.write(os.urandom(each))


def told_of(path: Path) -> ModelFile:
    """The file as a worker is told of it, with pieces of the greatest length."""
    data = path.read_bytes()
    if len(data) <= MAX_PIECE:
        return ModelFile((path.name,), ContentId(len(data), sha256(data)), str(path))
    parts = [data[at : at + MAX_PIECE] for at in range(0, len(data), MAX_PIECE)]
    table = PieceTable.build([len(part) for part in parts], [digest(part) for part in parts])
    return ModelFile((path.name,), table.content_id, str(path), table.pack())


def touch(tensors: dict[str, torch.Tensor]) -> int:
    """Read every byte."""
    total = 0
    for tensor in tensors.values():
        total ^= int(tensor.view(torch.int64).max())
    return total


def load_plainly(paths: list[Path], device: str, threads: int) -> int:
    """The baseline."""
    tensors = {}
    for path in paths:
        tensors.update(load_file(path))
    for tensor in tensors.values():
        data = memoryview(tensor.view(torch.uint8).numpy())
        blake3(max_threads=threads).update(data).digest()
    return touch({name: tensor.to(device) for name, tensor in tensors.items()})


def load_verified(spec: ModelSpec, device: str) -> int:
    with Weights(spec) as weights:
        return touch(weights.state_dict(device))


def take_and_free(size: int) -> None:
    """Have the host of this machine, if it has one, give it memory."""
    with mmap.mmap(-1, size + MIB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        memory.madvise(mmap.MADV_HUGEPAGE)
        for at in range(0, size, mmap.PAGESIZE):
            memory[at] = 1


class Measured:
    """One way to load, again and again."""

    def __init__(self, work: Callable[[], int], size: int) -> None:
        self._work, self._size = work, size
        self.walls: list[float] = []
        self.cpus: list[float] = []

    def round(self) -> int:
        """What was touched."""
        answers: list[int] = []
        take_and_free(self._size)
        started = time.perf_counter()
        self.cpus.append(cpu_of(lambda: answers.append(self._work())))
        self.walls.append(time.perf_counter() - started)
        return answers[0]


def measure(size: int, rounds: int, place: Path) -> list[Result]:
    torch.set_num_threads(1)
    paths = [place / f"model-{n:05}-of-{SHARDS:05}.safetensors" for n in range(1, SHARDS + 1)]
    for path in paths:
        write_shard(path, size // SHARDS)
    files = tuple(told_of(path) for path in paths)
    spec = ModelSpec("", "random", "transformers", "text-generation", files)
    device = "cuda:0" if torch.cuda.is_available() else "cpu"
    ours = Measured(lambda: load_verified(spec, device), size)
    plain = Measured(lambda: load_plainly(paths, device, 1), size)
    spread = Measured(lambda: load_plainly(paths, device, blake3.AUTO), size)
    for _ in range(rounds):
        if len({each.round() for each in (plain, ours, spread)}) != 1:
            raise AssertionError("all were loaded, and they are not the same")
    what = f"{size // MIB} MiB to {device}"
    note = f"{size / MIB / 1024 / median(ours.walls):.2f} GiB/s; {SPEED} of the baseline's speed"
    return [
        result(f"{what}: wall", ours.walls, plain.walls, 1 / SPEED, note),
        result(f"{what}: CPU", ours.cpus, plain.cpus, None, "the baseline copies nothing"),
        result(f"{what}: wall, BLAKE3 on all cores", ours.walls, spread.walls, None, ""),
    ]


def result(
    what: str, ours: list[float], plain: list[float], budget: float | None, note: str
) -> Result:
    return Result(
        benchmark="G4",
        what=what,
        value=median(ours),
        baseline=median(plain),
        unit="s",
        budget=budget,
        relative=True,
        rounds=len(ours),
        note=note,
    )


if __name__ == "__main__":
    run(__doc__, measure)
