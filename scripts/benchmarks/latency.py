"""G3: how long a token takes while this node seeds to four peers, beside when it does not.

A node serves a model (the shape of SmolLM2-135M, random weights, one thread) to one client that
streams. The cases take turns: nothing else goes on; four peers fetch from this node; four peers
fetch the same from another node that has no model, and so yields to nobody; this node checks what
it has, and publishes, again and again; and the other one does. The peers are limited to 20 MB a
second each, run at the lowest priority, and fetch a release each, so that they have nothing to give
each other. What is compared are the gaps between tokens, as the client sees them.

The processor time that peers take for checking and writing is theirs; the third case tells what
they do to the model where nobody holds back.
"""

import argparse
import http.client
import json
import os
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from loopback import Home, wait_for
from measure import Result, cpu_seconds, median, show
from peer import Peer, publisher
from seeding import one_file
from serving import BIG, TINY, model_for, prompts_of
from weights import MIB

BUDGET = 1.1
"""Of the latency when nothing else goes on."""
PEERS, EACH = 4, "20 MB"
TOKENS = 160
SETTLE = 0.5
"""Seconds of fetching before the request comes."""
LATE = 0.95
LOWEST = 19
CASES = {
    "idle": "",
    "seeding": f"seeding to {PEERS} peers",
    "others seed": f"others seed to {PEERS} peers",
    "hashing": "verifying and publishing",
    "others hash": "others verify and publish",
}
OF_OTHERS = ("others seed", "others hash")


@dataclass(frozen=True, slots=True)
class Gaps:
    """Milliseconds between tokens, and MB a second that the node sent or hashed meanwhile, CPU
    seconds of it beside one second."""

    middle: float
    late: float
    done: float
    cpu: float


def gaps_of(gateway: str, model: str, seed: int) -> list[float]:
    """Seconds between the tokens of one answer, without those before the first."""
    host = gateway.removeprefix("http://")
    (prompt,) = prompts_of(1, seed)
    body = {"model": model, "prompt": prompt, "max_tokens": TOKENS, "temperature": 0}
    with closing(http.client.HTTPConnection(host, timeout=300)) as connection:
        connection.request("POST", "/v1/completions", json.dumps(body | {"stream": True}))
        answer = connection.getresponse()
        if answer.status != 200:
            raise AssertionError(answer.read())
        came = [time.perf_counter() for line in answer if line.startswith(b"data: ")]
    return [after - before for before, after in pairwise(came)]


def late_of(gaps: list[float]) -> float:
    return sorted(gaps)[int(LATE * len(gaps))]


def bring_to_lowest(pid: int) -> None:
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.setpriority(os.PRIO_PROCESS, int(thread.name), LOWEST)


class Fetching:
    """One peer that fetches until it is told to stop."""

    def __init__(self, peer: Peer, reference: str) -> None:
        self._events = peer.pulling(reference)
        self.bytes = 0
        self.done = False
        self._stop = False
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with closing(self._events) as events:
            for event in events:
                self.bytes = event.get("bytes_done", self.bytes)
                self.done = event.get("event") == "done"
                if self._stop:
                    return

    def stop(self) -> None:
        self._stop = True
        self._thread.join()


class Hashing:
    """One node that publishes a file and verifies it until it is told to stop."""

    def __init__(self, peer: Peer, folder: Path, name: str, size: int) -> None:
        self._peer, self._folder, self._name, self._size = peer, folder, name, size
        self.bytes = 0
        self._stop = False
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop:
            reference, _ = self._peer.publish(self._folder, self._name)
            self.bytes += self._size
            self._peer.verify(reference)
            self.bytes += self._size
            self._peer.remove(reference)

    def stop(self) -> None:
        self._stop = True
        self._thread.join()


class Scene:
    """The node with the model, the other one, and the peers."""

    def __init__(self, place: Path, mebibytes: int, size: int, running: ExitStack) -> None:
        self._place, self._size, self._files = place, size, 0
        chosen = {"inference_threads": "1", "inference_device": "cpu"}
        self.lab = publisher(place, running, "lab", **chosen)
        self.other = publisher(place, running, "other")
        folder = model_for("transformers", mebibytes, place)
        assert folder is not None
        self.model, _ = self.lab.publish(folder, "model")
        self.peers = []
        for number in range(PEERS):
            known = f"{self.lab.address},{self.other.address}"
            peer = Peer(Home(place / f"peer-{number}"), running, known, swarm_down=EACH)
            peer.meet(2)
            bring_to_lowest(peer.node.pid)
            self.peers.append(peer)
        gaps_of(self.lab.node.gateway, self.model, 1)
        gaps_of(self.lab.node.gateway, self.model, 2)

    def measured(self, case: str, seed: int) -> Gaps:
        if case == "idle":
            return self._gaps(self.lab, seed, [])
        source = self.other if case in OF_OTHERS else self.lab
        return (self._hashing if "hash" in case else self._seeding)(source, seed)

    def _hashing(self, source: Peer, seed: int) -> Gaps:
        self._files += 1
        with tempfile.TemporaryDirectory(dir=self._place) as fresh, ExitStack() as running:
            folder = Path(fresh) / "data"
            one_file(folder, self._size)
            made = Hashing(source, folder, f"data-{self._files}", self._size)
            running.callback(made.stop)
            time.sleep(2 * SETTLE)
            return self._gaps(source, seed, [made])

    def _seeding(self, source: Peer, seed: int) -> Gaps:
        with tempfile.TemporaryDirectory(dir=self._place) as fresh, ExitStack() as pulls:
            references = [self._published(source, Path(fresh)) for _ in self.peers]
            time.sleep(SETTLE)
            each = [
                pulls.enter_context(fetching(peer, reference))
                for peer, reference in zip(self.peers, references, strict=True)
            ]
            wait_for("bytes at every peer", lambda: all(one.bytes or one.done for one in each))
            time.sleep(SETTLE)
            gaps = self._gaps(source, seed, each)
        for peer, reference in zip(self.peers, references, strict=True):
            peer.forget(reference)
            source.remove(reference)
        return gaps

    def _published(self, source: Peer, folder: Path) -> str:
        self._files += 1
        one_file(folder / f"data-{self._files}", self._size)
        reference, _ = source.publish(folder / f"data-{self._files}", f"data-{self._files}")
        return reference

    def _gaps(self, source: Peer, seed: int, works: Sequence[Fetching | Hashing]) -> Gaps:
        pid, started = source.node.pid, time.perf_counter()
        before, done = cpu_seconds(pid), sum(each.bytes for each in works)
        gaps = gaps_of(self.lab.node.gateway, self.model, seed)
        wall = time.perf_counter() - started
        done = sum(each.bytes for each in works) - done
        cpu = (cpu_seconds(pid) - before) / wall
        return Gaps(1e3 * median(gaps), 1e3 * late_of(gaps), done / wall / 1e6, cpu)


@contextmanager
def fetching(peer: Peer, reference: str) -> Iterator[Fetching]:
    made = Fetching(peer, reference)
    try:
        yield made
    finally:
        made.stop()


def measure(mebibytes: int, size: int, rounds: int, place: Path) -> list[Result]:
    taken: dict[str, list[Gaps]] = {case: [] for case in CASES}
    with ExitStack() as running:
        scene = Scene(place, mebibytes, size, running)
        for at in range(rounds):
            for step in range(len(CASES)):
                case = tuple(CASES)[(at + step) % len(CASES)]
                taken[case].append(scene.measured(case, 10 * at + step))
    return [line(case, kind, taken) for case in CASES if case != "idle" for kind in ("p50", "p95")]


def line(case: str, kind: str, taken: dict[str, list[Gaps]]) -> Result:
    def of(name: str) -> float:
        return median([each.middle if kind == "p50" else each.late for each in taken[name]])

    done, cpu = (median([getattr(each, name) for each in taken[case]]) for name in ("done", "cpu"))
    return Result(
        benchmark="G3",
        what=f"a token, {CASES[case]}: {kind}",
        value=of(case),
        baseline=of("idle"),
        unit="ms",
        budget=BUDGET if case == "seeding" and kind == "p95" else None,
        relative=True,
        rounds=len(taken[case]),
        note=f"{done:.1f} MB/s meanwhile, with {cpu:.2f} of a core",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="few bytes: does it run?")
    parser.add_argument("--size", type=int, default=256, help="MiB for each peer")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    asked = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    mebibytes, size, rounds = (TINY, 16, 1) if asked.small else (BIG, asked.size, asked.rounds)
    with tempfile.TemporaryDirectory(prefix="p2phub-bench-", dir=".bench") as folder:
        show(measure(mebibytes, size * MIB, rounds, Path(folder).absolute()), asked.json)


if __name__ == "__main__":
    main()
