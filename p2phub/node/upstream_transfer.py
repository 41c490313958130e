"""Get a file from the upstream itself: over a few connections, over restarts, whole and checked.

What comes lies aside until the last step is here (`store.incoming`). An upstream that breaks off is
asked again for the rest; only one that sends nothing `ATTEMPTS` times in a row is given up.

A token goes to the upstream alone, and to no server that it redirects to.

>>> PAUSE * 2**ATTEMPTS
32.0
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Final

import trio

from p2phub.errors import NoSourceError, NotFoundError, RemoteError, WrongBytesError, plain_errors
from p2phub.formats.ids import ContentId
from p2phub.formats.pieces import Run
from p2phub.network.limits import Patience
from p2phub.network.web_client import Rights, WebClient
from p2phub.network.web_guard import Guard
from p2phub.network.web_source import WebSource
from p2phub.node.services import Services
from p2phub.node.upstream import ForeignFile
from p2phub.protocol.seeds import host_of
from p2phub.store.incoming import IncomingFile, WholeDigest

ATTEMPTS: Final = 5
"""How often the upstream may fail in a row without sending a step of a file."""
PAUSE: Final = 1.0
"""Seconds before the second attempt; twice as many before the next one."""


PATIENCE: Final = Patience(request=60.0)
"""Who has a copy that is being made for us needs longer than a mirror of others."""


class UpstreamTransfer:
    """Brings files of the upstream of one node. Connections are shared by all of them."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._connections = services.config.swarm.connections
        self._places = trio.Semaphore(self._connections)

    async def keep(self, file: ForeignFile) -> ContentId:
        """Bring a file that anybody may have: the blob that it is now.

        Raises `NoSourceError`, `WrongBytesError`, `NoSpaceError`, `QuotaError`.
        """
        async with self._incoming(file) as incoming:
            await self._bring(file, incoming)
            try:
                found = await self._services.on_disk(incoming.keep)
            except WrongBytesError:
                if not incoming.resumed:
                    raise
                await self._bring(file, incoming)  # what came before a power cut had rotted
                found = await self._services.on_disk(incoming.keep)
            return found.content

    @asynccontextmanager
    async def aside(self, file: ForeignFile) -> AsyncIterator[IncomingFile]:
        """Bring a file that took a token; it is gone after the block. Raises as `keep`."""
        async with self._incoming(file) as incoming:
            await self._bring(file, incoming)
            await self._services.on_disk(incoming.checked)
            yield incoming

    @asynccontextmanager
    async def _incoming(self, file: ForeignFile) -> AsyncIterator[IncomingFile]:
        on_disk, files = self._services.on_disk, self._services.store.incoming
        incoming = await on_disk(files.begin, file.wanted, private=file.private)
        try:
            yield incoming
        finally:
            with trio.CancelScope(shield=True):
                await on_disk(files.end, incoming, drop=file.private)

    async def _bring(self, file: ForeignFile, incoming: IncomingFile) -> None:
        """All steps that are missing."""
        source = self._source(file)
        try:
            await self._bring_from(source, file, incoming)
        except NotFoundError as error:
            raise _gone(file, error) from None
        finally:
            with trio.CancelScope(shield=True):
                await source.close()

    async def _bring_from(
        self, source: WebSource, file: ForeignFile, incoming: IncomingFile
    ) -> None:
        failures = 0
        while missing := await self._services.on_disk(lambda: list(incoming.missing())):
            before = incoming.here()
            try:
                await self._fetch(source, incoming, missing)
            except RemoteError as error:
                failures = 1 if incoming.here() > before else failures + 1
                if failures == ATTEMPTS:
                    raise _gone(file, error) from None
                await trio.sleep(PAUSE * 2 ** (failures - 1))

    async def _fetch(self, source: WebSource, incoming: IncomingFile, missing: list[Run]) -> None:
        content, workers = _stand_in(incoming.wanted), self._connections
        if content.has_table:  # a small one is asked for at once
            holding = await source.holds(content)
            if holding is None:
                raise NotFoundError("it does not have the file any more")
            workers = 1 if holding.in_order else workers
        todo, sink = iter(missing), _Counted(incoming, self._services)
        with plain_errors():
            async with trio.open_nursery() as nursery:
                for _ in range(min(workers, len(missing))):
                    nursery.start_soon(_work, source, content, sink, todo)

    def _source(self, file: ForeignFile) -> WebSource:
        down = self._services.traffic.paces.down
        rights = Rights(file.url, file.token) if file.token else None
        name = host_of(file.url)
        return WebSource(
            name,
            {_stand_in(file.wanted): (file.url,)},
            guard=Guard(frozenset({name})),
            places=self._places,
            connections=self._connections,
            make_client=lambda name: WebClient(name, patience=PATIENCE, down=down, rights=rights),
        )


class _Counted:
    """A sink that counts what it hands on."""

    def __init__(self, incoming: IncomingFile, services: Services) -> None:
        self.incoming, self._services = incoming, services

    def accept(self, index: int, piece: memoryview) -> None:
        self.incoming.accept(index, piece)
        self._services.traffic.down.add(len(piece))


async def _work(source: WebSource, content: ContentId, sink: _Counted, todo: Iterator[Run]) -> None:
    for run in todo:
        async with source.place():
            await source.fetch(content, sink.incoming.steps, run, sink)


def _stand_in(wanted: WholeDigest) -> ContentId:
    """What the file is called while its content id is not known."""
    return ContentId(wanted.size, wanted.digest.ljust(32, b"\0"))


def _gone(file: ForeignFile, error: Exception) -> NoSourceError:
    return NoSourceError(
        f"{file.path} of {file.repo} cannot be had from the upstream: {error}",
        remedy="what came of it is kept; ask again later",
    )
