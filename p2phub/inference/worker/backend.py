"""The port of what runs a model inside the worker: transformers, or llama.cpp.

A backend is made by a function `load(spec, weights, tell)` of its module; it starts with a model
that is ready. The main loop of the worker hands it requests from one thread; a backend answers
through sinks, from any thread.

Rules they keep:
 * `generate` returns at once; the answer comes through the sink, and ends with exactly one of
   `finished` and `failed`, also after `cancel`;
 * after `cancel` the request gives its slot back within one step of the model;
 * `attach` and `detach`, where there are any, block, and are called one at a time;
 * `embed` and `run` block; the main loop gives each a thread;
 * an error that is about the request is one of ours (`UsageError`, `ContextError`,
   `UnsupportedError`, `NoMemoryError`); anything else ends the worker, which the pool starts anew.
"""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from p2phub.errors import P2PHubError
from p2phub.inference.engine import ModelInfo
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

Tell = Callable[[str, int, int], None]
"""How loading goes: (what is done now, bytes done, bytes in all)."""


class Sink(Protocol):
    """Where one answer goes. May be called from any thread; never blocks for long."""

    def piece(self, piece: Piece) -> None: ...

    def finished(self, end: Finished) -> None: ...

    def failed(self, error: P2PHubError) -> None: ...


class Backend(Protocol):
    """A model that is ready."""

    @property
    def info(self) -> ModelInfo: ...

    def generate(self, request: Generate, sink: Sink) -> Callable[[], None]:
        """Begin an answer. Returns `cancel`, which may be called at any time, from any thread."""
        ...

    def embed(self, request: Embed) -> Embeddings: ...

    def run(self, request: TaskRequest) -> TaskAnswer: ...

    def count(self, request: Generate) -> int:
        """Tokens of the prompt."""
        ...

    def close(self) -> None: ...


@runtime_checkable
class AdaptableBackend(Protocol):
    """A model to which adapters can be attached while it answers."""

    def attach(self, adapter: Adapter, weights: Any) -> ModelInfo:
        """Put an adapter beside the others; `weights`: its verified files. What the model is then.

        Nothing has changed if it raises.
        """
        ...

    def detach(self, which: str) -> ModelInfo:
        """Take away the adapter with that name or digest; requests that use it fail."""
        ...
