"""What a worker is told of files that it loads while they are still fetched.

A pull writes the verified pieces of a file into its partial, which becomes a blob at its end.
`Coming` looks at both now and then and tells what is new, so that a model is loaded about when its
last byte comes. The worker checks every byte again, in the buffers that it uses.

    coming = Coming(services, model.missing)
    await coming.ready()
    async with pool.lease(spec, arriving=coming.news()) as engine: ...

Who pulls, and what happens when that fails, is the caller's business: `news` waits for ever for
what does not come.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import trio

from p2phub.formats.ids import ContentId
from p2phub.formats.manifest import FileEntry
from p2phub.formats.pieces import PieceTable
from p2phub.inference.engine import Engine
from p2phub.inference.wire import Arrived, Moved, Tabled
from p2phub.node.pressure import Load, Pressure
from p2phub.node.services import Services

LOOK_EVERY: Final = 0.05  # seconds
CONFIG: Final = "config.json"
HEAD: Final = 1 << 16
"""Bytes at the start of each file that are fetched first: nothing of one can be loaded before its
header is here."""

News = AsyncGenerator[Tabled | Arrived | Moved, None]


@dataclass(slots=True)
class _File:
    """A file that comes, and what was told of it."""

    name: str
    content: ContentId
    place: str = ""
    told: set[tuple[int, int]] = field(default_factory=set)
    tabled: bool = False
    """Whether its piece table was told."""
    here: bool = False
    """Whether all of it was told, and where it stays."""


class Coming:
    """The files among `files` that are not here yet."""

    def __init__(self, services: Services, files: Sequence[FileEntry]) -> None:
        self._services = services
        self._files = [_File("/".join(file.path), file.content) for file in files]

    async def ready(self) -> None:
        """Return once it is known what is loaded: the configuration tells that."""
        while True:
            if await self._services.on_disk(self._is_ready):
                return
            await trio.sleep(LOOK_EVERY)

    def _is_ready(self) -> bool:
        blobs = self._services.store.blobs
        return all(blobs.has(each.content) for each in self._files if each.name == CONFIG)

    async def news(self) -> News:
        """The piece table of each file, where it lies and which bytes of it have come, until all
        are here."""
        left = list(self._files)
        while left:
            for each in left:
                for told in await self._look(each):
                    yield told
            left = [each for each in left if not each.here]
            if left:
                await trio.sleep(LOOK_EVERY)

    async def _look(self, file: _File) -> list[Tabled | Arrived | Moved]:
        services, blobs = self._services, self._services.store.blobs
        partial = services.store.partials.get(file.content)
        if partial is not None:  # it is written to the disk for good while it is read already
            return _told(file, str(partial.data), partial.ranges(), partial.table)
        if await services.on_disk(blobs.has, file.content):
            table = await services.on_disk(blobs.table, file.content)
            place = await services.on_disk(blobs.place, file.content)
            file.here = True
            whole = ((0, file.content.size),)
            return _told(file, str(place or blobs.path(file.content)), whole, table)
        return []


@asynccontextmanager
async def leased(
    lease: Callable[..., AbstractAsyncContextManager[Engine]],
    pressure: Pressure,
    coming: Coming | None = None,
) -> AsyncIterator[Engine]:
    """The engine of `lease(arriving=…)`, whose load counts as pressure until it is there."""
    async with AsyncExitStack() as held:
        with pressure.loading() as load:
            news = _heard(load, coming.news()) if coming is not None else None
            if news is not None:
                load.wait_for_fetch()  # also if nobody asks: another loads it already
            engine = await held.enter_async_context(lease(arriving=news))
        yield engine


async def _heard(load: Load, news: News) -> News:
    """The same news; whenever it waits for the next, `load` waits for its fetch."""
    async with aclosing(news):
        while True:
            load.wait_for_fetch()
            each = await anext(news, None)
            load.go_on()
            if each is None:
                return
            yield each


def _told(
    file: _File, place: str, ranges: Sequence[tuple[int, int]], table: PieceTable | None
) -> list[Tabled | Arrived | Moved]:
    """What is new of a file."""
    found: list[Tabled | Arrived | Moved] = []
    if table is not None and file.content.has_table and not file.tabled:
        found.append(Tabled(file.name, table.pack()))
        file.tabled = True
    if place != file.place:
        found.append(Moved(file.name, place))
        file.place = place
    new = [each for each in ranges if each not in file.told]
    found += [Arrived(file.name, start, stop) for start, stop in new]
    file.told = set(ranges)
    return found
