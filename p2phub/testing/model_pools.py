"""A pool of models that answer from a script: what `p2phub.inference.pool.Pool` promises a node."""

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final, cast

import trio

from p2phub.errors import EngineError, P2PHubError
from p2phub.inference.engine import ModelInfo
from p2phub.inference.memory import Need
from p2phub.inference.requests import (
    Embed,
    Embeddings,
    Finished,
    Generate,
    Piece,
    TaskAnswer,
    TaskRequest,
)
from p2phub.inference.spec import ModelSpec
from p2phub.inference.variants import with_variant
from p2phub.inference.wire import Arrived, Moved, Tabled
from p2phub.testing.inference import ScriptedEngine, text_engine, vector_engine

USUAL: Final = 300.0
"""Seconds for which a model stays if nobody says otherwise."""


class EndedEngine:
    """A scripted engine that answers nothing once it was unloaded."""

    def __init__(self, scripted: ScriptedEngine) -> None:
        self.scripted = scripted
        self.info, self.lost = scripted.info, scripted.lost

    async def generate(self, request: Generate) -> AsyncIterator[Piece | Finished]:
        answer = cast(AsyncGenerator[Piece | Finished, None], self.scripted.generate(request))
        async with aclosing(answer) as pieces:
            async for each in pieces:
                self._check()
                yield each

    async def embed(self, request: Embed) -> Embeddings:
        self._check()
        return await self.scripted.embed(request)

    async def run(self, request: TaskRequest) -> TaskAnswer:
        self._check()
        return await self.scripted.run(request)

    async def count(self, request: Generate) -> int:
        self._check()
        return await self.scripted.count(request)

    async def close(self) -> None:
        await self.scripted.close()

    def _check(self) -> None:
        if self.lost.is_set():
            raise EngineError("the model was unloaded")


@dataclass
class FakeLoaded:
    """A model in memory."""

    spec: ModelSpec
    engine: EndedEngine
    busy: int = 0
    waiting: int = 0
    keep_seconds: float = USUAL
    device: str = "cpu"
    size: int = 0
    pid: int = 7

    @property
    def info(self) -> ModelInfo:
        return self.engine.info


class FakePool:
    """Loads whatever it is told to, and keeps what it was told."""

    def __init__(self) -> None:
        self.memory: dict[str, FakeLoaded] = {}
        self.specs: list[ModelSpec] = []
        """What was loaded, the last one last."""
        self.heard: list[Tabled | Arrived | Moved] = []
        """What was told of files that came while they were loaded."""
        self.unloaded: list[str] = []
        self.detached: list[str] = []
        self.clients: list[str] = []
        """For whom each lease was."""
        self.fails: P2PHubError | None = None
        """Raised by the next loads, as long as it is set."""
        self.loading = trio.Event()
        """Every load waits for this; it is set unless a test replaces it."""
        self.loading.set()

    @asynccontextmanager
    async def lease(
        self,
        spec: ModelSpec,
        report: Callable[[str, int, int], None] | None = None,
        keep_alive: float | None = None,
        *,
        need: Need = Need(),  # noqa: B008 - it is frozen
        arriving: AsyncIterable[Tabled | Arrived | Moved] | None = None,
        client: str = "",
    ) -> AsyncIterator[EndedEngine]:
        await trio.lowlevel.checkpoint()
        self.clients.append(client)
        key = with_variant(spec.release, spec.variant)
        if key not in self.memory:
            if arriving is not None:
                self.heard += [each async for each in arriving]
            await self._load(spec, report)
            self.memory[key].size = need.bytes
        kept = self.memory[key]
        self._attach(kept, spec)
        kept.keep_seconds = USUAL if keep_alive is None else keep_alive
        kept.busy += 1
        try:
            yield kept.engine
        finally:
            kept.busy -= 1

    async def _load(self, spec: ModelSpec, report: Callable[[str, int, int], None] | None) -> None:
        if report is not None:
            report("loading", 0, 10)
        await self.loading.wait()
        if self.fails is not None:
            raise self.fails
        made = text_engine() if spec.task == "text-generation" else vector_engine()
        self.memory[with_variant(spec.release, spec.variant)] = FakeLoaded(spec, EndedEngine(made))
        self.specs.append(spec)

    def _attach(self, kept: FakeLoaded, spec: ModelSpec) -> None:
        """What is attached once stays, as a running engine has it."""
        there = {each.name: each for each in (*kept.spec.adapters, *spec.adapters)}
        kept.spec = replace(kept.spec, adapters=tuple(there.values()))
        kept.engine.info = replace(kept.engine.info, adapters=tuple(there))

    async def detach(self, release: str) -> None:
        await trio.lowlevel.checkpoint()
        self.detached.append(release)
        for kept in self.memory.values():
            left = [each for each in kept.spec.adapters if each.release != release]
            kept.spec = replace(kept.spec, adapters=())
            self._attach(kept, replace(kept.spec, adapters=tuple(left)))

    def loaded(self) -> tuple[FakeLoaded, ...]:
        return tuple(self.memory.values())

    async def unload(self, release: str, variant: str | None = None) -> None:
        await trio.lowlevel.checkpoint()
        self.unloaded.append(release)
        for key, each in tuple(self.memory.items()):
            if each.spec.release == release and variant in (None, each.spec.variant):
                self.memory.pop(key).engine.lost.set()
