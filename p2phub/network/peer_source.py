"""A peer as a source of files: over its data port if that answers, over a libp2p stream if not.

Bulk bytes move in worker threads between blocking sockets and the sink; trio only starts that and
waits. A peer's connections are kept open and used again.

Rules it keeps:
 * `fetch`, `document` and `holds` return only when their thread has let go of the sink; when they
   are cancelled, the connection is cut so that this is soon;
 * a connection that the peer has closed while it was idle is not a failure: a fresh one is tried;
 * a peer that does not hand out many files for one request is asked for each;
 * a ticket that the peer does not know any more is renewed once;
 * a peer that is busy and says when to come again is asked again then, for a while: that is no
   fault of its;
 * the fall-back is told to people once (`tell`) and shown by `via`; the data port is tried again
   every minute;
 * whatever the peer does becomes one of the errors that `Source` names.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final, Literal, TypeVar

import trio

from p2phub.config import Endpoint
from p2phub.errors import NoSourceError, RemoteError, TooSlowError
from p2phub.formats.ids import ContentId
from p2phub.formats.pieces import PieceTable, Run
from p2phub.network.addresses import numeric
from p2phub.network.data_client import DataClient
from p2phub.network.limits import Patience
from p2phub.network.stream_http import HTTP, StreamClient
from p2phub.network.throttle import UNLIMITED, Throttle
from p2phub.network.waiting import ended, one_error
from p2phub.protocol.ask import BusyError, NotUnderstoodError, UnknownTicketError
from p2phub.protocol.batch import batches_of, one_by_one
from p2phub.protocol.ports import AcceptFile, ControlNetwork, Holding, Sink

T = TypeVar("T")
Renew = Callable[[], Awaitable[bytes]]
Via = Literal["", "tls", "stream"]
CONNECTIONS: Final = 2
_SPARE: Final = 1
"""Connections for questions, which need not wait for a long run."""


class PeerSource:
    """The peer `peer_id` as a `Source`.

    `addresses`: where its data port may be. `ticket`: what it gave us in its hello, empty to be
    nobody; `renew` asks for a fresh one. `network`: for the fall-back; None is none. `tell` gets
    sentences for people.
    """

    def __init__(
        self,
        peer_id: str,
        addresses: Sequence[Endpoint],
        ticket: bytes = b"",
        *,
        name: str = "",
        connections: int = CONNECTIONS,
        network: ControlNetwork | None = None,
        renew: Renew | None = None,
        tell: Callable[[str], None] = lambda sentence: None,
        patience: Patience | None = None,
        down: Throttle = UNLIMITED,
    ) -> None:
        self.name = name or peer_id
        self.connections = connections
        self.via: Via = ""
        """How it was reached last; empty before the first answer."""
        self._peer_id, self._addresses, self._ticket = peer_id, tuple(addresses), ticket
        self._network, self._renew, self._tell = network, renew, tell
        self._patience, self._down = patience or Patience(), down
        self._places, self._questions = trio.Semaphore(connections), trio.Semaphore(_SPARE)
        self._threads = trio.CapacityLimiter(connections + _SPARE)
        self._idle: list[DataClient] = []
        self._active: set[DataClient] = set()
        self._direct_from = 0.0
        self._problem = ""
        self._told = self._closed = False
        self._knows_batches = True

    async def holds(self, content: ContentId) -> Holding | None:
        """What the peer has of this file; None if nothing."""
        async with self._questions:
            return await self._ask(
                lambda client: client.holds(content), lambda client: client.holds(content)
            )

    async def content_of(self, sha256: bytes) -> ContentId | None:
        """The file of this SHA-256 that the peer says it hashed whole."""
        async with self._questions:
            return await self._ask(
                lambda client: client.content_of(sha256), lambda client: client.content_of(sha256)
            )

    async def document(self, digest: bytes, limit: int) -> bytes:
        """The bytes it has under this digest, at most `limit`. Not yet checked by anyone."""
        async with self._questions:
            return await self._ask(
                lambda client: client.document(digest, limit),
                lambda client: client.document(digest, limit),
            )

    def place(self) -> AbstractAsyncContextManager[None]:
        """One of its `connections`, whoever else wants one."""
        return self._places

    async def fetch(self, content: ContentId, table: PieceTable, run: Run, sink: Sink) -> None:
        """Hand every piece of `run` to `sink`, in order; returns when the last was accepted."""
        await self._ask(
            lambda client: client.fetch(content, table, run, sink),
            lambda client: client.fetch(content, table, run, sink),
        )

    async def fetch_many(
        self, contents: Sequence[ContentId], accept: AcceptFile
    ) -> Sequence[ContentId]:
        """Hand each of these small files that it has to `accept`; what it lacks.

        A peer that knows no such request is asked for one after the other.
        """
        lacking: list[ContentId] = []
        for batch in batches_of(contents):
            lacking += await self._fetch_batch(batch, accept)
        return lacking

    async def _fetch_batch(
        self, batch: Sequence[ContentId], accept: AcceptFile
    ) -> Sequence[ContentId]:
        if self._knows_batches:
            try:
                return await self._ask(
                    lambda client: client.fetch_many(batch, accept),
                    lambda client: client.fetch_many(batch, accept),
                )
            except NotUnderstoodError:
                self._knows_batches = False
        return await one_by_one(self, batch, accept)

    async def close(self) -> None:
        """End every connection; what is still asked fails."""
        self._closed = True
        for client in self._active:
            client.abort()
        while self._idle:
            self._idle.pop().close()
        await trio.lowlevel.checkpoint()

    async def _ask(
        self,
        over_tls: Callable[[DataClient], T],
        over_stream: Callable[[StreamClient], Awaitable[T]],
    ) -> T:
        may_renew, patient_until = True, trio.current_time() + self._patience.busy
        while True:
            try:
                return await self._once(over_tls, over_stream)
            except UnknownTicketError:
                if not may_renew or self._renew is None:
                    raise
                may_renew = False
                self._ticket = await self._renew()
            except BusyError as busy:
                if trio.current_time() + busy.seconds > patient_until:
                    raise
                await trio.sleep(busy.seconds)

    async def _once(
        self,
        over_tls: Callable[[DataClient], T],
        over_stream: Callable[[StreamClient], Awaitable[T]],
    ) -> T:
        if self._closed:
            raise RemoteError(f"the source {self.name} was closed")
        if trio.current_time() < self._direct_from and self._network is not None:
            return await self._over_stream(over_stream, self._network)
        try:
            return await self._over_tls(over_tls)
        except NoSourceError as error:
            if self._network is None or self._closed:
                raise
            self._problem = error.message
            return await self._over_stream(over_stream, self._network)

    async def _over_stream(
        self, job: Callable[[StreamClient], Awaitable[T]], network: ControlNetwork
    ) -> T:
        stream = await network.open_stream(self._peer_id, HTTP)
        if trio.current_time() >= self._direct_from:
            self._direct_from = trio.current_time() + self._patience.retry_direct
        async with ended(stream):
            result = await job(
                StreamClient(stream, self.name, patience=self._patience, down=self._down)
            )
        self.via = "stream"
        if not self._told:
            self._told = True
            self._tell(f"{self._problem}; its files come over a libp2p stream, which is slower")
        return result

    async def _over_tls(self, job: Callable[[DataClient], T]) -> T:
        while self._idle:
            client = self._idle.pop()
            try:
                return await self._run(client, job)
            except RemoteError as error:
                if client.answered or isinstance(error, TooSlowError):
                    raise
        addresses = await numeric(self._addresses, self._patience.connect)

        def connect_and_do(client: DataClient) -> T:
            client.connect(addresses)
            return job(client)

        fresh = DataClient(self._peer_id, name=self.name, patience=self._patience, down=self._down)
        return await self._run(fresh, connect_and_do)

    async def _run(self, client: DataClient, job: Callable[[DataClient], T]) -> T:
        """Do `job` in a thread; keep the connection if it may be used again."""
        client.ticket = self._ticket
        self._active.add(client)
        try:
            result = await self._in_thread(client, job)
            self.via = "tls"
            return result
        finally:
            self._active.discard(client)
            if client.reusable and not self._closed:
                self._idle.append(client)
            else:
                client.close()

    async def _in_thread(self, client: DataClient, job: Callable[[DataClient], T]) -> T:
        """Cancellable: the connection is cut, and then the thread is waited for."""
        is_done = False

        async def cut_when_cancelled() -> None:
            try:
                await trio.sleep_forever()
            finally:
                if not is_done:
                    client.abort()

        async with one_error(), trio.open_nursery() as nursery:
            nursery.start_soon(cut_when_cancelled)
            try:
                result = await trio.to_thread.run_sync(job, client, limiter=self._threads)
            finally:
                is_done = True
                nursery.cancel_scope.cancel()
        return result
