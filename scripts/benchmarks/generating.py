"""G1: tokens a second of our backend beside the engine called directly, 1 and 8 streams.

The model has random weights and the shape of SmolLM2-135M (with --small: a tiny one), the tokenizer
as many tokens as it. Both ways share that one model. The baseline is continuous batching of
transformers with the same cache and nothing of ours: no text is made of its tokens and nothing is
streamed. Ours streams text: every token is decoded, matched against a stop text and told to a sink.
Both take the most likely token, and must come to the same ones. What comes after the backend (the
pipe to the node, HTTP) is not measured here.

Drawn tokens (temperature, top_p) are measured beside greedy ones, against the same baseline.

On a processor it runs in one thread, so that the budget is on CPU seconds, which other programs of
the machine move less; on a GPU it is on wall time.

`scripts/bench generating` runs it.
"""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from measure import Result, cpu_of, median, run
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from p2phub.errors import P2PHubError
from p2phub.inference.requests import Finished, Generate, Piece, Sampling
from p2phub.inference.spec import ModelSpec, RunOptions
from p2phub.inference.worker.device import choose
from p2phub.inference.worker.text_backend import TextBackend
from p2phub.inference.worker.text_model import TextModel

SPEED = 0.97
"""Of the engine called directly."""
PROMPT, TOKENS = 32, 48
BIG = 512 << 20
"""From this size on it is the shape of SmolLM2-135M."""
STOP = "no random model writes this"


def make_tokenizer(width: int) -> Any:
    """Bytes, then words, `width` in all."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    names = [*letters, *(f"Ġword{at}" for at in range(width - len(letters)))]
    tokenizer = Tokenizer(models.BPE({name: at for at, name in enumerate(names)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def make_model(size: int, device: str, dtype: str) -> TextModel:
    big = size >= BIG
    torch.manual_seed(1)
    config = transformers.LlamaConfig(
        vocab_size=49152 if big else 600,
        hidden_size=576 if big else 64,
        intermediate_size=1536 if big else 128,
        num_hidden_layers=30 if big else 2,
        num_attention_heads=9 if big else 4,
        num_key_value_heads=3 if big else 2,
        max_position_embeddings=2048 if big else 256,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=None,
        initializer_range=0.2,
    )
    model = transformers.LlamaForCausalLM(config).to(device, getattr(torch, dtype)).eval()
    limit, width = config.max_position_embeddings, config.vocab_size
    return TextModel(model, make_tokenizer(width), model.generation_config, (), limit, width)


class Count:
    """A sink that counts tokens by their end, and keeps the text."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.tokens, self.text = 0, ""

    def piece(self, piece: Piece) -> None:
        self.text += piece.text

    def finished(self, end: Finished) -> None:
        self.tokens = end.completion_tokens
        self.over.set()

    def failed(self, error: P2PHubError) -> None:
        raise AssertionError(error)


class Direct:
    """The engine itself. `graphs`: with CUDA graphs, and the next step prepared during one; None:
    as transformers decides."""

    def __init__(self, loaded: TextModel, backend: TextBackend, graphs: bool | None = None) -> None:
        room = backend._runner.room
        self._manager = loaded.model.init_continuous_batching(
            transformers.GenerationConfig(do_sample=False, eos_token_id=-1),
            transformers.ContinuousBatchingConfig(
                page_size=room.page,
                num_blocks=room.pages,
                max_batch_tokens=room.step_tokens,
                max_requests_per_batch=room.slots,
                max_memory_percent=0.4,
                use_cuda_graph=graphs,
                use_async_batching=graphs,
                auto_switch_to_flash=False,
            ),
        )
        self._manager.warmup()
        self._manager.start()

    def run(self, prompts: list[list[int]], tokens: int) -> list[list[int]]:
        names = self._manager.add_requests(prompts, max_new_tokens=tokens)
        done: dict[str, list[int]] = {}
        while len(done) < len(names):
            result = self._manager.get_result(timeout=1)
            if result is not None:
                done[result.request_id] = result.generated_tokens
        return [done[name] for name in names]

    def close(self) -> None:
        self._manager.stop(block=True, timeout=5, hard_stop=True)


def stream(
    backend: TextBackend, prompts: list[list[int]], tokens: int, sampling: dict[str, Any]
) -> list[str]:
    sinks = [Count() for _ in prompts]
    asked = Sampling(max_tokens=tokens, stop=(STOP,), **sampling)
    for prompt, sink in zip(prompts, sinks, strict=True):
        backend.generate(Generate(tuple(prompt), asked), sink)
    for sink in sinks:
        sink.over.wait()
        if sink.tokens != tokens:
            raise AssertionError(f"{tokens} tokens were asked for, {sink.tokens} came")
    return [sink.text for sink in sinks]


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds."""
    started = time.perf_counter()
    cpu = cpu_of(work)
    return time.perf_counter() - started, cpu


def prompts_of(streams: int, seed: int, width: int) -> list[list[int]]:
    """Prompts that no cache has seen."""
    made = torch.Generator().manual_seed(seed)
    return torch.randint(0, width, (streams, PROMPT), generator=made).tolist()


def measure(size: int, rounds: int, place: Path) -> list[Result]:
    torch.set_num_threads(1)
    options = RunOptions(threads=1, dtype="float32")
    kernels = choose(options)
    loaded = make_model(size, kernels.device, kernels.dtype)
    spec = ModelSpec("", "random", "transformers", "text-generation", (), options)
    backend = TextBackend(loaded, spec, kernels)
    direct = Direct(loaded, backend)
    check(loaded, backend, direct)
    results = []
    for streams in (1, 8):
        results += compare(streams, rounds, loaded.width, backend, direct)
    direct.close()
    backend.close()
    return results


def check(loaded: TextModel, backend: TextBackend, direct: Direct) -> None:
    """Both ways come to the same tokens."""
    prompts = prompts_of(2, 0, loaded.width)
    wanted = [loaded.tokenizer.decode(each) for each in direct.run(prompts, 8)]
    came = stream(backend, prompts, 8, {"temperature": 0})
    if [each.strip() for each in wanted] != [each.strip() for each in came]:
        raise AssertionError(f"greedy tokens differ: {wanted} and {came}")


def compare(
    streams: int, rounds: int, width: int, backend: TextBackend, direct: Direct
) -> list[Result]:
    drawn = {"temperature": 0.8, "top_p": 0.95}
    taken: dict[str, list[tuple[float, float]]] = {"direct": [], "greedy": [], "drawn": []}
    for at in range(rounds):
        prompts = [prompts_of(streams, 100 * at + way, width) for way in range(1, 4)]
        ways = {
            "direct": lambda asked=prompts[0]: direct.run(asked, TOKENS),
            "greedy": lambda asked=prompts[1]: stream(backend, asked, TOKENS, {"temperature": 0}),
            "drawn": lambda asked=prompts[2]: stream(backend, asked, TOKENS, drawn),
        }
        order = list(ways)[at % 3 :] + list(ways)[: at % 3]
        for name in order:
            taken[name].append(timed(ways[name]))
    return [
        result(f"{streams} streams, {name}: {kind}", taken[name], taken["direct"], kind, streams)
        for name in ("greedy", "drawn")
        for kind in ("wall", "CPU")
    ]


def result(
    what: str,
    ours: list[tuple[float, float]],
    direct: list[tuple[float, float]],
    kind: str,
    streams: int,
) -> Result:
    column = 0 if kind == "wall" else 1
    counted = "wall" if torch.cuda.is_available() else "CPU"
    value = median([each[column] for each in ours])
    speed = streams * TOKENS / median([each[0] for each in ours])
    return Result(
        benchmark="G1",
        what=what,
        value=value,
        baseline=median([each[column] for each in direct]),
        unit="s",
        budget=1 / SPEED if kind == counted and "greedy" in what else None,
        relative=True,
        rounds=len(ours),
        note=f"{speed:.1f} tokens/s; {SPEED} of the engine's own speed",
    )


if __name__ == "__main__":
    run(__doc__, measure)
