"""How benchmarks measure and report: CPU and memory of a process, medians, one line a result."""

import argparse
import json
import os
import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Result:
    """One measured thing beside its baseline, both medians over the same interleaved rounds."""

    benchmark: str
    """The line of the budgets, such as T6."""
    what: str
    value: float
    baseline: float
    unit: str
    budget: float | None
    """The most `value` may be: a multiple of the baseline if `relative`, else in `unit`. None: the
    two are only compared."""
    relative: bool
    rounds: int
    note: str = ""

    @property
    def ratio(self) -> float:
        return self.value / self.baseline if self.baseline else 0.0

    @property
    def within(self) -> bool:
        measured = self.ratio if self.relative else self.value
        return self.budget is None or measured <= self.budget


def show(results: Sequence[Result], as_json: bool) -> None:
    """Print each result: as one JSON object a line, or for people.

    The objects also go to the end of the file that `BENCH_RESULTS` names, for the plot.
    """
    kept = os.environ.get("BENCH_RESULTS")
    for each in results:
        line = json.dumps(asdict(each) | {"ratio": each.ratio, "within": each.within})
        print(line if as_json else _for_people(each), flush=True)
        if kept:
            with Path(kept).open("a") as file:
                file.write(line + "\n")


def _for_people(each: Result) -> str:
    unit = "×" if each.relative else each.unit
    budget = "none" if each.budget is None else f"{each.budget:.4g} {unit}"
    verdict = "" if each.budget is None else "ok" if each.within else "OVER"
    return (
        f"{each.benchmark:3} {each.what:<44} {each.value:9.3f} {each.unit:<6}"
        f" baseline {each.baseline:9.3f}  {each.ratio:6.2f} ×  budget {budget:<9}"
        f" {verdict:<4}  {each.note}"
    ).rstrip()


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def cpu_seconds(pid: int) -> float:
    """User and system CPU seconds a process has used so far, all its threads together."""
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / TICK


def resident_mib(pid: int) -> float:
    """MiB of memory a process holds now."""
    return _memory(pid, "VmRSS:")


def peak_mib(pid: int) -> float:
    """MiB of memory a process has held at most."""
    return _memory(pid, "VmHWM:")


def _memory(pid: int, what: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(what):
            return int(line.split()[1]) / 1024
    raise ProcessLookupError(pid)


def wall_of(command: Sequence[str]) -> float:
    """Wall seconds a command takes, from start to exit."""
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def cpu_of(work: Callable[[], object]) -> float:
    """CPU seconds this process spends on `work`, all threads together."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    work()
    after = resource.getrusage(resource.RUSAGE_SELF)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def run(
    description: str | None,
    measure: Callable[[int, int, Path], list[Result]],
    *,
    size: int = 1024,
    rounds: int = 5,
) -> None:
    """The command line of a benchmark: show what `measure(bytes, rounds, scratch folder)` finds."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--small", action="store_true", help="few bytes: does it run?")
    parser.add_argument("--size", type=int, default=size, help="MiB")
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    asked = parser.parse_args()
    mebibytes, times = (32, 1) if asked.small else (asked.size, asked.rounds)
    with tempfile.TemporaryDirectory(prefix="p2phub-bench-", dir=".bench") as place:
        show(measure(mebibytes << 20, times, Path(place).absolute()), asked.json)
