"""The adapters that one engine of the pool has: attached when a lease needs them, while others use
the engine.

Rules it keeps:
 * however many leases need an adapter at once, it is attached once; one that failed is tried again
   by the next;
 * at most `MOST` are attached; for one more, the least recently used one that no lease needs goes;
 * there is room for the memory of an adapter before it is attached, and it counts as long as it may
   be there: also if who asked was cancelled in the middle, and nobody knows.

Which adapters a request may use is for the node.
"""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

import trio

from p2phub.errors import BusyError, EngineError, P2PHubError, UnsupportedError
from p2phub.inference.engine import AdaptableEngine, Engine
from p2phub.inference.spec import Adapter

MOST: Final = 64
"""Adapters of one engine at once."""
COME_AGAIN: Final = 5.0
"""Seconds after which one of them may be needed no more."""
Reserve = Callable[[int], Awaitable[None]]
"""Makes room for so many bytes more. Raises `NoMemoryError`."""


@dataclass(slots=True)
class _Place:
    """An adapter that is attached, or may be."""

    adapter: Adapter
    size: int
    ready: bool = False
    """Whether it is there for certain."""


class EngineAdapters:
    """Those of one engine."""

    def __init__(self) -> None:
        self._places: dict[str, _Place] = {}
        """By the digest of the release, the least recently used one first."""
        self._called: dict[str, str] = {}
        """Which one a name stands for."""
        self._needed: Counter[str] = Counter()
        """Leases that need each."""
        self._changing = trio.Lock()

    @property
    def attached(self) -> tuple[Adapter, ...]:
        return tuple(each.adapter for each in self._places.values() if each.ready)

    @property
    def size(self) -> int:
        """Bytes that they take."""
        return sum(each.size for each in self._places.values())

    @asynccontextmanager
    async def held(
        self, engine: Engine, adapters: Sequence[Adapter], reserve: Reserve
    ) -> AsyncIterator[None]:
        """See that the engine has these, for as long as the block lasts.

        Raises what `attach` of the engine raises, `NoMemoryError`, and `BusyError` if too many
        others are needed.
        """
        keys = [_key(each) for each in adapters]
        self._needed.update(keys)
        try:
            for each in adapters:
                if not self._is_ready(each):
                    await self._attach(engine, each, reserve)
                self._places[_key(each)] = self._places.pop(_key(each))
            yield
        finally:
            self._needed.subtract(keys)
            self._needed += Counter()  # drops those that nobody needs

    async def detach(self, engine: Engine, release: str) -> None:
        """Take the adapter of a release away, whoever needs it."""
        async with self._changing:
            if release in self._places:
                await self._let_go(engine, release)

    async def _attach(self, engine: Engine, adapter: Adapter, reserve: Reserve) -> None:
        async with self._changing:
            if self._is_ready(adapter):
                return
            able, key = _adaptable(engine, adapter), _key(adapter)
            if key not in self._places:
                await self._make_place(engine)
                size = sum(file.content.size for file in adapter.files)
                await reserve(size)
                self._places[key] = _Place(adapter, size)
            place, before = self._places[key], engine.info.weight_bytes
            try:
                await able.attach(adapter)
            except P2PHubError:
                if not place.ready:
                    del self._places[key]
                raise
            place.ready, place.size = True, max(place.size, engine.info.weight_bytes - before)
            self._called[adapter.name] = key

    def _is_ready(self, adapter: Adapter) -> bool:
        place = self._places.get(_key(adapter))
        named = self._called.get(adapter.name) == _key(adapter)
        return place is not None and place.ready and named

    async def _make_place(self, engine: Engine) -> None:
        if len(self._places) < MOST:
            return
        idle = next((key for key in self._places if not self._needed[key]), None)
        if idle is None:
            raise BusyError(
                f"{MOST} other adapters of this model are in use",
                remedy=f"come again in {COME_AGAIN:g} seconds",
                retry_after=COME_AGAIN,
            )
        await self._let_go(engine, idle)

    async def _let_go(self, engine: Engine, key: str) -> None:
        with suppress(EngineError):  # an engine that is gone has none
            await _adaptable(engine, self._places[key].adapter).detach(key)
        del self._places[key]
        self._called = {name: each for name, each in self._called.items() if each != key}


def _key(adapter: Adapter) -> str:
    return adapter.release or adapter.name


def _adaptable(engine: Engine, adapter: Adapter) -> AdaptableEngine:
    if isinstance(engine, AdaptableEngine):
        return engine
    raise UnsupportedError(
        f"{adapter.name} is an adapter, and adapters are served with the engine transformers,"
        f" not with {engine.info.engine}",
        remedy="serve its base as safetensors with the engine transformers",
    )
