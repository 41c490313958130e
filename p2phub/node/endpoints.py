"""Other servers that node.toml names: their models answer here under the names they have there.

Rules it keeps:
 * who set an address in node.toml trusts it: nothing says which bytes run there, and an answer of
   it names no release;
 * a model of this node goes before one of the same name elsewhere;
 * a server that is away hides its own models and nothing else; it is asked again after `AGAIN`.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

import trio

from p2phub.errors import P2PHubError
from p2phub.inference.engine import Engine
from p2phub.inference.proxy_engine import attach, models_of
from p2phub.inference_results import ModelRow

log = logging.getLogger(__name__)

AGAIN: Final = 30.0
"""Seconds for which it is believed what models a server has."""
PATIENCE: Final = 5.0
"""Seconds that a server may take to list its models."""

List = Callable[[str], Awaitable[Sequence[str]]]
Attach = Callable[[str, str], Awaitable[Engine]]


class Endpoints:
    """The servers with these addresses. `models` and `attach` ask one; tests hand in others."""

    def __init__(
        self, urls: Sequence[str], models: List = models_of, attach: Attach = attach
    ) -> None:
        self._urls, self._list, self._attach = urls, models, attach
        self._listed: dict[str, tuple[float, Sequence[str]]] = {}
        self._engines: dict[tuple[str, str], Engine] = {}

    async def find(self, model: str) -> str | None:
        """The address of a server that has a model; the first one that node.toml names."""
        for url in self._urls:
            if model in await self._models(url):
                return url
        return None

    async def rows(self) -> list[ModelRow]:
        """All their models."""
        rows: dict[str, ModelRow] = {}
        for url in self._urls:
            for name in await self._models(url):
                rows.setdefault(name, ModelRow(name, owner=url, loaded=True))
        return list(rows.values())

    @asynccontextmanager
    async def engine(self, url: str, model: str) -> AsyncIterator[Engine]:
        """What answers for a model there. Raises `EngineError` if the server is gone."""
        key = url, model
        if key not in self._engines or self._engines[key].lost.is_set():
            try:
                self._engines[key] = await self._attach(url, model)
            except P2PHubError:
                self._listed.pop(url, None)
                raise
        yield self._engines[key]

    async def close(self) -> None:
        """Let go of all servers."""
        while self._engines:
            _, engine = self._engines.popitem()
            await engine.close()

    async def _models(self, url: str) -> Sequence[str]:
        until, names = self._listed.get(url, (0.0, ()))
        if trio.current_time() < until:
            return names
        found: Sequence[str] = ()
        try:
            with trio.fail_after(PATIENCE):
                found = await self._list(url)
        except (P2PHubError, trio.TooSlowError) as error:
            log.warning("%s does not list its models: %s", url, error)
        self._listed[url] = trio.current_time() + AGAIN, found
        return found
