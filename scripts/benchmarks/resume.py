"""T7: a node is killed in the middle of a pull, and the next one goes on.

In every round a fresh node pulls a model from a source that is held to some speed. It gets SIGKILL
at a random moment, is started again and pulls to the end. What loopback carried in both halves is
counted by the kernel; the baseline is what it carries in a pull that nobody disturbs, so that TLS
and headers do not count. The rest was fetched twice.
"""

import os
import random
import tempfile
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from loopback import Home
from measure import Result, cpu_seconds, median, peak_mib, run
from peer import Peer, publisher, quiet
from weights import MIB, make_shards, size_of
from wire import carried, own_network

from p2phub.errors import P2PHubError

CONNECTIONS = 2
AGAIN_BUDGET = 8.0
"""MiB a connection that may be fetched twice."""
EARLIEST, LATEST = 0.1, 0.9
"""When the kill comes, as a share of the time a pull takes."""
SECONDS = 3.0
"""How long a pull takes at the speed that the source is held to."""


@dataclass(frozen=True, slots=True)
class Took:
    """Bytes that the wire carried; of these, before the kill; seconds and CPU seconds of the node
    since it was started (again), the most MiB it held."""

    wire: int
    before: int
    wall: float
    cpu: float
    peak: float


def started(home: Home, lab: Peer, running: ExitStack) -> Peer:
    reader = Peer(home, running, lab.address, swarm_connections=str(CONNECTIONS))
    reader.meet()
    quiet(reader.node.pid, lab.node.pid)
    return reader


def to_the_end(home: Home, lab: Peer, reference: str, before: int = 0) -> Took:
    with ExitStack() as running:
        reader = started(home, lab, running)
        wire = carried()
        wall, _ = reader.timed_pull(reference)
        wire = carried() - wire
        pid = reader.node.pid
        return Took(wire + before, before, wall, cpu_seconds(pid), peak_mib(pid))


def killed_after(seconds: float, home: Home, lab: Peer, reference: str) -> int:
    """Bytes that the wire carried until the node was killed, `seconds` into its pull."""
    with ExitStack() as running:
        reader = started(home, lab, running)
        wire = carried()
        death = threading.Timer(seconds, reader.kill)
        death.start()
        try:
            reader.pull(reference)
        except P2PHubError:  # as it must: the node that answers is gone
            pass
        else:
            raise AssertionError("the pull ended before the node was killed")
        finally:
            death.join()
        return carried() - wire


def measure(size: int, rounds: int, place: Path) -> list[Result]:
    model = place / "model"
    make_shards(model, size)
    chance = random.Random(os.urandom(16))
    whole, again = [], []
    with ExitStack() as running:
        lab = publisher(place, running, swarm_up=str(int(size / SECONDS)))
        reference, _ = lab.publish(model, "model")
        for _ in range(rounds):
            with tempfile.TemporaryDirectory(dir=place) as fresh:
                whole.append(to_the_end(Home(Path(fresh) / "whole"), lab, reference))
                home = Home(Path(fresh) / "killed")
                moment = chance.uniform(EARLIEST, LATEST) * whole[-1].wall
                before = killed_after(moment, home, lab, reference)
                again.append(to_the_end(home, lab, reference, before))
    return [line(whole, again, size_of(model))]


def line(whole: list[Took], again: list[Took], size: int) -> Result:
    undisturbed = median([each.wire for each in whole])
    twice = [(each.wire - undisturbed) / MIB / CONNECTIONS for each in again]
    moments = ", ".join(f"{each.before / size:.0%}" for each in again)
    cpu, peak = median([each.cpu for each in again]), median([each.peak for each in again])
    return Result(
        benchmark="T7",
        what=f"{size / MIB:.0f} MiB, kill -9: again, a connection",
        value=max(twice),
        baseline=median(twice),
        unit="MiB",
        budget=AGAIN_BUDGET,
        relative=False,
        rounds=len(again),
        note=f"the worst; baseline: the median; killed at {moments}; then {cpu:.2f} CPU s,"
        f" {peak:.0f} MiB; undisturbed it carries {undisturbed / MIB:.1f} MiB",
    )


if __name__ == "__main__":
    own_network()
    run(__doc__, measure, size=512, rounds=9)
