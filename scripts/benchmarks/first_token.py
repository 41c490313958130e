"""G2: the first token from an empty disk, beside the download alone and the load alone.

Two nodes on loopback: one publishes a model in shards, at a rate that is capped, so that there is a
download to speak of; the other has never met it. In every round, in an order that changes:

 * download: an empty node pulls the model;
 * load: that node, with everything on its disk and no worker, loads it and answers with one token;
 * together: another empty node is asked to load it, fetches it meanwhile, and answers with one.

What the first token takes beyond the download is the third less the first. The budget is a fifth
of the second, where nothing is compiled. CPU is that of the reading node and its worker.

The model has random weights and the shape of SmolLM2-135M, in bfloat16 (with --small: a tiny one);
--model names a folder with another. --rate, in MB/s, is the cap. One thread computes.

`scripts/bench first_token` runs it.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from loopback import Home
from measure import Result, cpu_seconds, median, show
from peer import Peer, publisher, quiet
from weights import size_of

MORE = 0.2
"""Of the load, beyond the download."""
RATE, SMALL_RATE = 12, 1
"""MB/s: a line of 100 Mbit/s."""
SHARDS = 3
CHOSEN = {"inference_threads": "1", "inference_device": "cpu"}
ASKED = {"prompt": "word1 word2", "max_tokens": 1, "temperature": 0}


@dataclass(frozen=True, slots=True)
class Took:
    """Seconds, and CPU seconds of who did it."""

    wall: float
    cpu: float


def write_model(folder: Path, *, small: bool) -> None:
    """A model with random weights, and a tokenizer."""
    from generating import BIG, make_model

    loaded = make_model(0 if small else BIG, "cpu", "bfloat16")
    size = sum(each.nbytes for each in loaded.model.state_dict().values())
    loaded.model.save_pretrained(folder, max_shard_size=size // SHARDS)
    loaded.tokenizer.save_pretrained(folder)


def measured(node: Peer, work: Callable[[], object]) -> Took:
    """What `work` costs in a node, and in the workers it has then."""
    quiet(node.node.pid)
    before, started = cpu_seconds(node.node.pid), time.perf_counter()
    work()
    wall = time.perf_counter() - started
    workers = sum(map(cpu_seconds, node.workers()))
    return Took(wall, cpu_seconds(node.node.pid) - before + workers)


def empty(place: Path, lab: Peer, running: ExitStack) -> Peer:
    reader = Peer(Home(place), running, lab.address, **CHOSEN)
    reader.meet()
    return reader


def token_of(node: Peer, reference: str) -> None:
    """Load a model, and let it answer with one token."""
    node.load(reference)
    said, _ = node.ask("/v1/completions", {"model": reference} | ASKED)
    if said["usage"]["completion_tokens"] != 1:
        raise AssertionError(f"one token was asked for: {json.dumps(said)}")


def apart(lab: Peer, reference: str, place: Path) -> dict[str, Took]:
    """The download, and then the load."""
    with ExitStack() as running:
        reader = empty(place, lab, running)
        return {
            "download": measured(reader, lambda: reader.pull(reference)),
            "load": measured(reader, lambda: token_of(reader, reference)),
        }


def together(lab: Peer, reference: str, place: Path) -> dict[str, Took]:
    with ExitStack() as running:
        reader = empty(place, lab, running)
        return {"together": measured(reader, lambda: token_of(reader, reference))}


def measure(folder: Path, rate: float, rounds: int, place: Path) -> list[Result]:
    taken: dict[str, list[Took]] = {}
    with ExitStack() as running:
        lab = publisher(place, running, swarm_up=f"{rate:g} MB")
        reference, _ = lab.publish(folder, "model")
        for at in range(rounds):
            for way in (apart, together) if at % 2 else (together, apart):
                with tempfile.TemporaryDirectory(dir=place) as fresh:
                    for name, took in way(lab, reference, Path(fresh) / "home").items():
                        taken.setdefault(name, []).append(took)
    what = f"{size_of(folder) / 1e6:.0f} MB at {rate:g} MB/s, beyond the download"
    return [result(f"{what}: {kind}", taken, kind) for kind in ("wall", "cpu")]


def result(what: str, taken: dict[str, list[Took]], kind: str) -> Result:
    seconds = {name: [getattr(each, kind) for each in took] for name, took in taken.items()}
    middle = {name: median(each) for name, each in seconds.items()}
    more = [
        whole - alone for whole, alone in zip(seconds["together"], seconds["download"], strict=True)
    ]
    return Result(
        benchmark="G2",
        what=what,
        value=median(more),
        baseline=middle["load"],
        unit="s",
        budget=MORE if kind == "wall" else None,
        relative=True,
        rounds=len(more),
        note=f"download {middle['download']:.2f}, load {middle['load']:.2f},"
        f" together {middle['together']:.2f}",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="a tiny model: does it run?")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rate", type=float, help="MB/s")
    parser.add_argument("--model", type=Path, help="a folder with another model")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    asked = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    rate = asked.rate or (SMALL_RATE if asked.small else RATE)
    with tempfile.TemporaryDirectory(prefix="p2phub-bench-", dir=".bench") as scratch:
        place = Path(scratch).absolute()
        folder = asked.model or place / "model"
        if asked.model is None:
            write_model(folder, small=asked.small)
        show(measure(folder, rate, 1 if asked.small else asked.rounds, place), asked.json)


if __name__ == "__main__":
    main()
