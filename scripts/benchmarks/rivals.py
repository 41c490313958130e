"""The other tools on the same bytes: which are installed, and what one transfer by them costs.

Each is a program of this folder with two verbs, run with scripts/ on PYTHONPATH. `serve WORDS`
prints its port when it is ready and runs until it is killed; `fetch PORT FOLDER WORDS` brings
everything into a folder, verified where the tool itself does not do that, with an fsync of every
file, and prints what it took as JSON.
A tool that is absent is named in one line on standard error, and is left out.
"""

import ctypes
import importlib.util
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from loopback import FailedError
from measure import cpu_seconds, peak_mib

HERE = Path(__file__).parent
FEW = 8
"""Files that are fsynced one by one."""
CHANCE = random.Random(0)
LATEST = 600
"""Seconds after which a transfer is given up."""


@dataclass(frozen=True, slots=True)
class Spent:
    """What one transfer cost: seconds, CPU seconds of both ends, MiB that the receiver held."""

    wall: float
    cpu: float
    peak: float
    later: float = 0.0
    """CPU seconds that the receiver spent afterwards, in the background."""


Run = Callable[[Path], Spent]
"""One transfer into a folder that does not exist yet."""


@dataclass(frozen=True, slots=True)
class Rival:
    """A tool to compare with."""

    name: str
    """As people know it."""
    program: str
    serve: tuple[str, ...] = ()
    """Words after the verb."""
    fetch: tuple[str, ...] = ()
    """Words after port and folder."""
    wall: float | None = None
    """The most that p2phub may take, as a multiple. None: the two are only compared."""
    cpu: float | None = None
    modules: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()

    @property
    def absent(self) -> list[str]:
        """What of it is not installed."""
        modules = [each for each in self.modules if importlib.util.find_spec(each) is None]
        return modules + [each for each in self.tools if shutil.which(each) is None]


def present(rivals: Sequence[Rival]) -> list[Rival]:
    """Those that can run here; the others are named on standard error."""
    for rival in rivals:
        if rival.absent:
            missing = " and ".join(rival.absent)
            print(f"bench: not compared with {rival.name}: no {missing} here", file=sys.stderr)
    return [rival for rival in rivals if not rival.absent]


# --- from the side of a benchmark -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Served:
    """The serving process of a rival."""

    pid: int
    port: str


@contextmanager
def serving(program: str, *words: str) -> Iterator[Served]:
    """`program serve WORDS` runs inside the block."""
    process = subprocess.Popen(command(program, "serve", *words), stdout=subprocess.PIPE, text=True)
    try:
        port = process.stdout.readline().strip()
        if not port:
            raise FailedError(f"{program}.py serve ended before it was ready")
        yield Served(process.pid, port)
    finally:
        process.kill()
        process.wait()


def fetched(program: str, server: Served, target: Path, *words: str) -> Spent:
    """What it costs to bring everything from `server` into the new folder `target`."""
    target.mkdir()
    os.sync()
    before = cpu_seconds(server.pid)
    fetching = command(program, "fetch", server.port, str(target), *words)
    told = json.loads(subprocess.check_output(fetching, timeout=LATEST))
    served = cpu_seconds(server.pid) - before
    return Spent(told["wall"], told["cpu"] + served, told["peak"])


def command(program: str, *words: str) -> list[str]:
    return [sys.executable, str(HERE / f"{program}.py"), *words]


class Field:
    """The rivals of one benchmark, each with its server running."""

    def __init__(self, rivals: Sequence[Rival], running: ExitStack) -> None:
        self.rivals = present(rivals)
        self._servers = {
            rival.name: running.enter_context(serving(rival.program, *rival.serve))
            for rival in self.rivals
        }

    def round(self, place: Path) -> dict[str, Spent]:
        """Each of them once, each into a folder of its own below `place`."""
        return in_turn(self.runs, place)

    @property
    def runs(self) -> dict[str, Run]:
        """What each of them does in a round."""
        return {rival.name: partial(self._run, rival) for rival in self.rivals}

    def _run(self, rival: Rival, target: Path) -> Spent:
        return fetched(rival.program, self._servers[rival.name], target, *rival.fetch)


def in_turn(runs: dict[str, Run], place: Path, chance: random.Random = CHANCE) -> dict[str, Spent]:
    """Each of them once, into a folder that is removed before the next, in an order left to chance.

    Whoever comes after large files were removed gets their memory, and the work that the disk still
    has with them: nobody is to come after the same one in every round.
    """
    took = {}
    for name in chance.sample(list(runs), len(runs)):
        with tempfile.TemporaryDirectory(dir=place) as target:
            took[name] = runs[name](Path(target) / "new")
    return took


# --- from the side of a rival ---------------------------------------------------------------------


def tell(work: Callable[[], object]) -> None:
    """Do the work of `fetch`, and print what it took. Programs it runs count too."""
    started, before = time.perf_counter(), _cpu()
    work()
    wall, cpu = time.perf_counter() - started, _cpu() - before
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    peak = max(peak_mib(os.getpid()), children)
    print(json.dumps({"wall": wall, "cpu": cpu, "peak": peak}), flush=True)


def _cpu() -> float:
    spent = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in spent)


def make_durable(folder: Path) -> None:
    """fsync every file below `folder`, or the file system if there are many, as p2phub does."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    if len(files) > FEW:
        sync_file_system(folder)
        return
    for path in files:
        fd = os.open(path, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)


def sync_file_system(folder: Path) -> None:
    """Return when everything on the file system of `folder` is on the disk."""
    fd = os.open(folder, os.O_RDONLY)
    if ctypes.CDLL(None).syncfs(fd):
        raise OSError(f"cannot sync the file system of {folder}")
    os.close(fd)
