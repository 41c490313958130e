"""T1: one source to one node, encrypted, verified by the signed table, committed with fsync.

The value: a real pull between two node processes, as a program asks for it: names looked up in the
DHT, heads and manifest checked, pieces over the data plane, blobs and snapshot durable. A fresh
node in every round, connected to the one that published. The baselines, in the same rounds and on
the same file system: a hundred lines of TLS and BLAKE3 (`plain_tls`), and libtorrent where it is
installed (`torrent`). CPU is that of both ends together; the SHA-256 of the whole files, which a
node computes afterwards and in the background, is reported apart.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from loopback import Home, Running, wait_for
from measure import Result, cpu_seconds, median, peak_mib, show
from plain_tls import digests_of

from p2phub import Hub
from p2phub.network.libp2p_certificate import make_certificate

MIB = 1 << 20
SHARDS = 4
TENSOR = 16 * MIB
HERE = Path(__file__).parent
WALL_BUDGET, CPU_BUDGET = 1.15, 1.25


@dataclass(frozen=True, slots=True)
class Spent:
    """What one transfer cost: seconds, CPU seconds of both ends, MiB that the receiver held."""

    wall: float
    cpu: float
    peak: float
    later: float = 0.0
    """CPU seconds that the receiver spent afterwards, in the background."""


def make_shard(path: Path, size: int) -> None:
    """A safetensors file of about `size` bytes, in tensors of at most 16 MiB."""
    each = min(size, TENSOR) // 4 * 4
    count = max(1, size // each)
    header = {
        f"layer.{number}.weight": {
            "dtype": "F32",
            "shape": [each // 4],
            "data_offsets": [number * each, (number + 1) * each],
        }
        for number in range(count)
    }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _ in range(count):
            file.write(os.urandom(each))


# --- p2phub -------------------------------------------------------------------------------------


class Lab:
    """A node that has published `folder` as lab/shards."""

    def __init__(self, home: Home, node: Running, folder: Path) -> None:
        self.node = node
        self._publisher = home.type("publish", str(folder), "shards")["publisher_id"]

    def pulled_by(self, home: Home) -> Spent:
        """What it costs that a node which has never met this one pulls everything."""
        with home.node(bootstrap=self.node.addresses[0]) as reader, Hub(home.folder) as hub:
            hub.trust_add("lab", self._publisher)
            wait_for("a connection", lambda: hub.status().peers > 0)
            quiet(reader.pid, self.node.pid)
            os.sync()  # what was written before is not paid for now
            before, started = self._cpu(reader), time.perf_counter()
            hub.pull("lab/shards")
            wall, after = time.perf_counter() - started, self._cpu(reader)
            peak = peak_mib(reader.pid)
            quiet(reader.pid)
            return Spent(wall, after - before, peak, later=self._cpu(reader) - after)

    def _cpu(self, reader: Running) -> float:
        return cpu_seconds(reader.pid) + cpu_seconds(self.node.pid)


def quiet(*pids: int) -> None:
    """Return once these processes do next to nothing."""
    while True:
        before = sum(map(cpu_seconds, pids))
        time.sleep(0.5)
        if sum(map(cpu_seconds, pids)) - before <= 0.05:
            return


# --- the baselines --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Served:
    """The serving process of a baseline."""

    pid: int
    port: str


@contextmanager
def serving(program: str, *words: str) -> Iterator[Served]:
    """`program serve WORDS` runs inside the block; it prints its port when it is ready."""
    process = subprocess.Popen(
        _command(program, "serve", *words), stdout=subprocess.PIPE, text=True
    )
    try:
        yield Served(process.pid, process.stdout.readline().strip())
    finally:
        process.kill()
        process.wait()


def fetched(program: str, server: Served, target: Path, wanted: Path) -> Spent:
    """What it costs to bring `wanted` from `server` into the new folder `target`."""
    target.mkdir()
    os.sync()
    before = cpu_seconds(server.pid)
    command = _command(program, "fetch", server.port, str(target), str(wanted))
    told = json.loads(subprocess.check_output(command))
    served = cpu_seconds(server.pid) - before
    return Spent(told["wall"], told["cpu"] + served, told["peak"])


def _command(program: str, *words: str) -> list[str]:
    return [sys.executable, str(HERE / f"{program}.py"), *words]


# --- the comparison -------------------------------------------------------------------------------


def measure(size: int, rounds: int, place: Path) -> list[Result]:
    folder = place / "shards"
    folder.mkdir()
    shards = [folder / f"shard-{number}.safetensors" for number in range(SHARDS)]
    for shard in shards:
        make_shard(shard, size // SHARDS)
    (folder / "README.md").write_text("Random bytes, to measure with.\n")
    certificate, digests, torrent = place / "certificate", place / "digests", place / "torrent"
    certificate.write_bytes(b"".join(make_certificate(bytes(32))))
    digests.write_text(json.dumps([(each.stat().st_size, digests_of(each)) for each in shards]))
    spent: dict[str, list[Spent]] = {}
    with ExitStack() as running:
        home = Home(place / "lab")
        home.type("init", "--backup", str(place / "backup"))
        lab = Lab(home, running.enter_context(home.node()), folder)
        server = running.enter_context(serving("plain_tls", str(certificate), *map(str, shards)))
        baselines = [("plain_tls", server, digests)]
        if importlib.util.find_spec("libtorrent"):
            server = running.enter_context(serving("torrent", str(folder), str(torrent)))
            baselines.append(("torrent", server, torrent))
        for number in range(rounds + 1):
            with tempfile.TemporaryDirectory(dir=place) as target:
                took = {"p2phub": lab.pulled_by(Home(Path(target) / "p2phub"))}
                for name, server, wanted in baselines:
                    took[name] = fetched(name, server, Path(target) / name, wanted)
            for name, each in took.items():
                if number:  # the first round warms the caches
                    spent.setdefault(name, []).append(each)
    return list(results(spent, sum(each.stat().st_size for each in shards), rounds))


def results(spent: dict[str, list[Spent]], size: int, rounds: int) -> Iterator[Result]:
    def middle(name: str, attribute: str) -> float:
        return median([getattr(each, attribute) for each in spent[name]])

    wall, cpu, later = (middle("p2phub", name) for name in ("wall", "cpu", "later"))
    memory = f"receiver at most {max(each.peak for each in spent['p2phub']):.0f} MiB"
    hashing = f"both ends; SHA-256 afterwards {later:.2f} s"
    what = f"{size // MIB} MiB, 1 source"
    plain, plain_cpu = middle("plain_tls", "wall"), middle("plain_tls", "cpu")
    speed = f"{size / wall / 1e6:.0f} MB/s; {memory}"
    yield Result("T1", f"{what}: wall", wall, plain, "s", WALL_BUDGET, True, rounds, speed)
    yield Result("T1", f"{what}: CPU", cpu, plain_cpu, "s", CPU_BUDGET, True, rounds, hashing)
    if "torrent" in spent:
        note = "against libtorrent v1, not encrypted"
        other, other_cpu = middle("torrent", "wall"), middle("torrent", "cpu")
        yield Result("T1", f"{what}: wall", wall, other, "s", 1.0, True, rounds, note)
        yield Result("T1", f"{what}: CPU", cpu, other_cpu, "s", 1.0, True, rounds, note)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="few bytes: does it run?")
    parser.add_argument("--size", type=int, default=1024, help="MiB")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    asked = parser.parse_args()
    size, rounds = (32, 2) if asked.small else (asked.size, asked.rounds)
    with tempfile.TemporaryDirectory(prefix="p2phub-bench-", dir=".bench") as place:
        show(measure(size * MIB, rounds, Path(place).absolute()), asked.json)


if __name__ == "__main__":
    main()
