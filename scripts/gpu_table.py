"""One table of what a machine with a GPU does: loading, first token, tokens a second.

Every row has its baseline, from the same run, and the two in turns: safetensors and BLAKE3 for
loading; for tokens the same model in transformers' continuous batching, called directly with the
same cache, and vLLM where there is its command. What CUDA graphs would bring is measured on
transformers alone, what compiling brings on ours. The model has random weights and the shape of a
Llama, so nothing has to be fetched. A first token is told twice: from a model that has just been
loaded (kernels are compiled then), and from one that has answered before.

`scripts/bench-gpu` runs it.
"""

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import generating
import loading
import torch
import transformers
import trio
from measure import median

from p2phub.inference.own_server import OwnServer, own_server
from p2phub.inference.requests import Finished, Generate, Sampling
from p2phub.inference.spec import ModelSpec, RunOptions
from p2phub.inference.worker import text
from p2phub.inference.worker.device import choose
from p2phub.inference.worker.text_backend import TextBackend
from p2phub.inference.worker.text_model import TextModel, load_model
from p2phub.inference.worker.weights import Weights

GREEDY = {"temperature": 0}
ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    what: str
    value: float
    unit: str
    baseline: float | None = None
    beside: str = ""
    """What the baseline is."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How large everything is."""

    size: int
    """Bytes of weights in bfloat16, about."""
    streams: tuple[int, ...]
    tokens: int
    """New tokens of each stream."""
    cache: int
    """Bytes of keys and values."""


def config_of(size: int) -> transformers.LlamaConfig:
    """The shape of a Llama with about `size` bytes of bfloat16."""
    width, heads, vocabulary = (2048, 16, 32000) if size >= 1 << 30 else (256, 4, 4096)
    inner = 4 * width
    layer = 2 * (2 * width * width + width * width // 2 * 2 + 3 * width * inner)
    return transformers.LlamaConfig(
        architectures=["LlamaForCausalLM"],
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=max(2, (size - 4 * vocabulary * width) // layer),
        num_attention_heads=heads,
        num_key_value_heads=heads // 2,
        max_position_embeddings=2048,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=None,
        dtype="bfloat16",
    )


def write_model(folder: Path, size: int, device: str) -> None:
    """A release of random weights, in shards."""
    torch.manual_seed(1)
    config = config_of(size)
    with torch.device(device):
        model = transformers.LlamaForCausalLM(config).to(torch.bfloat16)
    model.save_pretrained(folder, max_shard_size="1GB")
    generating.make_tokenizer(config.vocab_size).save_pretrained(folder)


def spec_of(folder: Path, options: RunOptions) -> ModelSpec:
    files = tuple(loading.told_of(path) for path in sorted(folder.iterdir()))
    return ModelSpec("", "random", "transformers", "text-generation", files, options)


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def rows_of_loading(spec: ModelSpec, folder: Path, device: str) -> list[Row]:
    paths = sorted(folder.glob("*.safetensors"))
    size = sum(path.stat().st_size for path in paths)
    ours, plain = [], []
    for _ in range(ROUNDS):
        ours.append(seconds(partial(loading.load_verified, spec, device)))
        plain.append(seconds(partial(loading.load_plainly, paths, device, 1)))
    speeds = [size / median(each) / 1e9 for each in (ours, plain)]
    return [Row("verified loading", speeds[0], "GB/s", speeds[1], "load_file + touch + BLAKE3")]


def rows_of_the_first_token(spec: ModelSpec, scale: Scale) -> tuple[list[Row], TextBackend]:
    backend: list[TextBackend] = []

    def load() -> None:
        backend.append(text.load(spec, Weights(spec), lambda what, done, total: None))

    rows = [Row("model ready after", seconds(load), "s")]
    for what in ("first token, just loaded", "first token, warm"):
        prompt = generating.prompts_of(1, len(rows), config_of(scale.size).vocab_size)
        taken = seconds(partial(generating.stream, backend[0], prompt, 1, GREEDY))
        rows.append(Row(what, 1000 * taken, "ms"))
    return rows, backend[0]


def rows_of_tokens(backend: TextBackend, loaded: TextModel, scale: Scale) -> list[Row]:
    direct = generating.Direct(loaded, backend)
    rows = []
    for streams in scale.streams:
        ours, plain = [], []
        for at in range(ROUNDS + 1):  # the first one compiles, and is not counted
            made = [generating.prompts_of(streams, 10 * at + way, loaded.width) for way in range(2)]
            plain.append(seconds(partial(direct.run, made[0], scale.tokens)))
            ours.append(seconds(partial(generating.stream, backend, made[1], scale.tokens, GREEDY)))
        speeds = [streams * scale.tokens / median(each[1:]) for each in (ours, plain)]
        what = f"{streams} streams"
        rows.append(Row(what, speeds[0], "tokens/s", speeds[1], "transformers, called directly"))
    direct.close()
    return rows


def rows_of_graphs(backend: TextBackend, loaded: TextModel, scale: Scale) -> list[Row]:
    """What CUDA graphs would bring, which ours does without: a choice of each request's own cannot
    be a part of a graph."""
    speeds: dict[bool, list[float]] = {}
    for graphs in (False, True):
        direct = generating.Direct(loaded, backend, graphs)
        speeds[graphs] = [
            speed(scale, streams, partial(direct_run, direct, loaded.width, streams, scale.tokens))
            for streams in scale.streams
        ]
        direct.close()
    pairs = zip(scale.streams, speeds[True], speeds[False], strict=True)
    return [
        Row(f"{streams} streams, CUDA graphs", fast, "tokens/s", plain, "transformers without them")
        for streams, fast, plain in pairs
    ]


def rows_of_compiling(spec: ModelSpec, backend: TextBackend, scale: Scale) -> list[Row]:
    """The same model with its layers compiled, beside itself without. Nothing if that failed."""
    asked = replace(spec, options=replace(spec.options, compile=True))
    compiled = text.load(asked, Weights(asked), lambda what, done, total: None)
    if not compiled.info.compiled:
        return []
    rows = [Row("compiling", compiled.info.compile_seconds, "s")]
    width = config_of(scale.size).vocab_size
    for streams in scale.streams:
        fast, plain = (
            speed(scale, streams, partial(ours_run, each, width, streams, scale.tokens))
            for each in (compiled, backend)
        )
        rows.append(Row(f"{streams} streams, compiled", fast, "tokens/s", plain, "not compiled"))
    compiled.close()
    return rows


def direct_run(direct: generating.Direct, width: int, streams: int, tokens: int, at: int) -> None:
    direct.run(generating.prompts_of(streams, 100 + at, width), tokens)


def ours_run(backend: TextBackend, width: int, streams: int, tokens: int, at: int) -> None:
    generating.stream(backend, generating.prompts_of(streams, 200 + at, width), tokens, GREEDY)


def speed(scale: Scale, streams: int, run: Callable[[int], None]) -> float:
    """Tokens a second, the median of the rounds but the first."""
    taken = [seconds(partial(run, at)) for at in range(ROUNDS + 1)]
    return streams * scale.tokens / median(taken[1:])


def rows_of_vllm(folder: Path, scale: Scale, command: str) -> list[Row]:
    """The same through vLLM, which has the machine to itself then."""
    speeds: dict[int, float] = {}

    async def ask(engine: Any, prompt: list[int]) -> None:
        wanted = Generate(tuple(prompt), Sampling(max_tokens=scale.tokens, temperature=0))
        async for each in engine.generate(wanted):
            if isinstance(each, Finished) and each.completion_tokens != scale.tokens:
                raise AssertionError(f"{each.completion_tokens} tokens came")

    async def measure() -> None:
        wanted = OwnServer((command, "serve"), folder, "random")
        async with own_server(wanted) as engine:
            for streams in scale.streams:
                taken = []
                for at in range(ROUNDS + 1):
                    prompts = generating.prompts_of(streams, at, config_of(scale.size).vocab_size)
                    started = time.perf_counter()
                    async with trio.open_nursery() as nursery:
                        for prompt in prompts:
                            nursery.start_soon(ask, engine, prompt)
                    taken.append(time.perf_counter() - started)
                speeds[streams] = streams * scale.tokens / median(taken[1:])

    trio.run(measure)
    return [Row(f"{streams} streams, vLLM", speed, "tokens/s") for streams, speed in speeds.items()]


def show(row: Row) -> str:
    text = f"{row.what:<28} {row.value:12.2f} {row.unit:<9}"
    if row.baseline:
        text += f" {row.baseline:12.2f} {row.value / row.baseline:7.2f} x  {row.beside}"
    return text


def main() -> None:
    gpu = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="does it run?")
    parser.add_argument("--size", type=int, default=2400 if gpu else 64, help="MiB of weights")
    parser.add_argument(
        "--streams", default="1,8,32,128" if gpu else "1,8", help="how many at once"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    asked = parser.parse_args()
    scale = Scale(
        (16 if asked.small else asked.size) << 20,
        (1, 2) if asked.small else tuple(map(int, asked.streams.split(","))),
        8 if asked.small else 128 if gpu else 16,
        (8 << 30) if gpu else (64 << 20),
    )
    options = RunOptions(cache_bytes=scale.cache, slots=max(scale.streams), context=512)
    device = choose(options).device
    told: list[Row] = []

    def tell(rows: list[Row]) -> None:
        told.extend(rows)
        for row in rows:
            print(json.dumps(asdict(row)) if asked.json else show(row), flush=True)

    with tempfile.TemporaryDirectory(prefix="p2phub-bench-", dir=".bench") as place:
        folder = Path(place).absolute() / "model"
        write_model(folder, scale.size, device)
        spec = spec_of(folder, options)
        tell(rows_of_loading(spec, folder, device))
        rows, backend = rows_of_the_first_token(spec, scale)
        tell(rows)
        with Weights(spec) as weights:
            loaded = load_model(spec, weights, choose(options))
            tell(rows_of_tokens(backend, loaded, scale))
            if gpu:
                tell(rows_of_graphs(backend, loaded, scale))
            del loaded
        if gpu or not asked.small:
            tell(rows_of_compiling(spec, backend, scale))
        backend.close()
        vllm = shutil.which("vllm")
        if gpu and vllm:
            torch.cuda.empty_cache()
            tell(rows_of_vllm(folder, scale, vllm))


if __name__ == "__main__":
    main()
