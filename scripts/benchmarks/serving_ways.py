"""The ways to a model beside which `serving` measures the gateway, each a program of its own.

    python scripts/benchmarks/serving_ways.py make FOLDER MIB
    python scripts/benchmarks/serving_ways.py direct ENGINE FOLDER
    python scripts/benchmarks/serving_ways.py pool ENGINE FOLDER

`make` writes a model with random weights and the shape of SmolLM2-135M (under 512 MiB: a tiny one).
`direct` is the engine itself, in this process, with nothing of ours around it: continuous batching
of transformers with the same cache, or the server of xllamacpp. `pool` is a process of ours behind
the pool, asked without HTTP.

The last two say `{"pids": […]}` when they are ready. Then each line is a list of prompts, as
tokens; they are answered together, and `{"seconds": …}` is said when the last answer is whole.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import trio

from p2phub.formats.digest import blake3, sha256
from p2phub.formats.ids import ContentId
from p2phub.formats.limits import MIB
from p2phub.formats.pieces import PieceTable
from p2phub.inference.pool import open_pool
from p2phub.inference.requests import Finished, Generate, Sampling
from p2phub.inference.spec import ModelFile, ModelSpec, RunOptions

TOKENS = 64
"""New tokens of each answer."""
ENDS = {0: -100.0, 2: -100.0}
"""What keeps the GGUF model, which is a real one, from ending before that."""
Answer = Callable[[list[list[int]]], None]


def bias_of(engine: str) -> dict[int, float]:
    """A random model has no end of its own."""
    return ENDS if engine == "llamacpp" else {}


def file_of(path: Path) -> ModelFile:
    """A file as a worker is told of it."""
    data = path.read_bytes()
    if len(data) <= MIB:
        return ModelFile((path.name,), ContentId(len(data), sha256(data)), str(path))
    parts = [data[at : at + MIB] for at in range(0, len(data), MIB)]
    table = PieceTable.build([len(part) for part in parts], [blake3(part) for part in parts])
    return ModelFile((path.name,), table.content_id, str(path), table.pack())


def spec_of(engine: str, folder: Path) -> ModelSpec:
    """The model in a folder, in one thread of the processor."""
    files = tuple(file_of(path) for path in sorted(folder.iterdir()))
    options = RunOptions(device="cpu", threads=1)
    return ModelSpec("", "bench", engine, "text-generation", files, options)


def serve(pids: list[int], answer: Answer) -> None:
    """Answer the lines of standard input."""
    print(json.dumps({"pids": pids}), flush=True)
    for line in sys.stdin:
        prompts, started = json.loads(line), time.perf_counter()
        answer(prompts)
        print(json.dumps({"seconds": time.perf_counter() - started}), flush=True)


def make(folder: Path, mebibytes: int) -> None:
    from generating import make_model

    loaded = make_model(mebibytes << 20, "cpu", "bfloat16")
    loaded.model.generation_config.do_sample = False
    loaded.model.save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)


@contextmanager
def transformers_itself(folder: Path) -> Iterator[Answer]:
    import torch
    import transformers

    from p2phub.inference.worker.device import choose
    from p2phub.inference.worker.text_batch import room, token_bytes

    chosen = choose(RunOptions(device="cpu", threads=1))
    dtype = getattr(torch, chosen.dtype)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()
    size = token_bytes(model.config, model.dtype.itemsize)
    space = room(RunOptions(), model.config.max_position_embeddings, size, gpu=False)
    manager = model.init_continuous_batching(
        transformers.GenerationConfig(do_sample=False, eos_token_id=-1),
        transformers.ContinuousBatchingConfig(
            page_size=space.page,
            num_blocks=space.pages,
            max_batch_tokens=space.step_tokens,
            max_requests_per_batch=space.slots,
            auto_switch_to_flash=False,
        ),
    )
    manager.warmup()
    manager.start()

    def answer(prompts: list[list[int]]) -> None:
        open_ones = set(manager.add_requests(prompts, max_new_tokens=TOKENS))
        while open_ones:
            result = manager.get_result(timeout=1)
            if result is not None:
                require(len(result.generated_tokens))
                open_ones.discard(result.request_id)

    yield answer
    manager.stop(block=True, timeout=5, hard_stop=True)


@contextmanager
def llamacpp_itself(folder: Path) -> Iterator[Answer]:
    from p2phub.inference.worker import llama
    from p2phub.inference.worker.weights import Weights

    spec = spec_of("llamacpp", folder)
    backend = llama.load(spec, Weights(spec), lambda what, done, total: None)

    def one(prompt: list[int]) -> None:
        body = {"prompt": prompt, "n_predict": TOKENS, "temperature": 0.0, "top_k": 1}
        written = 0

        def hear(event: Any) -> bool:
            nonlocal written
            written = (event.get("timings") or {}).get("predicted_n", written)
            return False

        biased = body | {"logit_bias": [list(each) for each in ENDS.items()]}
        backend._server.stream(biased, hear)
        require(written)

    def answer(prompts: list[list[int]]) -> None:
        threads = [threading.Thread(target=one, args=(each,)) for each in prompts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    yield answer
    backend.close()


def require(tokens: int) -> None:
    """End if an answer is not as long as it should be, in whichever thread that is found."""
    if tokens != TOKENS:
        print(f"{TOKENS} tokens were asked for, {tokens} came", file=sys.stderr, flush=True)
        os._exit(1)


async def through_the_pool(engine: str, folder: Path) -> None:
    sampling = Sampling(max_tokens=TOKENS, temperature=0, logit_bias=bias_of(engine))
    async with open_pool() as pool, pool.lease(spec_of(engine, folder)) as held:

        async def one(prompt: list[int]) -> None:
            async for piece in held.generate(Generate(tuple(prompt), sampling)):
                if isinstance(piece, Finished):
                    require(piece.completion_tokens)

        async def all_of(prompts: list[list[int]]) -> None:
            async with trio.open_nursery() as nursery:
                for prompt in prompts:
                    nursery.start_soon(one, prompt)

        def answer(prompts: list[list[int]]) -> None:
            trio.from_thread.run(all_of, prompts)

        pids = [os.getpid(), held.behind.pid]  # type: ignore[attr-defined]
        await trio.to_thread.run_sync(serve, pids, answer)


def main() -> None:
    match sys.argv[1:]:
        case "make", folder, mebibytes:
            make(Path(folder), int(mebibytes))
        case "direct", engine, folder:
            ways = {"transformers": transformers_itself, "llamacpp": llamacpp_itself}
            with ways[engine](Path(folder)) as answer:
                serve([os.getpid()], answer)
        case "pool", engine, folder:
            trio.run(through_the_pool, engine, Path(folder))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
