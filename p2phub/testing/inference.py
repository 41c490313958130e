"""Models without weights: what the gateway's inference APIs are tested on.

`FakeInference` knows the models it was given and serves each with a `ScriptedEngine`, which answers
from a script: the pieces of every text, a vector for every input, a value for every task. It can be
told to wait before each piece (`hold`), to fail after some (`fails`), or to take no more than so
many requests (`FakeInference.most`); it keeps what it was asked and tells who was cancelled.
"""

import struct
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from difflib import get_close_matches

import trio

from p2phub.errors import (
    BusyError,
    ContextError,
    NotFoundError,
    P2PHubError,
    UnsupportedError,
    UsageError,
)
from p2phub.inference.engine import Engine, ModelInfo
from p2phub.inference.requests import (
    Chat,
    Chosen,
    Embed,
    Embeddings,
    Finished,
    Generate,
    Json,
    Piece,
    Prompt,
    TaskAnswer,
    TaskRequest,
)
from p2phub.inference_results import FitReport, LoadedRow, ModelRow
from p2phub.node.served import Served
from p2phub.node.values import Report

RELEASE = "ab" * 32
ADAPTER_RELEASE = "cd" * 32
PUBLISHER = "b" * 52
TEXT = "lab/smol"
VECTORS = "lab/minilm"
WIDTH = 4
"""Numbers of a vector."""
CONTEXT = 64
"""Words of a prompt and its answer together."""
SCRIPT = ("The", " capital", " of", " France", " is", " Paris", ".")


def words_of(prompt: Prompt) -> int:
    """How many tokens a prompt has here: its words."""
    if isinstance(prompt, str):
        return len(prompt.split())
    if isinstance(prompt, Chat):
        return sum(len(str(each.get("content", "")).split()) for each in prompt.messages)
    return len(prompt)


class ScriptedEngine:
    """Answers every request with the same script, a word at a step."""

    def __init__(self, info: ModelInfo, script: Sequence[str] = SCRIPT) -> None:
        self.info = info
        self.lost = trio.Event()
        self.script = tuple(script)
        self.pieces: tuple[Piece, ...] = ()
        """Given instead of the script, where there are any."""
        self.tool_calls: tuple[Json, ...] = ()
        """Made at the end of every text, where the request has tools."""
        self.values: Mapping[str, TaskAnswer] = {}
        """By task."""
        self.asked: list[Generate | Embed | TaskRequest] = []
        self.steps = 0
        """Pieces given, to all requests."""
        self.pause = 0.0
        """Seconds before each piece."""
        self.hold = trio.Event()
        """Every piece after the first waits for this; it is set unless a test replaces it."""
        self.hold.set()
        self.fails: P2PHubError | None = None
        """Raised instead of the next piece, as long as it is set."""
        self.under_way = 0
        self.cancelled = 0
        """Requests that were given up before their end."""
        self.cancelled_at_step: list[int] = []
        """What `steps` was when each of them was."""
        self.gave_up = trio.Event()
        """Set when the first one was."""

    async def generate(self, request: Generate) -> AsyncIterator[Piece | Finished]:
        """The script, as far as `max_tokens` and `stop` let it."""
        self.asked.append(request)
        words = words_of(request.prompt)
        if words > self.info.context:
            raise ContextError(
                f"the prompt has {words} tokens, and this model takes {self.info.context}"
            )
        self.under_way += 1
        ended = False
        try:
            async with aclosing(self._pieces(request, words)) as pieces:
                async for each in pieces:
                    ended = isinstance(each, Finished)
                    yield each
        except P2PHubError:
            ended = True
            raise
        finally:
            self.under_way -= 1
            if not ended:
                self.cancelled += 1
                self.cancelled_at_step.append(self.steps)
                self.gave_up.set()

    async def _pieces(
        self, request: Generate, words: int
    ) -> AsyncGenerator[Piece | Finished, None]:
        sampling, said = request.sampling, ""
        if request.echo and isinstance(request.prompt, str):
            yield Piece(request.prompt)
        if self.pieces:
            for piece in self.pieces:
                yield piece
            yield Finished("stop", words, len(self.pieces))
            return
        for number, text in enumerate(self.script[: sampling.max_tokens]):
            await self._step(number)
            if self.fails is not None:
                raise self.fails
            found = next((stop for stop in sampling.stop if stop in said + text), "")
            if found:
                yield Finished("stop", words, number + 1, stopped_by=found)
                return
            said += text
            self.steps += 1
            yield Piece(text, self._chosen(request, text, number))
        if isinstance(request.prompt, Chat) and request.prompt.tools and self.tool_calls:
            yield Piece("", tool_calls=self.tool_calls)
            yield Finished("tool_calls", words, len(self.script))
            return
        cut = sampling.max_tokens is not None and sampling.max_tokens < len(self.script)
        count = min(len(self.script), sampling.max_tokens or len(self.script))
        yield Finished("length" if cut else "stop", words, count)

    async def _step(self, number: int) -> None:
        if self.fails is None and number:
            await self.hold.wait()
        if self.pause:
            await trio.sleep(self.pause)
        else:
            await trio.lowlevel.checkpoint()

    def _chosen(self, request: Generate, text: str, number: int) -> tuple[Chosen, ...]:
        most = request.sampling.logprobs
        if most is None:
            return ()
        ranked = (text, *(f" other{number}" for number in range(1, most)))[:most]
        others = tuple(
            Chosen(each, -0.5 - place, each.encode()) for place, each in enumerate(ranked)
        )
        return (Chosen(text, -0.5, text.encode(), others, number),)

    async def embed(self, request: Embed) -> Embeddings:
        """Vectors that tell the length of their input: (words, 0, 0, 0)."""
        await self._begin(request)
        width = request.dimensions or WIDTH
        if width > WIDTH:
            raise UsageError(f"this model gives {WIDTH} dimensions at most")
        rows = b"".join(
            struct.pack(f"<{width}f", words_of(each), *[0.0] * (width - 1))
            for each in request.inputs
        )
        return Embeddings(rows, width, sum(words_of(each) for each in request.inputs))

    async def run(self, request: TaskRequest) -> TaskAnswer:
        """What `values` has for the task."""
        await self._begin(request)
        if request.task not in self.values:
            raise UnsupportedError(f"this model does not do {request.task}")
        return self.values[request.task]

    async def count(self, request: Generate) -> int:
        """Words of the prompt."""
        await trio.lowlevel.checkpoint()
        return words_of(request.prompt)

    async def close(self) -> None:
        await trio.lowlevel.checkpoint()
        self.lost.set()

    async def _begin(self, request: Embed | TaskRequest) -> None:
        self.asked.append(request)
        self.under_way += 1
        try:
            await self._step(1)
        except trio.Cancelled:
            self.cancelled += 1
            self.gave_up.set()
            raise
        finally:
            self.under_way -= 1
        if self.fails is not None:
            raise self.fails


def text_engine(script: Sequence[str] = SCRIPT) -> ScriptedEngine:
    """An engine that writes text."""
    tasks = ("text-generation",)
    return ScriptedEngine(
        ModelInfo("transformers", "cpu", "float32", tasks, CONTEXT, 8, chat=True), script
    )


def vector_engine() -> ScriptedEngine:
    """An engine that makes vectors."""
    tasks = ("feature-extraction", "sentence-similarity")
    return ScriptedEngine(ModelInfo("transformers", "cpu", "float32", tasks, CONTEXT))


class FakeInference:
    """Keeps the port `InferenceApi`, with a model that writes and one that makes vectors."""

    def __init__(self) -> None:
        self.text = text_engine()
        self.vectors = vector_engine()
        self.engines: dict[str, Engine] = {TEXT: self.text, VECTORS: self.vectors}
        self.adapters: dict[str, str] = {}
        """Names of adapters, and of their bases."""
        self.in_memory = {TEXT}
        """Names of the loaded ones."""
        self.fails: P2PHubError | None = None
        """Raised by the next calls, as long as it is set."""
        self.loading = trio.Event()
        """Whoever asks for a model waits for this; it is set unless a test replaces it."""
        self.loading.set()
        self.most = 10_000
        """Requests that are let in at once."""
        self.inside = 0
        self.asked: list[tuple[str, str]] = []
        """The model and the task of every request."""
        self.clients: list[str] = []
        """Who asked, each time."""
        self.verdict = "verified"

    @asynccontextmanager
    async def serve(self, model: str, task: str, client: str = "") -> AsyncIterator[Served]:
        self.asked.append((model, task))
        self.clients.append(client)
        self._check(model)
        if self.inside >= self.most:
            raise BusyError(f"{self.most} requests wait already", retry_after=2.0)
        self.inside += 1
        try:
            await self.loading.wait()
            yield self._served(model)
        finally:
            self.inside -= 1

    def adapt(self, name: str, model: str) -> None:
        """There is an adapter of this name on a model."""
        self.adapters[name] = model
        self.engines[name] = self.engines[model]

    def _served(self, model: str) -> Served:
        plain = Served(self.engines[model], RELEASE, PUBLISHER, self.verdict, model)
        if model not in self.adapters:
            return plain
        return replace(
            plain,
            release=ADAPTER_RELEASE,
            adapter=model,
            base_release=RELEASE,
            base_publisher=PUBLISHER,
        )

    def _check(self, model: str) -> None:
        if self.fails is not None:
            raise self.fails
        if model not in self.engines:
            near = get_close_matches(model, self.engines)
            remedy = f"The nearest ones are {', '.join(near)}." if near else "See /v1/models."
            raise NotFoundError(f"there is no model {model} here", remedy=remedy)

    async def models(self) -> Sequence[ModelRow]:
        await trio.lowlevel.checkpoint()
        return tuple(
            ModelRow(
                name,
                1_700_000_000,
                "lab",
                engine.info.tasks,
                name in self.in_memory,
                base=self.adapters.get(name, ""),
            )
            for name, engine in self.engines.items()
        )

    async def loaded(self) -> Sequence[LoadedRow]:
        await trio.lowlevel.checkpoint()
        return tuple(self._row(name) for name in self.engines if name in self.in_memory)

    def _row(self, name: str) -> LoadedRow:
        info = self.engines[name].info
        verdict = (RELEASE, PUBLISHER, self.verdict)
        row = LoadedRow(name, *verdict, info.tasks[0], info.engine, info.device, info.dtype)
        if name not in self.adapters:
            return row
        base = self.adapters[name]
        return replace(row, release=ADAPTER_RELEASE, base=base, base_release=RELEASE)

    async def fit(self, reference: str) -> FitReport:
        await trio.lowlevel.checkpoint()
        self._check(reference)
        return FitReport(f"{reference}@main", RELEASE, "cpu", 600, 300, 100, 2000)

    async def load(
        self,
        reference: str,
        keep_alive: float | None,
        report: Report,
        adapters: Sequence[str] = (),
        task: str = "",
    ) -> LoadedRow:
        self._check(reference)
        if task and task not in self.engines[reference].info.tasks:
            raise UnsupportedError(f"{reference} does no {task}", remedy="ask another model")
        async with self.serve(reference, ""):
            self.in_memory.add(reference)
            row = replace(self._row(reference), keep_seconds=keep_alive)
            return replace(row, adapters=tuple(adapters))

    async def unload(self, reference: str) -> LoadedRow:
        await trio.lowlevel.checkpoint()
        self._check(reference)
        self.in_memory.discard(reference)
        return self._row(reference)
