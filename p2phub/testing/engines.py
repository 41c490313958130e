"""Engines in memory, in virtual time: what the pool is tested on.

`FakeEngine` says its prompt again, a word at a step, to so many requests at once as it has slots,
and passes the same conformance suite as an engine that is a process. `FakeStart` starts such
engines for a pool: it can be told to take its time, to fail, and which memory they take.
"""

import struct
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterable, Callable
from dataclasses import replace

import trio

from p2phub.errors import ContextError, EngineError, P2PHubError, UsageError
from p2phub.inference.engine import ModelInfo
from p2phub.inference.requests import (
    Chat,
    Embed,
    Embeddings,
    Finished,
    Generate,
    Piece,
    TaskAnswer,
    TaskRequest,
)
from p2phub.inference.spec import Adapter, ModelSpec, RunOptions

STEP = 0.01  # seconds
CONTEXT = 4096  # words
GIB = 1 << 30


def fake_spec(name: str = "lab/x", **options: object) -> ModelSpec:
    """A model without files; its release is its name."""
    made = RunOptions(**options)  # type: ignore[arg-type]
    return ModelSpec(name, name, "transformers", "text-generation", (), made)


class FakeEngine:
    """Says the words of a prompt again. `crash` it, or let it `fails` with an error of ours."""

    def __init__(
        self, name: str = "lab/x", *, slots: int = 4, weight_bytes: int = 0, step: float = STEP
    ) -> None:
        self.name, self._seconds = name, step
        self._weight_bytes = weight_bytes
        self.info = ModelInfo(
            engine="fake",
            device="cpu",
            dtype="none",
            tasks=("text-generation", "feature-extraction", "echo"),
            context=CONTEXT,
            slots=slots,
            chat=True,
            weight_bytes=weight_bytes,
        )
        self.lost = trio.Event()
        self.closed = 0
        self.under_way = 0
        self.attached: list[Adapter] = []
        """What was asked to be attached, in order."""
        self.attaching: P2PHubError | None = None
        """Raised by the next calls of `attach`, as long as it is set."""
        self._adapters: dict[str, Adapter] = {}
        self._slots = trio.Semaphore(slots)
        self._why = ""

    async def generate(self, request: Generate) -> AsyncGenerator[Piece | Finished, None]:
        self._require_life()
        words = self._words(request)
        said = words[: request.sampling.max_tokens]
        self.under_way += 1
        try:
            async with self._slots:
                for number, word in enumerate(said):
                    await self._step()
                    self._require_adapter(request)
                    yield Piece(f" {word}" if number else word)
        finally:
            self.under_way -= 1
        cut = len(said) == request.sampling.max_tokens
        yield Finished("length" if cut else "stop", len(words), len(said))

    async def embed(self, request: Embed) -> Embeddings:
        texts = [each if isinstance(each, str) else repr(each) for each in request.inputs]
        await self._call()
        data = b"".join(struct.pack("<2f", len(each), sum(map(ord, each))) for each in texts)
        return Embeddings(data, 2, sum(len(each.split()) for each in texts))

    async def run(self, request: TaskRequest) -> TaskAnswer:
        await self._call()
        return TaskAnswer(request.inputs, request.data)

    async def count(self, request: Generate) -> int:
        await self._call()
        return len(self._words(request))

    async def attach(self, adapter: Adapter) -> None:
        self.attached.append(adapter)
        await self._step()
        if self.attaching is not None:
            raise self.attaching
        self._adapters[adapter.name] = adapter
        self._tell_adapters()

    async def detach(self, which: str) -> None:
        await self._step()
        there = tuple(self._adapters.values())
        self._adapters = {each.name: each for each in there if which not in _names(each)}
        self._tell_adapters()

    def _tell_adapters(self) -> None:
        size = sum(file.content.size for each in self._adapters.values() for file in each.files)
        self.info = replace(
            self.info, adapters=tuple(self._adapters), weight_bytes=self._weight_bytes + size
        )

    def _require_adapter(self, request: Generate) -> None:
        if request.adapter and request.adapter not in self._adapters:
            raise EngineError(f"{request.adapter} was taken away", remedy="use another")

    async def close(self) -> None:
        self.closed += 1
        self._end(f"{self.name} was unloaded")
        await trio.lowlevel.checkpoint()

    def crash(self) -> None:
        """Be killed."""
        self._end(f"the process of {self.name} was killed by signal 11 (SIGSEGV)")

    def _end(self, why: str) -> None:
        self._why = self._why or why
        self.lost.set()

    def _words(self, request: Generate) -> list[str]:
        if request.adapter and request.adapter not in self._adapters:
            raise UsageError(f"there is no adapter {request.adapter}")
        prompt = request.prompt
        if isinstance(prompt, Chat):
            words = str(prompt.messages[-1].get("content", "")).split()
        else:
            words = prompt.split() if isinstance(prompt, str) else [str(each) for each in prompt]
        if len(words) > CONTEXT:
            raise ContextError(f"more than {CONTEXT} words", remedy="ask for less")
        return words

    async def _call(self) -> None:
        self._require_life()
        self.under_way += 1
        try:
            async with self._slots:
                await self._step()
        finally:
            self.under_way -= 1

    async def _step(self) -> None:
        with trio.move_on_after(self._seconds):
            await self.lost.wait()
        self._require_life()

    def _require_life(self) -> None:
        if self.lost.is_set():
            raise EngineError(self._why, remedy="ask again: it is started anew")


def _names(adapter: Adapter) -> tuple[str, str]:
    return adapter.name, adapter.release


class FakeStart:
    """Starts fake engines, as `start_worker` starts processes."""

    def __init__(self, seconds: float = 1.0) -> None:
        self.seconds = seconds
        """That a load takes."""
        self.fails: P2PHubError | None = None
        """Raised at the end of every load, as long as it is set."""
        self.started: list[ModelSpec] = []
        self.engines: list[FakeEngine] = []
        """Those that were loaded, in order."""
        self.cancelled = 0
        """Loads that were given up."""
        self.sizes: Counter[str] = Counter()
        """Bytes of the weights, by name."""

    async def __call__(
        self,
        nursery: trio.Nursery,
        spec: ModelSpec,
        report: Callable[[str, int, int], None],
        arriving: AsyncIterable[object] | None,
    ) -> FakeEngine:
        self.started.append(spec)
        try:
            for quarter in range(4):
                report("loading", quarter, 4)
                await trio.sleep(self.seconds / 4)
        except trio.Cancelled:
            self.cancelled += 1
            raise
        if self.fails is not None:
            raise self.fails
        engine = FakeEngine(spec.name, weight_bytes=self.sizes[spec.name])
        engine.info = replace(engine.info, device=spec.options.device or "cpu")
        self.engines.append(engine)
        return engine
