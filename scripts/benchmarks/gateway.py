"""W1: a large file through the gateway's `resolve`, beside nginx with sendfile.

Both have the file on the same disk and send it over loopback to curl, which throws it away: all of
it, a range of all of it, and to four at once. The cases take turns within a round, and who begins
takes turns between rounds. What the budget says of speed is said of time here. CPU is the server's.
"""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from measure import Result, cpu_seconds, median, peak_mib, run
from peer import publisher, quiet
from rivals import serving
from seeding import one_file
from weights import MIB

from p2phub.client.running import find_running

BUDGET = 1 / 0.8
"""Of nginx's time."""
FILE = "large.dat"
AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Spent:
    """Seconds of one download, or of several at once, and CPU seconds of the server."""

    wall: float
    cpu: float


def fetched(url: str, pid: int, size: int, *, clients: int = 1, ranged: bool = False) -> Spent:
    """Get a file with curl, so many times at once."""
    words = ["curl", "--silent", "--fail", "--noproxy", "*", "--output", "/dev/null"]
    words += ["--range", f"0-{size - 1}"] if ranged else []
    before, started = cpu_seconds(pid), time.perf_counter()
    running = [subprocess.Popen([*words, url]) for _ in range(clients)]
    if any(each.wait() for each in running):
        raise AssertionError(f"curl did not get {url}")
    wall = time.perf_counter() - started
    return Spent(wall, cpu_seconds(pid) - before)


CASES: dict[str, Callable[[str, int, int], Spent]] = {
    "whole": fetched,
    "by Range": lambda url, pid, size: fetched(url, pid, size, ranged=True),
    f"to {AT_ONCE} at once": lambda url, pid, size: fetched(url, pid, size, clients=AT_ONCE),
}


def measure(size: int, rounds: int, place: Path) -> list[Result]:
    for tool in ("nginx", "curl"):
        if shutil.which(tool) is None:
            print(f"bench: the gateway is not measured: no {tool} here", file=sys.stderr)
            return []
    folder = place / "large"
    one_file(folder, size)
    spent: dict[tuple[str, str], list[Spent]] = {}
    with ExitStack() as running:
        lab = publisher(place, running)
        reference, _ = lab.publish(folder, "large")
        found = find_running(lab.home.folder)
        assert found is not None
        nginx = running.enter_context(serving("web", str(folder)))
        servers = {
            "ours": (f"{found.url}/{reference}/resolve/main/{FILE}", lab.node.pid),
            "nginx": (f"http://127.0.0.1:{nginx.port}/{FILE}", nginx.pid),
        }
        quiet(*(pid for _, pid in servers.values()))
        for number in range(rounds + 1):  # the first one warms the page cache
            order = list(servers) if number % 2 else list(reversed(servers))
            for case, fetch in CASES.items():
                for name in order:
                    spent.setdefault((case, name), []).append(fetch(*servers[name], size))
        peak = peak_mib(lab.node.pid)
    return [line for case in CASES for line in lines(case, spent, size, peak)]


def lines(
    case: str, spent: dict[tuple[str, str], list[Spent]], size: int, peak: float
) -> list[Result]:
    what, found = f"{round(size / MIB)} MiB {case}", []
    ours, nginx = (spent[case, name][1:] for name in ("ours", "nginx"))
    for label, attribute in (("wall", "wall"), ("CPU of the server", "cpu")):
        mine, theirs = (
            median([getattr(each, attribute) for each in side]) for side in (ours, nginx)
        )
        budget = BUDGET if label == "wall" else None
        note = f"{size / MIB / mine:.0f} MiB/s; {peak:.0f} MiB" if label == "wall" else ""
        found.append(
            Result("W1", f"{what}: {label}", mine, theirs, "s", budget, True, len(ours), note)
        )
    return found


if __name__ == "__main__":
    run(__doc__, measure)
