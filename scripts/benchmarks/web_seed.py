"""Web seeds: everything from nginx alone, as the tools of the web bring it from there.

A node that has the documents of a release and not one file of it any more; nginx with the folder,
plain HTTP by sendfile; a fresh node in every round, whose node.toml names nginx as a web seed. In
the same rounds and on the same file system, from an nginx of their own: curl and aria2c with BLAKE3
of every file, where they are installed. CPU is that of all who take part. Nothing is encrypted.
"""

import os
import shutil
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import web
from loopback import FailedError, Home
from measure import Result, cpu_seconds, median, peak_mib, run
from peer import Peer, publisher, quiet
from rivals import Field, Rival, Served, Spent, serving
from weights import MIB, make_shards, size_of


def emptied(place: Path, folder: Path) -> str:
    """A home in `place/lab` that has published `folder` and then lost its files; the reference."""
    with ExitStack() as running:
        lab = publisher(place, running)
        reference, _ = lab.publish(folder, "shards")
    largest = max(path.stat().st_size for path in folder.iterdir())
    lost = [
        path
        for path in (place / "lab" / "store").rglob("*")
        if path.is_file() and not path.is_symlink() and path.stat().st_size == largest
    ]
    for path in lost:
        path.unlink()
    if not lost:
        raise FailedError("the publisher has no files that could be taken away")
    return reference


def pulled(lab: Peer, nginx: Served, reference: str, home: Home) -> Spent:
    """What it costs that a node which has never met `lab` brings everything from nginx."""
    seed = f"http://127.0.0.1:{nginx.port}/{{path}}"
    with ExitStack() as running:
        reader = Peer(home, running, lab.address, swarm_web_seeds=seed)
        reader.meet()
        pids = (reader.node.pid, lab.node.pid, nginx.pid)
        quiet(*pids)
        os.sync()
        before = sum(map(cpu_seconds, pids))
        wall, done = reader.timed_pull(reference)
        spent = sum(map(cpu_seconds, pids)) - before
        from_nginx = sum(
            share["bytes"] for share in done["shares"] if share["name"].endswith(nginx.port)
        )
        if from_nginx < 0.99 * done["bytes_total"]:
            raise FailedError(f"only {from_nginx} bytes came from nginx")
        return Spent(wall, spent, peak_mib(reader.node.pid))


def measure(size: int, rounds: int, place: Path) -> list[Result]:
    if shutil.which("nginx") is None:
        print("bench: no web seed is measured: no nginx here", file=sys.stderr)
        return []
    folder = place / "shards"
    make_shards(folder, size)
    reference, names = emptied(place, folder), tuple(web.digests_of(folder))
    rivals = [
        Rival(
            f"nginx + {tool} + BLAKE3",
            "web",
            serve=(str(folder),),
            fetch=(tool, *names),
            tools=(tool,),
        )
        for tool in ("curl", "aria2c")
    ]
    ours: list[Spent] = []
    theirs: dict[str, list[Spent]] = {}
    with ExitStack() as running:
        nginx = running.enter_context(serving("web", str(folder)))
        lab = Peer(Home(place / "lab"), running)
        field = Field(rivals, running)
        for _ in range(rounds):
            with tempfile.TemporaryDirectory(dir=place) as target:
                ours.append(pulled(lab, nginx, reference, Home(Path(target) / "p2phub")))
                for name, spent in field.round(Path(target)).items():
                    theirs.setdefault(name, []).append(spent)
    return lines(ours, theirs, size_of(folder))


def lines(ours: list[Spent], theirs: dict[str, list[Spent]], size: int) -> list[Result]:
    what, found = f"{round(size / MIB)} MiB from a web server", []
    for name, spent in theirs.items():
        for label, attribute in (("wall", "wall"), ("CPU, all sides", "cpu")):
            mine, other = (
                median([getattr(each, attribute) for each in side]) for side in (ours, spent)
            )
            note = f"against {name}; {ours[-1].peak:.0f} MiB"
            found.append(
                Result("web", f"{what}: {label}", mine, other, "s", None, True, len(ours), note)
            )
    return found


if __name__ == "__main__":
    run(__doc__, measure)
