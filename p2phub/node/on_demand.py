"""Files for whoever reads them now: the bytes of one, in order, while they are still fetched.

A reader gets verified bytes only. What is here is read from the blob; of what is not, the pieces
are fetched in the order of the file and handed on as they come. All who want the same bytes share
one fetch, which goes on for `GRACE` seconds when the last of them has left: who lost the connection
comes again, and finds what came meanwhile. What was fetched stays, as after any pull.

A fetch of other parts of the same file would wait until the first is done. Who has waited `HURRY`
seconds for a short range gets it beside the other.

    async with on_demand.reading(resolved, file, 0, file.size) as reading:
        async for data in reading: ...
"""

import math
import os
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final

import trio

from p2phub.errors import NoSourceError, NotFoundError, P2PHubError
from p2phub.formats.ids import ContentId, commit_id
from p2phub.formats.limits import MIB
from p2phub.formats.manifest import FileEntry
from p2phub.formats.ranges import Range
from p2phub.node.bring import bring_all, bring_part
from p2phub.node.events import Event
from p2phub.node.locate import ResolvedRelease
from p2phub.node.ranges import holding
from p2phub.node.services import DiskThreads, Services
from p2phub.store.excerpt import read_excerpt

CHUNK: Final = MIB
"""Bytes that are handed on at a time, at most."""
SIP: Final = 256 << 10
"""The same while they are fetched, often for many readers."""
GRACE: Final = 30.0
"""Seconds for which nobody need read what is fetched."""
LOOK_EVERY: Final = 0.02
"""Seconds between two looks at what has come."""
HURRY: Final = 2.0
"""Seconds without a byte after which a short range is fetched beside what goes on."""
SHORT: Final = 16 * MIB
"""Bytes of a short range."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Bytes of a file of a release."""

    resolved: ResolvedRelease
    file: FileEntry
    start: int
    stop: int
    beside: bool = False
    """Whether to wait for no other fetch of the file."""

    @property
    def key(self) -> tuple[bytes, ContentId, int, int, bool]:
        return self.resolved.digest, self.file.content, self.start, self.stop, self.beside

    @property
    def whole(self) -> bool:
        return (self.start, self.stop) == (0, self.file.size)


@dataclass(slots=True)
class _Fetch:
    """What goes on for everybody who wants the same bytes."""

    digest: bytes
    """Of the release."""
    behind: bool
    """Whether another fetch of the file was under way when it began."""
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    ended: trio.Event = field(default_factory=trio.Event)
    error: P2PHubError | None = None
    readers: int = 0


@dataclass(frozen=True, slots=True)
class Reading:
    """Verified bytes of a file, to be iterated over once, at most `CHUNK` of them at a time."""

    chunks: AsyncIterator[bytes]
    blob: int
    """The whole file, open for reading, if it is here; else -1."""
    on_disk: DiskThreads
    """The threads that may wait for it."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self.chunks


class OnDemand:
    """The files of one node, for readers. `run` has to run."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._fetches: dict[object, _Fetch] = {}
        self._nursery: trio.Nursery | None = None

    async def run(self, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        """The fetches live in this, until it is cancelled."""
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await trio.sleep_forever()

    @asynccontextmanager
    async def reading(
        self, resolved: ResolvedRelease, file: FileEntry, start: int, stop: int
    ) -> AsyncIterator["Reading"]:
        """The bytes [start, stop) of a file of a release.

        Iterating raises what a pull raises, when it comes to a byte that cannot be had. The block
        ends with `RevokedError` if the release is taken back meanwhile.
        """
        wanted = _Wanted(resolved, file, start, stop)
        async with self._services.withdrawals.obeyed(resolved.digest):
            blob = await self._services.on_disk(self._open, file.content) if start < stop else -1
            come = self._whole(blob, wanted) if blob >= 0 else self._as_it_comes(wanted)
            try:
                async with aclosing(come) as chunks:
                    yield Reading(chunks, blob, self._services.on_disk)
            finally:
                if blob >= 0:
                    os.close(blob)

    async def _whole(self, blob: int, wanted: _Wanted) -> AsyncGenerator[bytes, None]:
        on_disk, at, stop = self._services.on_disk, wanted.start, wanted.stop
        while at < stop:
            data = await on_disk(os.pread, blob, min(CHUNK, stop - at), at)
            if not data:
                raise _gone(wanted.file)
            at += len(data)
            yield data

    def _open(self, content: ContentId) -> int:
        """A blob that is here and right, open; -1: it has to be fetched."""
        try:
            return self._services.store.blobs.open_verified(content)
        except P2PHubError:  # not here, or damaged and in quarantine by now
            return -1

    # ------------------------------------------------------------ while it is fetched

    async def _as_it_comes(self, wanted: _Wanted) -> AsyncGenerator[bytes, None]:
        content, at, stop = wanted.file.content, wanted.start, wanted.stop
        if at == stop:
            return
        async with AsyncExitStack() as held:
            fetch = await held.enter_async_context(self._shared(wanted))
            since = trio.current_time()
            while at < stop:
                ended = fetch.ended.is_set()  # asked first: what it brought is seen after it
                data = await self._services.on_disk(self._what_came, content, at, stop)
                if data:
                    at, since = at + len(data), trio.current_time()
                    yield data
                elif fetch.error is not None:
                    raise fetch.error
                elif ended:  # a part that nobody has open any more
                    part = [(at, min(at + SIP, stop))]
                    data = await self._services.on_disk(self._excerpt, content, part)
                    at, since = at + len(data), trio.current_time()
                    yield data
                elif self._hurries(fetch, content, stop - at, since):
                    beside = replace(wanted, start=at, beside=True)
                    fetch = await held.enter_async_context(self._shared(beside))
                    since = math.inf  # once is enough
                else:
                    with trio.move_on_after(LOOK_EVERY):
                        await fetch.ended.wait()

    def _hurries(self, fetch: _Fetch, content: ContentId, left: int, since: float) -> bool:
        """Whether a short range has waited for another fetch of its file for long enough."""
        waits = fetch.behind and self._services.bringing.taken(content)
        return waits and left <= SHORT and trio.current_time() - since > HURRY

    def _what_came(self, content: ContentId, at: int, stop: int) -> bytes:
        """What is here of a file from `at` on, verified; empty if nothing is."""
        store, end = self._services.store, min(at + SIP, stop)
        partial = store.partials.get(content)
        try:
            if partial is None:
                with store.blobs.opened(content) as blob:
                    return os.pread(blob, end - at, at)
            return partial.read(at, partial.here_from(at, end) - at)
        except NotFoundError:  # not yet, or it becomes a blob at this moment
            return b""

    def _excerpt(self, content: ContentId, ranges: Sequence[Range]) -> bytes:
        store = self._services.store
        return read_excerpt(store.blobs, store.partials, content, ranges)

    @asynccontextmanager
    async def _shared(self, wanted: _Wanted) -> AsyncIterator[_Fetch]:
        """The fetch of these bytes, for one more reader."""
        assert self._nursery is not None
        fetch = self._fetches.get(wanted.key)
        if fetch is None:
            behind = self._services.bringing.taken(wanted.file.content)
            fetch = self._fetches[wanted.key] = _Fetch(wanted.resolved.digest, behind)
            self._nursery.start_soon(self._run, wanted, fetch)
        fetch.readers += 1
        fetch.scope.deadline = math.inf
        try:
            yield fetch
        finally:
            fetch.readers -= 1
            if not fetch.readers:
                fetch.scope.deadline = trio.current_time() + GRACE

    async def _run(self, wanted: _Wanted, fetch: _Fetch) -> None:
        try:
            with fetch.scope:
                await self._bring(wanted)
        except P2PHubError as error:
            fetch.error = error
        finally:
            del self._fetches[wanted.key]
            fetch.ended.set()
        if fetch.error is None and not fetch.scope.cancelled_caught:
            await self._came(wanted)

    async def _bring(self, wanted: _Wanted) -> None:
        services, resolved, file = self._services, wanted.resolved, wanted.file
        async with holding(services, resolved, file.content):
            if not wanted.whole and await self._brought_part(wanted):
                return
            # A file whose table nobody has comes whole, and is hashed before anybody sees it.
            await bring_all(services, resolved, [file], ignore, head=file.size)

    async def _brought_part(self, wanted: _Wanted) -> bool:
        """Bring a range; False if nobody has the piece table of the file."""
        services, file, beside = self._services, wanted.file, wanted.beside
        ranges = [(wanted.start, wanted.stop)]
        try:
            await bring_part(
                services, wanted.resolved, file, ranges, ignore, in_order=True, beside=beside
            )
        except NoSourceError:
            if await services.on_disk(services.store.blobs.table, file.content) is not None:
                raise
            return False
        return True

    async def _came(self, wanted: _Wanted) -> None:
        """Tell others of a release of which the last file has come."""
        services, digest = self._services, wanted.resolved.digest
        services.hashing_waits.ring()
        if any(fetch.digest == digest for fetch in self._fetches.values()):
            return
        if await services.on_disk(_note_if_complete, services, wanted.resolved):
            services.announcer.publisher(wanted.resolved.repo.publisher)
            services.announcer.release(digest)


def _note_if_complete(services: Services, resolved: ResolvedRelease) -> bool:
    blobs, repo = services.store.blobs, resolved.repo
    if not all(blobs.has(file.content) for file in resolved.release.files):
        return False
    services.store.repos.pulled(
        repo.publisher,
        repo.name,
        commit_id(resolved.digest),
        digest=resolved.digest,
        ref=resolved.revision,
        now=services.now(),
    )
    return True


def ignore(event: Event) -> None:
    """Where the events of a fetch go that nobody follows."""


def _gone(file: FileEntry) -> NotFoundError:
    return NotFoundError(
        f"{'/'.join(file.path)} was taken away while it was read", remedy="ask for it again"
    )
