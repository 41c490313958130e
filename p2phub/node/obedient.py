"""An engine that ends its answers when the release behind it is taken back, and is measured.

The pool unloads such a release, which ends what is under way as a broken engine does. Here that
becomes the error that people are told: `RevokedError`, with the reason.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import cast

import trio

from p2phub.errors import EngineError, RevokedError
from p2phub.inference.engine import Engine, ModelInfo
from p2phub.inference.requests import (
    Embed,
    Embeddings,
    Finished,
    Generate,
    Piece,
    TaskAnswer,
    TaskRequest,
)
from p2phub.node.events import ReleaseWithdrawn
from p2phub.node.pressure import Pressure


def revoked(withdrawn: ReleaseWithdrawn) -> RevokedError:
    """What is told of a release that was taken back while it answered."""
    return RevokedError(
        f"{withdrawn.ref} was taken back: {withdrawn.reason}", remedy="use another release"
    )


class ObedientEngine:
    """Keeps the port `Engine`. `taken_back()` tells of the release behind it once it was; `name`:
    what else is asked under that name is as fast.
    """

    def __init__(
        self,
        engine: Engine,
        taken_back: Callable[[], ReleaseWithdrawn | None],
        pressure: Pressure,
        name: str = "",
    ) -> None:
        self._engine, self._taken_back = engine, taken_back
        self._pressure, self._name = pressure, name

    @property
    def info(self) -> ModelInfo:
        return self._engine.info

    @property
    def lost(self) -> trio.Event:
        return self._engine.lost

    async def generate(self, request: Generate) -> AsyncIterator[Piece | Finished]:
        with self._answering() as step:
            # Every engine gives out a generator; the port promises no more than an iterator.
            answer = cast(AsyncGenerator[Piece | Finished, None], self._engine.generate(request))
            async with aclosing(answer) as pieces:
                async for piece in pieces:
                    self._check()
                    step()
                    yield piece

    async def embed(self, request: Embed) -> Embeddings:
        with self._answering():
            return await self._engine.embed(request)

    async def run(self, request: TaskRequest) -> TaskAnswer:
        with self._answering():
            return await self._engine.run(request)

    async def count(self, request: Generate) -> int:
        with self._answering():
            return await self._engine.count(request)

    async def close(self) -> None:
        await self._engine.close()

    @contextmanager
    def _answering(self) -> Iterator[Callable[[], None]]:
        self._check()
        try:
            with self._pressure.answering(self._name) as step:
                yield step
        except EngineError:
            self._check()
            raise

    def _check(self) -> None:
        withdrawn = self._taken_back()
        if withdrawn is not None:
            raise revoked(withdrawn)
