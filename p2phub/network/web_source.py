"""A web server as a source of files: a folder, a bucket, a hub or a static export.

The same port as a peer: blocking clients in worker threads, verified pieces straight into the sink.
What a server sends is as little trusted as what a peer sends.

Rules it keeps:
 * at most `connections` requests at once to one server, whoever pulls, and `SMALL_AT_ONCE` times as
   many for small files, each of which is a request; one that asks to come back later gets no more;
 * redirects are followed a few times and only to where `Guard` lets us; where one led is remembered
   for a minute, so that a hub is not asked before every run;
 * a server that asks to come back later is obeyed: everybody waits, and that is no fault, but only
   `MOST_WAITING` seconds until it sends something;
 * `fetch`, `document` and `holds` return only when their thread has let go of the sink; when they
   are cancelled, the connection is cut so that this is soon;
 * a connection that was closed while it was idle is not a failure: a fresh one is tried;
 * of a server that sends nothing but whole files, at most `MOST_STREAMS` answers are kept open
   between two runs of their files.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final, TypeVar

import trio

from p2phub.errors import NotFoundError, RemoteError, TooSlowError
from p2phub.formats.ids import ContentId
from p2phub.formats.pieces import PieceTable, Run
from p2phub.network.waiting import one_error
from p2phub.network.web_client import WebClient
from p2phub.network.web_connection import proxy_of
from p2phub.network.web_guard import PUBLIC, Guard, Place, redirected
from p2phub.protocol.batch import one_by_one
from p2phub.protocol.ports import AcceptFile, Holding, Sink
from p2phub.protocol.seeds import document_url
from p2phub.protocol.web_answer import BusyError, MovedError

T = TypeVar("T")
Job = Callable[[WebClient, Place], T]
CONNECTIONS: Final = 2
MOST_REDIRECTS: Final = 5
REMEMBERED: Final = 60.0
"""Seconds that the end of a redirect is used again; signed addresses live longer."""
MOST_WAITING: Final = 60.0
LEAST_WAITING: Final = 0.5
MOST_STREAMS: Final = 8
SMALL_AT_ONCE: Final = 3
"""Small files that are asked for in the place of one run: with two places, as many as a browser."""


@dataclass(frozen=True, slots=True)
class _Known:
    """Where a URL led, and until when that is believed."""

    place: Place
    until: float


class WebSource:
    """The web server `name`, which has files at `urls`: one or more for each content id.

    `make_client` opens a connection to it. `places`: shared by all sources of one server.
    """

    def __init__(
        self,
        name: str,
        urls: Mapping[ContentId, Sequence[str]],
        *,
        guard: Guard | None = None,
        places: trio.Semaphore | None = None,
        connections: int = CONNECTIONS,
        make_client: Callable[[str], WebClient] = WebClient,
    ) -> None:
        self.name = name
        self.connections = connections
        self._urls, self._guard = urls, guard or Guard()
        self._places = places or trio.Semaphore(connections)
        self._make_client = make_client
        self._threads = trio.CapacityLimiter(connections * SMALL_AT_ONCE)
        self._lanes = SMALL_AT_ONCE
        self._idle: list[WebClient] = []
        self._active: set[WebClient] = set()
        self._in_order: set[ContentId] = set()
        """The files that come whole or not at all."""
        self._streams: dict[ContentId, WebClient] = {}
        """Those with the rest of such a file on its way; the newest stands last."""
        self._known: dict[str, _Known] = {}
        self._not_before, self._waited = 0.0, 0.0
        self._closed = self._has_helped = False
        self._trouble: RemoteError | None = None

    @property
    def trouble(self) -> RemoteError | None:
        """Why it is of no use, as far as it is known; None once it has brought something."""
        return None if self._has_helped else self._trouble

    async def holds(self, content: ContentId) -> Holding | None:
        """What the server has of this file; None if nothing.

        One that is busy just now is believed to have what it is said to have: a run finds out.
        """
        await trio.lowlevel.checkpoint()
        if content not in self._urls:
            return None
        try:
            self._places.acquire_nowait()
        except trio.WouldBlock:
            return Holding(complete=True)
        try:
            return await self._probe(content)
        finally:
            self._places.release()

    async def content_of(self, sha256: bytes) -> ContentId | None:
        """None: it knows its files by their addresses."""
        await trio.lowlevel.checkpoint()
        return None

    async def document(self, digest: bytes, limit: int) -> bytes:
        """The bytes it has under this digest, at most `limit`; only a static export has any."""
        for content, urls in self._urls.items():
            found = [document_url(url, content, digest) for url in urls]
            wanted = [url for url in found if url is not None]
            if content.digest == digest and wanted:
                async with self._places:
                    return await self._first(wanted, lambda client, at: client.document(at, limit))
        await trio.lowlevel.checkpoint()
        raise NotFoundError(f"{self.name} has no documents")

    def place(self) -> AbstractAsyncContextManager[None]:
        """One of its `connections`, whoever else wants one."""
        return self._places

    async def fetch(self, content: ContentId, table: PieceTable, run: Run, sink: Sink) -> None:
        """Hand every piece of `run` to `sink`, in order; returns when the last was accepted."""
        if not run.count:
            await trio.lowlevel.checkpoint()
            return
        urls = self._urls.get(content, ())
        if content not in self._in_order:
            await self._first(urls, lambda client, at: client.fetch(at, content, table, run, sink))
        elif not await self._goes_on(content, table, run, sink):
            await self._first(urls, lambda client, at: client.stream(at, content, table, run, sink))
        self._has_helped = True

    async def _goes_on(self, content: ContentId, table: PieceTable, run: Run, sink: Sink) -> bool:
        """Go on with the answer that has the rest of the file; whether there was one."""
        client = self._streams.pop(content, None)
        if client is None:
            return False
        if not client.leads_to(run):
            client.close()
            return False
        await self._run(client, lambda each: each.go_on(content, table, run, sink))
        return True

    async def fetch_many(
        self, contents: Sequence[ContentId], accept: AcceptFile
    ) -> Sequence[ContentId]:
        """Hand each of these small files that it has to `accept`, a few at once; what it lacks."""
        todo, lacking = iter(contents), set[ContentId]()

        async def bring(lane: int) -> None:
            for content in todo:
                lacking.update(await one_by_one(self, [content], accept))
                if lane >= self._lanes:
                    return

        async with one_error(), trio.open_nursery() as nursery:
            for lane in range(min(self._lanes, len(contents))):
                nursery.start_soon(bring, lane)
        return [content for content in contents if content in lacking]

    async def close(self) -> None:
        """End every connection; what is still asked fails."""
        self._closed = True
        for client in self._active:
            client.abort()
        while self._idle:
            self._idle.pop().close()
        while self._streams:
            self._streams.popitem()[1].close()
        await trio.lowlevel.checkpoint()

    async def _probe(self, content: ContentId) -> Holding | None:
        if not content.size:
            return Holding(complete=True)
        for url in self._urls[content]:
            try:
                holding = await self._follow(url, lambda client, at: client.holds(at, content))
                if holding is not None and holding.in_order:
                    self._in_order.add(content)
                return holding
            except BusyError as busy:
                self._wait_for(busy)
                return Holding(complete=True)
            except NotFoundError:
                continue
        return None

    async def _first(self, urls: Sequence[str], job: Job[T]) -> T:
        """`job` at the first of `urls` that has it."""
        lacks = NotFoundError(f"{self.name} does not have these bytes")
        for url in urls:
            try:
                return await self._patiently(url, job)
            except NotFoundError as error:
                lacks = error
        raise lacks

    async def _patiently(self, url: str, job: Job[T]) -> T:
        """Obey a server that asks to come back later."""
        while True:
            await trio.sleep_until(max(self._not_before, trio.current_time()))
            try:
                result = await self._follow(url, job)
            except BusyError as busy:
                self._wait_for(busy)
            else:
                self._waited = 0.0
                return result

    def _wait_for(self, busy: BusyError) -> None:
        self._lanes, now = 1, trio.current_time()
        until = now + max(busy.seconds, LEAST_WAITING)
        more = max(0.0, until - max(now, self._not_before))
        if self._waited + more > MOST_WAITING:
            self._trouble = TooSlowError(busy.message)
            raise self._trouble
        self._waited += more
        self._not_before = max(self._not_before, until)

    async def _follow(self, url: str, job: Job[T]) -> T:
        """`job` where `url` leads in the end."""
        known = self._known.pop(url, None)
        if known is not None and trio.current_time() < known.until:
            try:
                result = await self._ask(known.place, job)
            except (NotFoundError, MovedError):
                pass  # it led elsewhere, or its signature has run out: from the beginning
            else:
                self._known[url] = known
                return result
        place = await self._placed(url, PUBLIC)
        for _ in range(MOST_REDIRECTS):
            try:
                result = await self._ask(place, job)
            except MovedError as moved:
                place = await self._placed(redirected(place.url, moved.location), place.depth)
            else:
                self._known[url] = _Known(place, trio.current_time() + REMEMBERED)
                return result
        raise RemoteError(f"{self.name} redirects for ever")

    async def _placed(self, url: str, came_from: int) -> Place:
        try:
            return await self._guard.place(url, came_from, proxied=proxy_of(url) is not None)
        except RemoteError as error:
            self._trouble = error
            raise

    async def _ask(self, place: Place, job: Job[T]) -> T:
        if self._closed:
            raise RemoteError(f"the source {self.name} was closed")
        while self._idle:
            client = self._idle.pop()
            try:
                return await self._run(client, lambda each: job(each, place))
            except RemoteError as error:
                if client.answered or isinstance(error, TooSlowError):
                    raise
        return await self._run(self._make_client(self.name), lambda each: job(each, place))

    async def _run(self, client: WebClient, job: Callable[[WebClient], T]) -> T:
        """Do `job` in a thread; keep the client if it may be used again."""
        self._active.add(client)
        is_done = False

        async def cut_when_cancelled() -> None:
            try:
                await trio.sleep_forever()
            finally:
                if not is_done:
                    client.abort()

        try:
            async with one_error(), trio.open_nursery() as nursery:
                nursery.start_soon(cut_when_cancelled)
                try:
                    result = await trio.to_thread.run_sync(job, client, limiter=self._threads)
                finally:
                    is_done = True
                    nursery.cancel_scope.cancel()
            return result
        except RemoteError as error:
            if not (client.is_aborted or isinstance(error, BusyError | MovedError)):
                self._trouble = error
            raise
        finally:
            self._active.discard(client)
            if client.answered and not (client.is_aborted or self._closed):
                self._keep(client)
            else:
                client.close()

    def _keep(self, client: WebClient) -> None:
        content = client.streaming
        if content is None:
            self._idle.append(client)
            return
        former = self._streams.pop(content, None)
        self._streams[content] = client
        if former is None and len(self._streams) > MOST_STREAMS:
            former = self._streams.pop(next(iter(self._streams)))
        if former is not None:
            former.close()
