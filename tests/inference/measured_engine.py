"""A process that loads a pickled `ModelSpec`, runs it, and prints the private memory it holds.

What it prints: bytes of memory that is its own, what the engine says of itself, and the most that
was seen of its own memory while it loaded.
"""

import gc
import json
import os
import pickle
import sys
import threading
from importlib import import_module
from pathlib import Path
from typing import Any


def private() -> int:
    """Bytes that nobody else has."""
    told = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in told if line.startswith("Private_Dirty")) << 10


class Peak:
    """The most private memory while a block runs."""

    def __init__(self) -> None:
        self.bytes = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        while not self._over.wait(0.01):
            self.bytes = max(self.bytes, private())

    def __enter__(self) -> "Peak":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


class Sink:
    """Waits for the end of an answer."""

    def __init__(self) -> None:
        self.over = threading.Event()

    def piece(self, piece: Any) -> None: ...

    def finished(self, end: Any) -> None:
        self.over.set()

    def failed(self, error: Exception) -> None:
        print(error, flush=True)
        os._exit(1)


def main() -> None:
    spec = pickle.loads(Path(sys.argv[1]).read_bytes())
    module = import_module("p2phub.inference.worker.main").backend_of(spec)
    from p2phub.inference.requests import Embed, Generate, Sampling
    from p2phub.inference.worker.weights import Weights

    with Peak() as peak, Weights(spec) as weights:
        loaded = import_module(f"p2phub.inference.worker.{module}").load(
            spec, weights, lambda *told: None
        )
    if spec.task == "feature-extraction":
        loaded.embed(Embed(("word " * 600,) * 8, truncate=True))
    else:
        info = loaded.info
        prompt = tuple(range(5, 5 + min(300, info.context - 20)))
        sinks = [Sink() for _ in range(info.slots)]
        for sink in sinks:
            loaded.generate(Generate(prompt, Sampling(max_tokens=8, temperature=0)), sink)
        for sink in sinks:
            assert sink.over.wait(200)
    gc.collect()
    info = loaded.info
    said = [info.weight_bytes, info.cache_bytes, info.context, info.slots]
    print(json.dumps([private(), *said, peak.bytes]))
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
