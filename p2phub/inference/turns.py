"""The places of one engine, which clients are given in turns.

An engine works at `slots` requests together. Here are handed out those, and a few more, so that it
never waits for the next one; whoever comes then waits here, and not in a row inside the engine.

Rules it keeps (max-min fairness, as in fair queueing: Nagle, RFC 970):
 * a place that is free goes to whoever asks;
 * a place that gets free goes to the waiting client that has the fewest, and among those to the one
   that has waited for its turn the longest; the requests of one client keep their order;
 * nothing under way is ended for another: whoever came alone may have every place, and gives them
   up to others one by one;
 * who leaves while it waits has taken nothing.

A client is any text; whoever shows none shares the turns of all who show none.

>>> places_of(1), places_of(8), places_of(128), places_of(0)
(2, 9, 144, 0)
"""

from collections import Counter, deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Final, cast

import trio

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

GUESS: Final = 2.0
"""Seconds that a request takes, before one has ended."""
_WEIGHT: Final = 0.2
"""Of the newest request in the mean."""
_AHEAD: Final = 8
"""For so many slots one request more is given to the engine, which takes it up at once."""


def places_of(slots: int) -> int:
    """Requests that an engine with so many slots is given at once; 0: as many as there are."""
    return slots + max(1, slots // _AHEAD) if slots else 0


class Turns:
    """See the module. Times are those of trio's clock."""

    def __init__(self, slots: int) -> None:
        self._places = places_of(slots)
        self._taken: Counter[str] = Counter()
        """By client: its places."""
        self._waiting: dict[str, deque[trio.Event]] = {}
        """By client, the one first whose last turn was the longest ago."""
        self._free = self._places
        self.mean_seconds = GUESS
        """How long a place is kept, the newest ones counting most."""

    @property
    def waiting(self) -> int:
        """Requests without a place."""
        return sum(map(len, self._waiting.values()))

    @asynccontextmanager
    async def taken(self, client: str) -> AsyncIterator[None]:
        """Hold a place for the length of the block; waits for the turn of `client`."""
        if self._places:
            await self._wait(client)
        since = trio.current_time()
        try:
            yield
        finally:
            self.mean_seconds += _WEIGHT * (trio.current_time() - since - self.mean_seconds)
            if self._places:
                self._give_back(client)

    async def _wait(self, client: str) -> None:
        if self._free:
            self._free -= 1
            self._taken[client] += 1
            return
        turn = trio.Event()
        self._waiting.setdefault(client, deque()).append(turn)
        try:
            await turn.wait()
        except BaseException:
            if turn.is_set():  # it left at the very moment when it was given one
                self._give_back(client)
            else:
                self._leave(client, turn)
            raise

    def _leave(self, client: str, turn: trio.Event) -> None:
        self._waiting[client].remove(turn)
        if not self._waiting[client]:
            del self._waiting[client]

    def _give_back(self, client: str) -> None:
        self._taken[client] -= 1
        if not self._taken[client]:
            del self._taken[client]
        if not self._waiting:
            self._free += 1
            return
        following = min(self._waiting, key=lambda each: self._taken[each])
        self._taken[following] += 1
        mine = self._waiting.pop(following)
        mine.popleft().set()
        if mine:
            self._waiting[following] = mine  # the last of those that have as many


class TurnEngine:
    """Keeps the port `Engine`: every call of a client takes its turn at the engine `behind`."""

    def __init__(self, engine: Engine, turns: Turns, client: str) -> None:
        self.behind, self._turns, self._client = engine, turns, client

    @property
    def info(self) -> ModelInfo:
        return self.behind.info

    @property
    def lost(self) -> trio.Event:
        return self.behind.lost

    async def generate(self, request: Generate) -> AsyncIterator[Piece | Finished]:
        async with self._turns.taken(self._client):
            # Every engine gives out a generator; the port promises no more than an iterator.
            answer = cast(AsyncGenerator[Piece | Finished, None], self.behind.generate(request))
            async with aclosing(answer) as pieces:
                async for piece in pieces:
                    yield piece

    async def embed(self, request: Embed) -> Embeddings:
        async with self._turns.taken(self._client):
            return await self.behind.embed(request)

    async def run(self, request: TaskRequest) -> TaskAnswer:
        async with self._turns.taken(self._client):
            return await self.behind.run(request)

    async def count(self, request: Generate) -> int:
        """Needs no place: no slot of the model works at it."""
        return await self.behind.count(request)

    async def close(self) -> None:
        await self.behind.close()
