"""T1: one source to one node, encrypted, verified by the signed table, committed with fsync.

The value: a real pull between two node processes, as a program asks for it: names looked up in the
DHT, heads and manifest checked, pieces over the data plane, blobs and snapshot durable. A fresh
node in every round, connected to the one that published. In the same rounds, in an order that
changes, and on the same file system: the baseline, a hundred lines of TLS and BLAKE3 (`plain_tls`),
and the tools that people would use instead, where they are installed. CPU is that of both ends
together; the SHA-256 of the whole files, which a node computes afterwards and in the background, is
reported apart.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import web
from loopback import Home
from measure import Result, cpu_seconds, median, peak_mib, show
from peer import Peer, publisher, quiet
from plain_tls import digests_of
from rivals import Field, Rival, Spent, in_turn
from weights import MIB, make_shards, size_of

from p2phub.network.libp2p_certificate import make_certificate

WALL_BUDGET, CPU_BUDGET = 1.15, 1.25
BASELINE = "TLS + BLAKE3 + fsync"


def rivals(folder: Path, shards: Sequence[Path], place: Path) -> list[Rival]:
    """Everything to compare with; what it needs lies in `place`."""
    certificate, digests = place / "certificate", place / "digests"
    certificate.write_bytes(b"".join(make_certificate(bytes(32))))
    digests.write_text(json.dumps([(each.stat().st_size, digests_of(each)) for each in shards]))
    torrent, secret = str(place / "torrent"), (str(place / "encrypted"), "encrypted")
    names = tuple(web.digests_of(folder))
    return [
        Rival(
            BASELINE,
            "plain_tls",
            serve=(str(certificate), *map(str, shards)),
            fetch=(str(digests),),
            wall=WALL_BUDGET,
            cpu=CPU_BUDGET,
        ),
        Rival(
            "libtorrent v1",
            "torrent",
            serve=(str(folder), torrent),
            fetch=(torrent,),
            wall=1.0,
            modules=("libtorrent",),
        ),
        Rival(
            "libtorrent v1, encrypted",
            "torrent",
            serve=(str(folder), *secret),
            fetch=secret,
            wall=1.0,
            modules=("libtorrent",),
        ),
        Rival(
            "huggingface_hub + SHA-256",
            "huggingface",
            serve=(str(folder),),
            wall=1.0,
            modules=("huggingface_hub",),
        ),
        Rival(
            "nginx + curl + BLAKE3",
            "web",
            serve=(str(folder),),
            fetch=("curl", *names),
            tools=("nginx", "curl"),
        ),
        Rival(
            "nginx + aria2c + BLAKE3",
            "web",
            serve=(str(folder),),
            fetch=("aria2c", *names),
            tools=("nginx", "aria2c"),
        ),
        Rival("cp, not verified", "copying", serve=(str(folder),), tools=("cp",)),
    ]


def pulled(lab: Peer, reference: str, home: Home) -> Spent:
    """What it costs that a node which has never met `lab` pulls everything."""
    with ExitStack() as running:
        reader = Peer(home, running, lab.address)
        reader.meet()
        quiet(reader.node.pid, lab.node.pid)
        os.sync()  # what was written before is not paid for now
        before, started = spent_by(reader, lab), time.perf_counter()
        reader.pull(reference)
        wall, after = time.perf_counter() - started, spent_by(reader, lab)
        peak = peak_mib(reader.node.pid)
        quiet(reader.node.pid)
        return Spent(wall, after - before, peak, later=spent_by(reader, lab) - after)


def spent_by(*peers: Peer) -> float:
    return sum(cpu_seconds(peer.node.pid) for peer in peers)


def measure(size: int, rounds: int, warm: int, place: Path) -> list[Result]:
    """`warm`: rounds that come before and do not count."""
    folder = place / "shards"
    shards = make_shards(folder, size)
    spent: dict[str, list[Spent]] = {}
    with ExitStack() as running:
        lab = publisher(place, running)
        reference, _ = lab.publish(folder, "shards")
        field = Field(rivals(folder, shards, place), running)
        runs = {"p2phub": lambda target: pulled(lab, reference, Home(target))} | field.runs
        for number in range(-warm, rounds):
            for name, each in in_turn(runs, place).items():
                if number >= 0:
                    spent.setdefault(name, []).append(each)
    return list(results(spent, field.rivals, size_of(folder), rounds))


def results(
    spent: dict[str, list[Spent]], rivals: Sequence[Rival], size: int, rounds: int
) -> Iterator[Result]:
    def middle(name: str, attribute: str) -> float:
        return median([getattr(each, attribute) for each in spent[name]])

    wall, cpu, later, peak = (middle("p2phub", name) for name in ("wall", "cpu", "later", "peak"))
    ours = f"{size / wall / 1e6:.0f} MB/s, {peak:.0f} MiB; SHA-256 afterwards {later:.2f} s"
    what = f"{round(size / MIB)} MiB, 1 source"
    for rival in rivals:
        theirs = f"against {rival.name} ({middle(rival.name, 'peak'):.0f} MiB)"
        walls = (wall, middle(rival.name, "wall"), "s", rival.wall, True, rounds)
        cpus = (cpu, middle(rival.name, "cpu"), "s", rival.cpu, True, rounds)
        note = f"{theirs}; {ours}" if rival.name == BASELINE else theirs
        yield Result("T1", f"{what}: wall", *walls, note)
        yield Result("T1", f"{what}: CPU, both ends", *cpus, theirs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="few bytes: does it run?")
    parser.add_argument("--size", type=int, default=1024, help="MiB")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    asked = parser.parse_args()
    size, rounds, warm = (32, 1, 0) if asked.small else (asked.size, asked.rounds, 1)
    with tempfile.TemporaryDirectory(prefix="p2phub-bench-", dir=".bench") as place:
        show(measure(size * MIB, rounds, warm, Path(place).absolute()), asked.json)


if __name__ == "__main__":
    main()
