"""The control protocol: one question and one answer on a stream, each a length and a message.
Here is who answers; who asks is `p2phub.network.control_client`.

`hello` says who we are, where our data port is, and gives the asker a ticket for it; `documents`
hands out small documents and heads; `have` says what we hold of files, and goes on saying what is
new to whoever follows them; `exchange` names peers that have or fetch something; `tell` takes heads
and notices that were new to a peer; `catalog` gives those that are newer than what a peer knows.
What a message means is in `p2phub.formats.messages` and `p2phub.formats.news`; that a peer is who
it says is the stream's doing.

Rules it keeps:
 * a question and its answer have ten seconds together; a peer has a few questions open at once,
   and follows a few files;
 * who follows and says more, or stops listening, is told no more; nor is anybody told of what is
   neither here nor being fetched: the end of the news says that none will come;
 * a question that this version does not understand is answered with an error, so that a later
   version can tell; anything that is not the protocol at all resets the stream;
 * the store is asked in worker threads.

Nothing that comes in here is believed: documents and heads go to the gate, holdings are tried,
addresses are dialled by whoever thinks them worth it.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

import trio

from p2phub.errors import P2PHubError, RefusedError, RemoteError
from p2phub.formats.ids import ContentId
from p2phub.formats.limits import (
    KIB,
    MAX_ADDRESS,
    MAX_MESSAGE,
)
from p2phub.formats.messages import (
    DocumentsReply,
    DocumentsRequest,
    ErrorReply,
    ExchangeReply,
    ExchangeRequest,
    HaveReply,
    HaveRequest,
    HelloReply,
    HelloRequest,
    Reply,
    decode_request,
    encode_message,
)
from p2phub.formats.news import CatalogReply, CatalogRequest, TellReply, TellRequest
from p2phub.network.following import Told, have_reply
from p2phub.network.framing import framed, read_message
from p2phub.network.limits import (
    FOLLOW_SECONDS,
    MAX_FOLLOWED,
    MAX_FOLLOWING,
    MAX_FOLLOWING_PER_PEER,
    MAX_STREAMS_PER_PEER,
    Patience,
)
from p2phub.network.tickets import Tickets, steady_time
from p2phub.network.waiting import ended, one_error, time_limit
from p2phub.protocol.ports import ControlNetwork, Holding, Stream
from p2phub.protocol.serve import Library

__all__ = ["CAPABILITIES", "CONTROL", "Acquaintances", "ControlServer", "Spreading", "framed"]

CONTROL: Final = "/p2phub/control/1"
CAPABILITIES: Final = ("documents", "exchange", "follow", "have")
SPREADING: Final = ("catalog", "tell")
"""The capabilities of a node that takes heads and notices, and hands them on."""
_THREADS: Final = 8
_ROOM: Final = MAX_MESSAGE - 128 * KIB
"""Bytes of documents in one answer; the rest is for digests and keys."""

A = TypeVar("A")
T = TypeVar("T")


class Acquaintances(Protocol):
    """Who wants what, as peers have told us. Asked in trio's thread."""

    def wants(self, peer: str, digest: bytes) -> None:
        """`peer` fetches what has this digest: a release, or a file by SHA-256 or content id."""
        ...

    def others(self, peer: str, digest: bytes) -> tuple[str, ...]:
        """Addresses to tell `peer` of others that want or have this."""
        ...


class Spreading(Protocol):
    """Who takes heads and notices from peers, and has some for them. Asked in trio's thread."""

    async def told(self, peer: str, documents: Sequence[bytes]) -> None:
        """`peer` says that these are new. Raises `RefusedError` if it says too much."""
        ...

    async def newer(self, peer: str, request: CatalogRequest) -> CatalogReply:
        """What is newer here than what `peer` knows. Raises `RefusedError` if it asks too often."""
        ...


class ControlServer:
    """Answers the questions of peers from `library`.

    `data_port`: where our data plane listens, 0 if nowhere. `data_addresses`: "host:port" that
    were configured and come before what peers see of us. `now`: unix seconds, for tickets.
    """

    def __init__(
        self,
        library: Library,
        tickets: Tickets,
        *,
        data_port: int,
        agent: str,
        data_addresses: Sequence[str] = (),
        acquaintances: Acquaintances | None = None,
        spreading: Spreading | None = None,
        patience: Patience | None = None,
        now: Callable[[], int] = steady_time,
    ) -> None:
        self._library, self._tickets, self._now = library, tickets, now
        self._acquaintances, self._spreading = acquaintances, spreading
        self._data_port, self._data_addresses = data_port, tuple(data_addresses)
        self._agent = agent
        self._patience = patience or Patience()
        self._limiter = trio.CapacityLimiter(_THREADS)
        self._open: Counter[str] = Counter()
        self._following: Counter[str] = Counter()

    def register(self, network: ControlNetwork) -> None:
        """Answer on `network` from now on."""
        network.handle(CONTROL, self.serve)

    async def serve(self, peer: str, stream: Stream) -> None:
        """Answer one question of `peer`. Raises `RemoteError` if the peer misbehaves."""
        async with ended(stream):
            in_time = time_limit(self._patience.request, "a peer took too long over a question")
            with _counted(self._open, peer), in_time:
                data = await read_message(stream, "a peer")
                reply, followed = await self._reply(peer, data)
                await stream.write(framed(encode_message(reply)))
            if followed is not None:
                with _counted(self._following, peer):
                    await self._push(peer, followed, stream)

    async def _reply(self, peer: str, data: bytes) -> tuple[Reply, "_Followed | None"]:
        """The answer to a question, and what its asker wants to hear of from now on."""
        try:
            if self._open[peer] > MAX_STREAMS_PER_PEER:
                raise RefusedError(f"you have more than {MAX_STREAMS_PER_PEER} questions open here")
            request = decode_request(data)
            if isinstance(request, HaveRequest) and request.follow:
                return await self._begin_to_follow(peer, request)
            if isinstance(request, ExchangeRequest):
                return self._exchange(peer, request), None
            if isinstance(request, TellRequest | CatalogRequest):
                return await self._spread(peer, request), None
            return await self._in_thread(self._answer, peer, request), None
        except P2PHubError as error:
            return ErrorReply.of(error), None

    def _answer(self, peer: str, request: HelloRequest | DocumentsRequest | HaveRequest) -> Reply:
        match request:
            case HelloRequest():
                return self._hello(peer)
            case DocumentsRequest():
                return self._documents(peer, request)
            case HaveRequest():
                return have_reply(self._held(peer, request.contents))

    async def _spread(self, peer: str, request: TellRequest | CatalogRequest) -> Reply:
        if self._spreading is None:
            raise RefusedError("this node neither takes nor hands on what is new of publishers")
        if isinstance(request, CatalogRequest):
            return await self._spreading.newer(peer, request)
        await self._spreading.told(peer, request.documents)
        return TellReply()

    async def _begin_to_follow(self, peer: str, request: HaveRequest) -> tuple[Reply, "_Followed"]:
        if len(request.contents) > MAX_FOLLOWED:
            raise RefusedError(f"follow at most {MAX_FOLLOWED} files with one question")
        if self._following[peer] >= MAX_FOLLOWING_PER_PEER:
            raise RefusedError(f"you follow more than {MAX_FOLLOWING_PER_PEER} questions here")
        if self._following.total() >= MAX_FOLLOWING:
            raise RefusedError("too many peers follow files here; ask without following them")
        if self._acquaintances is not None:
            for content in request.contents:
                self._acquaintances.wants(peer, content.digest)
        followed = _Followed(request.contents, Told())
        return await self._news(peer, followed) or HaveReply(), followed

    async def _push(self, peer: str, followed: "_Followed", stream: Stream) -> None:
        """Say what is new until all is said, or the peer has had enough."""
        with trio.move_on_after(FOLLOW_SECONDS):
            async with one_error(), trio.open_nursery() as nursery:
                nursery.start_soon(_until_it_ends, stream, nursery.cancel_scope)
                began = trio.current_time()
                while not followed.is_over:
                    await trio.sleep(followed.told.pause(trio.current_time() - began))
                    news = await self._news(peer, followed)
                    if news is not None:
                        with time_limit(self._patience.request, "a peer that follows is too slow"):
                            await stream.write(framed(encode_message(news)))
                nursery.cancel_scope.cancel()

    async def _news(self, peer: str, followed: "_Followed") -> HaveReply | None:
        held = await self._in_thread(self._held, peer, followed.contents)
        news = followed.told.update(held)
        is_nowhere = all(each is None for each in held.values())
        followed.is_over = is_nowhere or followed.told.is_over(len(followed.contents))
        return news

    def _exchange(self, peer: str, request: ExchangeRequest) -> ExchangeReply:
        if self._acquaintances is None:
            return ExchangeReply()
        self._acquaintances.wants(peer, request.digest)
        peers = self._acquaintances.others(peer, request.digest)
        return ExchangeReply(tuple(text for text in peers if len(text) <= MAX_ADDRESS))

    def _held(self, peer: str, contents: Sequence[ContentId]) -> dict[ContentId, Holding | None]:
        return {content: self._library.holding(content, peer) for content in contents}

    async def _in_thread(self, work: Callable[[str, A], T], peer: str, argument: A) -> T:
        return await trio.to_thread.run_sync(work, peer, argument, limiter=self._limiter)

    def _hello(self, peer: str) -> HelloReply:
        return HelloReply(
            agent=self._agent,
            ticket=self._tickets.issue(peer, self._now()),
            ticket_seconds=self._tickets.seconds,
            data_port=self._data_port,
            data_addresses=self._data_addresses,
            capabilities=tuple(sorted(CAPABILITIES + (SPREADING if self._spreading else ()))),
        )

    def _documents(self, peer: str, request: DocumentsRequest) -> DocumentsReply:
        found = (self._library.head(publisher, peer) for publisher in request.heads)
        heads = tuple(head for head in found if head is not None)
        room = _ROOM - sum(map(len, heads))
        documents: dict[bytes, bytes] = {}
        left = iter(request.digests)
        larger = []
        for digest in left:
            data = self._library.document(digest, peer)
            if data is not None and len(data) <= room:
                documents[digest] = data
                room -= len(data)
            elif data is not None:
                larger.append(digest)
                if room < _ROOM // 2 or len(larger) > MAX_STREAMS_PER_PEER:
                    break  # full enough: what is left is not looked up any more
        return DocumentsReply(documents, (*larger, *left), heads)


@dataclass(slots=True)
class _Followed:
    """Files whose news somebody wants, and what it was told of them."""

    contents: tuple[ContentId, ...]
    told: Told
    is_over: bool = False
    """Whether nothing can follow: all are complete, or none is here or being fetched."""


@contextmanager
def _counted(counter: Counter[str], peer: str) -> Iterator[None]:
    """Count one of a peer's for as long as the block lasts; whoever has none left is forgotten."""
    counter[peer] += 1
    try:
        yield
    finally:
        counter[peer] -= 1
        if not counter[peer]:
            del counter[peer]


async def _until_it_ends(stream: Stream, following: trio.CancelScope) -> None:
    """Cancel `following` when the peer closes its side, is gone, or says what nobody asked."""
    with suppress(RemoteError):
        await stream.read(1)
    following.cancel()
