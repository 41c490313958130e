"""Other servers that node.toml names: their models answer here under the names they have there.

Rules it keeps:
 * who set an address in node.toml trusts it: nothing says which bytes run there, and an answer of
   it names no release;
 * a model of this node goes before one of the same name elsewhere;
 * a server that is away hides its own models and nothing else; it is asked again after `SOON`, and
   whoever asks for a model that is unknown is told that it may be there.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Final

import trio

from p2phub.errors import NotFoundError, P2PHubError, UsageError
from p2phub.inference.engine import Engine
from p2phub.inference.proxy_engine import attach, models_of
from p2phub.inference_results import LoadedRow, ModelRow

log = logging.getLogger(__name__)

AGAIN: Final = 30.0
"""Seconds for which it is believed what models a server has."""
SOON: Final = 2.0
"""Seconds for which it is believed that a server is away: whoever just started it wants it."""
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
        self._away: dict[str, str] = {}
        """Why a server does not list its models."""
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

    async def row(self, model: str) -> LoadedRow | None:
        """The line of `ps` of a model that one of them has; None if none has it.

        Raises `EngineError` if that server is gone.
        """
        url = await self.find(model)
        if url is None:
            return None
        async with self.engine(url, model) as engine:
            info = engine.info
            return LoadedRow(
                id=model,
                release="",
                publisher="",
                verdict="unsigned",
                task=info.tasks[0],
                engine=info.engine,
                device=url,
                dtype=info.dtype,
                context=info.context,
                slots=info.slots,
            )

    def unknown(self, error: P2PHubError) -> P2PHubError:
        """That there is no such model, with the servers that do not answer: it may be theirs."""
        if not self._away or type(error) not in (NotFoundError, UsageError):
            return error
        away = "; ".join(f"{url} ([inference] endpoints): {why}" for url, why in self._away.items())
        return NotFoundError(f"{error.message}; {away}", remedy=error.remedy)

    @contextmanager
    def naming_those_away(self) -> Iterator[None]:
        """Raise what the block raises, as `unknown` tells it."""
        try:
            yield
        except P2PHubError as error:
            told = self.unknown(error)
            if told is error:
                raise
            raise told from error

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
        seconds, why = AGAIN, ""
        try:
            with trio.fail_after(PATIENCE):
                found = await self._list(url)
        except trio.TooSlowError:
            why = f"it did not list its models in {PATIENCE:g} s"
        except P2PHubError as error:
            seconds, why = SOON, error.message
        self._tell(url, why)
        self._listed[url] = trio.current_time() + seconds, found
        return found

    def _tell(self, url: str, why: str) -> None:
        """Keep why a server is away, and say it once."""
        if why and self._away.get(url) != why:
            log.warning("%s does not list its models: %s", url, why)
        self._away.pop(url, None)
        if why:
            self._away[url] = why
