"""The port behind which a model answers, whatever it runs in.

`WorkerEngine` is a child process of ours, `ProxyEngine` somebody's OpenAI-compatible server;
`testing.engines.FakeEngine` answers from memory. All are held to one conformance suite
(`testing.engine_conformance`).

Rules they keep:
 * a request whose task is cancelled gives its slot back within one step of the model;
 * what one request does wrong costs that request. What costs the engine itself (a crash, memory
   that ran out) ends every request under way with `EngineError`, and `lost` is set;
 * a model that was unloaded answers nothing: `EngineError`.

An engine answers whoever asks. Who may, how many at once and which release it is are for `pool` and
the node.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import trio

from p2phub.inference.requests import (
    Embed,
    Embeddings,
    Finished,
    Generate,
    Piece,
    TaskAnswer,
    TaskRequest,
)
from p2phub.inference.spec import Adapter


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What was loaded, and how it runs: shown to people, and asked by the gateway."""

    engine: str
    """transformers, llamacpp, vllm or proxy."""
    device: str
    """`cuda:0`, `cpu`, … as the engine calls it."""
    dtype: str
    """Of the weights: bfloat16, float32, Q4_1, …"""
    tasks: tuple[str, ...]
    """What it can be asked: `text-generation`, `feature-extraction`, or another task."""
    context: int = 0
    """Tokens of prompt and answer together; 0: it has no such limit."""
    slots: int = 1
    """Requests that are worked at together; more wait."""
    chat: bool = False
    """Whether it has a chat template."""
    attention: str = ""
    """The attention kernels: sdpa, flash_attention_2, …"""
    threads: int = 0
    """Processor threads; 0: not known."""
    compiled: bool = False
    quantization: str = ""
    """int8, int4, or what the file says; empty: none."""
    adapters: tuple[str, ...] = ()
    weight_bytes: int = 0
    """Memory of the weights, on the device."""
    cache_bytes: int = 0
    """Memory set aside for keys and values."""
    load_seconds: float = 0.0
    compile_seconds: float = 0.0
    """What compiling took of them."""
    not_compiled: str = ""
    """Why it does not run compiled although that was asked for; empty: it does, or it was not."""
    read_bytes: int = 0
    """Bytes that were read and verified to load it."""


class Engine(Protocol):
    """A loaded model."""

    @property
    def info(self) -> ModelInfo: ...

    @property
    def lost(self) -> trio.Event:
        """Set once it will answer nothing any more."""
        ...

    def generate(self, request: Generate) -> AsyncIterator[Piece | Finished]:
        """Any number of pieces, then how it ended. Close the iterator to cancel.

        Raises `UsageError` for what this model cannot do, `ContextError` for a prompt that does
        not fit, `EngineError`.
        """
        ...

    async def embed(self, request: Embed) -> Embeddings:
        """Raises as `generate`."""
        ...

    async def run(self, request: TaskRequest) -> TaskAnswer:
        """Raises as `generate`."""
        ...

    async def count(self, request: Generate) -> int:
        """Tokens of the prompt."""
        ...

    async def close(self) -> None:
        """Unload it. Requests under way end with `EngineError`."""
        ...


@runtime_checkable
class AdaptableEngine(Protocol):
    """An engine to which adapters can be attached while it answers."""

    async def attach(self, adapter: Adapter) -> None:
        """Put an adapter beside the others, so that `Generate.adapter` may name it.

        One that is there already stays as it is; another release by the same name takes the name.
        Raises `UnsupportedError`, `MalformedError`, `NoMemoryError`, `EngineError`, and what
        verifying its files raises; then nothing has changed.
        """
        ...

    async def detach(self, which: str) -> None:
        """Take away the adapter with that name, or of the release with that digest, if it is there.

        Requests under way that use it end with `EngineError`; the others go on.
        """
        ...
