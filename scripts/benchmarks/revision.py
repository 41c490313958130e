"""T4: what a new revision costs on the wire, beside the bytes that changed in it.

A node has the first revision of a model and of a text file. In every round another one is made of
the first: one of the four shards is new; every twentieth tensor is new; the same tensors are cut
into three files; a row is put into the middle of the text. Both revisions are published by one node
and pulled by the other. What loopback carries meanwhile is counted by the kernel, with TLS, headers
and what the control plane says; `fetched` is what the pull itself tells. Afterwards both nodes drop
the new revision, so that every round starts from the first.
"""

import os
import random
import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from loopback import Home
from measure import Result, cpu_seconds, median, peak_mib, run
from peer import Peer, publisher, quiet
from weights import MIB, SHARDS, make_shards, overwrite, reshard, size_of, tensors_of
from wire import carried, own_network

TENSORS = 64
"""In a shard."""
EVERY = 20
PARTS = 3
ROW = 200
"""Bytes of a row of text, about."""
CHANGED_BUDGET, SIZE_BUDGET = 1.01, 0.005


@dataclass(frozen=True, slots=True)
class Took:
    """One pull: bytes that changed, that the wire carried, that the pull told of; bytes of the
    revision; seconds and CPU seconds of both ends, MiB that the receiver has held at most."""

    changed: int
    wire: int
    fetched: int
    size: int
    wall: float
    cpu: float
    peak: float


# --- what changes ---------------------------------------------------------------------------------


def new_shard(folder: Path, number: int) -> int:
    shard = folder / f"shard-{number % SHARDS}.safetensors"
    return overwrite(shard, list(tensors_of(shard)))


def new_tensors(folder: Path, number: int) -> int:
    every = [(shard, name) for shard in shards_of(folder) for name in tensors_of(shard)]
    chosen = every[number % EVERY :: EVERY]
    return sum(
        overwrite(shard, [name for where, name in chosen if where == shard])
        for shard in shards_of(folder)
    )


def other_files(folder: Path, number: int) -> int:
    shards = shards_of(folder)
    reshard(shards, folder, PARTS)
    for shard in shards:
        shard.unlink()
    return 0


def new_row(folder: Path, number: int) -> int:
    path, row = folder / "rows.jsonl", row_of(random.Random(number))
    text = path.read_bytes()
    middle = text.index(b"\n", len(text) // 2) + 1
    path.write_bytes(text[:middle] + row + text[middle:])
    return len(row)


def shards_of(folder: Path) -> list[Path]:
    return sorted(folder.glob("shard-*.safetensors"))


def row_of(chance: random.Random) -> bytes:
    return b'{"text": "%s"}\n' % chance.randbytes(ROW // 2).hex().encode()


def write_rows(folder: Path, size: int) -> None:
    folder.mkdir()
    chance, written = random.Random(os.urandom(16)), 0
    with (folder / "rows.jsonl").open("wb") as file:
        while written < size:
            written += file.write(b"".join(row_of(chance) for _ in range(1000)))


CHANGES: dict[str, tuple[str, Callable[[Path, int], int]]] = {
    f"1 of {SHARDS} shards": ("model", new_shard),
    f"1 of {EVERY} tensors": ("model", new_tensors),
    f"re-sharded {SHARDS} → {PARTS}": ("model", other_files),
    "a row of text": ("text", new_row),
}


# --- what it costs --------------------------------------------------------------------------------


def one_round(lab: Peer, reader: Peer, name: str, changed: int, folder: Path) -> Took:
    """Publish `folder` as the next revision of `name`, pull it, and drop it again."""
    reference, commit = lab.publish(folder, name)
    pids = lab.node.pid, reader.node.pid
    quiet(*pids)
    os.sync()
    cpu, wire = sum(map(cpu_seconds, pids)), carried()
    wall, done = reader.timed_pull(f"{reference}@{commit}")
    wire, cpu = carried() - wire, sum(map(cpu_seconds, pids)) - cpu
    peak, fetched = peak_mib(reader.node.pid), done["bytes_fetched"]
    for peer in (reader, lab):
        peer.remove(f"{reference}@{commit}")
    return Took(changed, wire, fetched, size_of(folder), wall, cpu, peak)


def measure(size: int, rounds: int, place: Path) -> list[Result]:
    make_shards(place / "model", size, tensor=size // SHARDS // TENSORS)
    write_rows(place / "text", size // SHARDS)
    took: dict[str, list[Took]] = {}
    with ExitStack() as running:
        lab = publisher(place, running)
        reader = Peer(Home(place / "reader"), running, lab.address)
        reader.meet()
        for name in ("model", "text"):
            reader.pull(lab.publish(place / name, name)[0])
        for number in range(rounds):
            for what, (name, change) in CHANGES.items():
                folder = place / "next"
                shutil.copytree(place / name, folder)
                changed = change(folder, number)
                took.setdefault(what, []).append(one_round(lab, reader, name, changed, folder))
                shutil.rmtree(folder)
    return [line(what, each) for what, each in took.items()]


def line(what: str, took: Sequence[Took]) -> Result:
    def middle(attribute: str) -> float:
        return median([getattr(each, attribute) for each in took])

    changed, size = middle("changed") / MIB, middle("size") / MIB
    return Result(
        benchmark="T4",
        what=f"{size:.0f} MiB, {what} changed: on the wire",
        value=middle("wire") / MIB,
        baseline=changed,
        unit="MiB",
        budget=CHANGED_BUDGET * changed + SIZE_BUDGET * size,
        relative=False,
        rounds=len(took),
        note=f"fetched {middle('fetched') / MIB:.2f} MiB; {middle('wall'):.2f} s,"
        f" {middle('cpu'):.2f} CPU s, {middle('peak'):.0f} MiB held",
    )


if __name__ == "__main__":
    own_network()
    run(__doc__, measure)
