"""Files of an upstream: found here, brought by peers, or fetched from it once; whole, and checked.

Nothing signed says what parts of such a file must be, so nobody reads a byte of it before the last
one is here and the whole is what the upstream names. A file of which it names the SHA-256 may be
here already under any name, or come from peers (`upstream_swarm`); one that it knows only by git's
SHA-1 comes from it. All who want the same file share one fetch, which goes on for `GRACE` seconds
when the last of them has left; what came of it stays on the disk.

What took a token is nobody else's: it is asked of no peer, is no blob, is in no record, and is gone
`PRIVATE_GRACE` seconds after its last reader.
"""

import math
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import trio

from p2phub.errors import NoSourceError, P2PHubError, WrongBytesError
from p2phub.formats.ids import ContentId
from p2phub.formats.limits import MIN_BIG_FILE
from p2phub.node.on_demand import CHUNK, GRACE, Reading
from p2phub.node.services import Services
from p2phub.node.upstream import ForeignFile
from p2phub.node.upstream_swarm import Swarm
from p2phub.node.upstream_transfer import UpstreamTransfer
from p2phub.store.incoming import IncomingFile, WholeDigest
from p2phub.store.upstream import Origin, SeenFile

PRIVATE_GRACE: Final = 600.0
"""Seconds for which a file that took a token is kept for who comes again."""
Key = tuple[WholeDigest, bool]


@dataclass(slots=True)
class _Fetch:
    """What goes on for everybody who wants the same file."""

    file: ForeignFile
    """As who asked first named it."""
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    ended: trio.Event = field(default_factory=trio.Event)
    error: P2PHubError | None = None
    content: ContentId | None = None
    """The blob that it is now."""
    private: IncomingFile | None = None
    """Or the file aside."""
    readers: int = 0


class UpstreamFiles:
    """The files of one node's upstream, for readers. `run` has to run.

    `noted` is told of a commit of which another public file is here and checked.
    """

    def __init__(self, services: Services, noted: Callable[[Origin], None]) -> None:
        self._services, self._noted = services, noted
        self._swarm, self._transfer = Swarm(services), UpstreamTransfer(services)
        self._fetches: dict[Key, _Fetch] = {}
        self._nursery: trio.Nursery | None = None

    async def run(self, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        """The fetches live in this, until it is cancelled."""
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await trio.sleep_forever()

    async def is_here(self, file: ForeignFile) -> bool:
        """Whether nobody need be asked for it."""
        return await self._services.on_disk(self._here, file.wanted) is not None

    @asynccontextmanager
    async def reading(self, file: ForeignFile, start: int, stop: int) -> AsyncIterator[Reading]:
        """The checked bytes [start, stop) of a file, once all of it is here.

        Raises `NoSourceError` if neither a peer nor the upstream has it now, `WrongBytesError`,
        `NoSpaceError`, `QuotaError`.
        """
        async with self._shared(file) as fetch:
            await fetch.ended.wait()
            if fetch.error is not None:
                raise fetch.error
            if fetch.content is not None and not _is_same(file, fetch.file):
                await self._note(file, fetch.content)
            fd = await self._services.on_disk(self._open, fetch)
            try:
                async with aclosing(self._read(fd, start, stop)) as chunks:
                    yield Reading(chunks, fd, self._services.on_disk)
            finally:
                os.close(fd)

    def _open(self, fetch: _Fetch) -> int:
        if fetch.private is not None:
            return fetch.private.open()
        assert fetch.content is not None
        return self._services.store.blobs.open_verified(fetch.content)

    async def _read(self, fd: int, at: int, stop: int) -> AsyncGenerator[bytes, None]:
        while at < stop:
            data = await self._services.on_disk(os.pread, fd, min(CHUNK, stop - at), at)
            if not data:
                raise WrongBytesError("a file was cut short while it was read")
            at += len(data)
            yield data

    # ------------------------------------------------------------ one fetch for all

    @asynccontextmanager
    async def _shared(self, file: ForeignFile) -> AsyncIterator[_Fetch]:
        assert self._nursery is not None
        key = (file.wanted, file.private)
        fetch = self._fetches.get(key)
        if fetch is None:
            fetch = self._fetches[key] = _Fetch(file)
            self._nursery.start_soon(self._run, key, fetch)
        fetch.readers += 1
        fetch.scope.deadline = math.inf
        try:
            yield fetch
        finally:
            fetch.readers -= 1
            if not fetch.readers:
                grace = PRIVATE_GRACE if fetch.private is not None else GRACE
                fetch.scope.deadline = trio.current_time() + grace

    async def _run(self, key: Key, fetch: _Fetch) -> None:
        file = fetch.file
        with fetch.scope:
            try:
                if file.private:
                    async with self._transfer.aside(file) as fetch.private:
                        fetch.ended.set()
                        await trio.sleep_forever()
                fetch.content = await self._brought(file)
            except P2PHubError as error:
                fetch.error = error
            finally:
                del self._fetches[key]
                fetch.ended.set()
        if fetch.content is None and fetch.error is None and fetch.readers:
            fetch.error = NoSourceError("nobody waited for the file any more")

    async def _brought(self, file: ForeignFile) -> ContentId:
        """The file as a blob, from wherever it is."""
        services = self._services
        content = await services.on_disk(self._here, file.wanted)
        if content is None:
            content = await self._swarm.bring(file.wanted)
            content = content or await self._transfer.keep(file)
            if file.wanted.size > MIN_BIG_FILE and file.wanted.is_sha256:
                services.announcer.file(file.wanted.digest)
        await self._note(file, content)
        return content

    def _here(self, wanted: WholeDigest) -> ContentId | None:
        store, digest = self._services.store, wanted.digest
        if wanted.is_sha256:
            found = store.blobs.by_sha256(digest)
        else:
            found = store.upstream.by_git_sha1(digest, wanted.size)
        fits = (each for each in found if each.size == wanted.size and store.blobs.has(each))
        return next(fits, None)

    async def _note(self, file: ForeignFile, content: ContentId) -> None:
        if await self._services.on_disk(self._is_new, file, content):
            self._noted(file.origin)

    def _is_new(self, file: ForeignFile, content: ContentId) -> bool:
        sha256 = self._services.store.blobs.sha256(content)
        if sha256 is None:
            return False  # it was found damaged at this moment
        git_sha1 = None if file.wanted.is_sha256 else file.wanted.digest
        seen = SeenFile(file.path, content, sha256, git_sha1)
        return self._services.store.upstream.put_file(file.origin, seen)


def _is_same(one: ForeignFile, other: ForeignFile) -> bool:
    """Whether two files are one, and not two with the same bytes."""
    return (one.origin, one.path) == (other.origin, other.path)
