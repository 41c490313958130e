"""N1: what a node costs that does nothing, with 20 connections; and what starting costs.

An idle node is measured over several windows of some seconds: CPU as a share of one core, resident
memory. Its baseline is a process that has imported the same libraries and sleeps. `p2phub --help`
and `import p2phub` are measured against `python -c pass`, interleaved.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

from loopback import Home, wait_for
from measure import Result, cpu_seconds, median, resident_mib, show, wall_of

CPU_BUDGET, MEMORY_BUDGET = 2.0, 180.0
HELP_BUDGET, IMPORT_BUDGET = 0.200, 0.060
SLEEPER = (
    "import libp2p, trio, hypercorn, starlette; print('up', flush=True); "
    "trio.run(trio.sleep_forever)"
)


@contextmanager
def sleeping():
    """A process with the same libraries and nothing to do: its pid."""
    process = subprocess.Popen([sys.executable, "-c", SLEEPER], stdout=subprocess.PIPE)
    try:
        process.stdout.readline()
        yield process.pid
    finally:
        process.kill()
        process.wait()


def idle(folder: Path, peers: int, windows: int, seconds: float) -> list[Result]:
    with ExitStack() as running:
        home = Home(folder / "measured")
        home.type("init")
        node = running.enter_context(home.node())
        for number in range(peers):
            other = Home(folder / f"peer-{number}")
            running.enter_context(other.node(bootstrap=node.addresses[0]))
        wait_for(f"{peers} connections", lambda: home.type("status")["peers"] >= peers, seconds=120)
        baseline = running.enter_context(sleeping())
        time.sleep(seconds)
        cpu, cpu_baseline = [], []
        for _ in range(windows):
            before, before_baseline = cpu_seconds(node.pid), cpu_seconds(baseline)
            time.sleep(seconds)
            cpu.append(100 * (cpu_seconds(node.pid) - before) / seconds)
            cpu_baseline.append(100 * (cpu_seconds(baseline) - before_baseline) / seconds)
        memory, memory_baseline = resident_mib(node.pid), resident_mib(baseline)
    what = f"idle node, {peers} connections"
    note = f"windows of {seconds:g} s"
    return [
        Result(
            benchmark="N1",
            what=f"{what}: CPU",
            value=median(cpu),
            baseline=median(cpu_baseline),
            unit="% core",
            budget=CPU_BUDGET,
            relative=False,
            rounds=windows,
            note=note,
        ),
        Result(
            benchmark="N1",
            what=f"{what}: memory",
            value=memory,
            baseline=memory_baseline,
            unit="MiB",
            budget=MEMORY_BUDGET,
            relative=False,
            rounds=1,
        ),
    ]


def starting(rounds: int) -> list[Result]:
    commands = {
        "baseline": [sys.executable, "-c", "pass"],
        "p2phub --help": [sys.executable, "-m", "p2phub", "--help"],
        "import p2phub": [sys.executable, "-c", "import p2phub"],
    }
    walls: dict[str, list[float]] = {name: [] for name in commands}
    for command in commands.values():
        wall_of(command)
    for _ in range(rounds):
        for name, command in commands.items():
            walls[name].append(wall_of(command))
    budgets = {"p2phub --help": HELP_BUDGET, "import p2phub": IMPORT_BUDGET}
    return [
        Result(
            benchmark="N1",
            what=name,
            value=median(walls[name]),
            baseline=median(walls["baseline"]),
            unit="s",
            budget=budget,
            relative=False,
            rounds=rounds,
            note="against python -c pass",
        )
        for name, budget in budgets.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="few peers, short: does it run?")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    asked = parser.parse_args()
    peers, windows, seconds, rounds = (2, 2, 1.0, 2) if asked.small else (20, 7, 6.0, 9)
    show(starting(rounds), asked.json)
    with tempfile.TemporaryDirectory(prefix="p2phub-bench-", dir=".bench") as folder:
        show(idle(Path(folder), peers, windows, seconds), asked.json)


if __name__ == "__main__":
    main()
