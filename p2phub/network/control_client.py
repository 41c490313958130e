"""Asking peers: one question and one answer on a stream of the control protocol.

Who answers, and what the protocol is, is `p2phub.network.control`.

Rules it keeps:
 * a question and its answer have ten seconds together; more than fits into one question is asked
   in several;
 * of what was not asked for, nothing is handed on;
 * what the peer raised is raised here; a full disk of its is no full disk of ours.

It leaves to its callers whether what a peer says is true.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

import trio

from p2phub.errors import GarbageError, NoSpaceError, P2PHubError, RemoteError
from p2phub.formats.ids import ContentId
from p2phub.formats.limits import MAX_MESSAGE_DIGESTS, MAX_MESSAGE_HEADS
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
    Request,
    decode_reply,
    encode_message,
)
from p2phub.formats.news import (
    CatalogReply,
    CatalogRequest,
    KnownPublisher,
    TellReply,
    TellRequest,
)
from p2phub.network.control import CONTROL
from p2phub.network.following import PUSH_EVERY, Heard
from p2phub.network.framing import framed, read_message, read_next
from p2phub.network.limits import Patience
from p2phub.network.waiting import ended, time_limit
from p2phub.protocol.ports import ControlNetwork, Holding

T = TypeVar("T")
R = TypeVar("R", HelloReply, DocumentsReply, HaveReply, ExchangeReply, TellReply, CatalogReply)


class ControlClient:
    """Asks peers. Every method raises `RemoteError` when the peer is gone, slow (`TooSlowError`) or
    speaks garbage (`GarbageError`), and what the peer itself raised when it refuses.
    """

    def __init__(
        self, network: ControlNetwork, *, agent: str, patience: Patience | None = None
    ) -> None:
        self._network, self._agent = network, agent
        self._patience = patience or Patience()

    async def hello(self, peer: str) -> HelloReply:
        """Who it is, where its data plane is, and a ticket for it."""
        return await self._ask(peer, HelloRequest(self._agent), HelloReply)

    async def documents(self, peer: str, digests: Iterable[bytes]) -> DocumentsReply:
        """What it has of these documents; `larger` are for the data plane to fetch."""
        documents: dict[bytes, bytes] = {}
        larger: list[bytes] = []
        for part in _batches(sorted(set(digests)), MAX_MESSAGE_DIGESTS):
            reply = await self._ask(peer, DocumentsRequest(digests=part), DocumentsReply)
            asked = set(part)
            documents |= {each: data for each, data in reply.documents.items() if each in asked}
            larger += [each for each in reply.larger if each in asked]
        return DocumentsReply(documents, tuple(larger))

    async def heads(self, peer: str, publishers: Iterable[bytes]) -> tuple[bytes, ...]:
        """The newest heads it knows of these publishers (digests of their ids)."""
        heads: list[bytes] = []
        for part in _batches(sorted(set(publishers)), MAX_MESSAGE_HEADS):
            reply = await self._ask(peer, DocumentsRequest(heads=part), DocumentsReply)
            heads += reply.heads
        return tuple(heads)

    async def have(self, peer: str, contents: Iterable[ContentId]) -> dict[ContentId, Holding]:
        """What it has of these files; those it has nothing of are left out."""
        held: dict[ContentId, Holding] = {}
        for part in _batches(sorted(set(contents)), MAX_MESSAGE_DIGESTS):
            reply = await self._ask(peer, HaveRequest(part), HaveReply)
            asked = set(part)
            whole = dict.fromkeys(reply.complete, Holding(complete=True))
            parts = {each: Holding(False, ranges) for each, ranges in reply.partial.items()}
            held |= {each: holding for each, holding in (parts | whole).items() if each in asked}
        return held

    async def follow(self, peer: str, content: ContentId, heard: Callable[[Holding], None]) -> None:
        """Call `heard` with what it has of a file, and again when that is more, until the peer ends
        it: because the file is complete there or not being fetched, or because it does not tell of
        news.
        """
        said, state = f"peer {peer} did not answer in time", Heard(content)
        with time_limit(self._patience.request, said):
            stream = await self._network.open_stream(peer, CONTROL)
        async with ended(stream):
            with time_limit(self._patience.request, said):
                await stream.write(framed(encode_message(HaveRequest((content,), follow=True))))
                data = await read_message(stream, f"peer {peer}")
            heard(state.update(_reply(data, peer, HaveReply)) or Holding(complete=False))
            while not state.is_over:
                await trio.sleep(PUSH_EVERY / 2)  # whoever says more than we want to hear waits
                news = await read_next(stream, f"peer {peer}")
                if news is None:
                    return
                holding = state.update(_reply(news, peer, HaveReply))
                if holding is not None:
                    heard(holding)

    async def exchange(self, peer: str, digest: bytes) -> tuple[str, ...]:
        """Addresses of peers that have or fetch this, as it says; unchecked texts."""
        return (await self._ask(peer, ExchangeRequest(digest), ExchangeReply)).peers

    async def tell(self, peer: str, documents: Sequence[bytes]) -> None:
        """Hand heads and notices that are new to a peer; as many as fit into one message."""
        await self._ask(peer, TellRequest(tuple(documents)), TellReply)

    async def newer(
        self, peer: str, known: Sequence[KnownPublisher], skip: int = 0
    ) -> CatalogReply:
        """Heads and notices that it has beyond what is `known` (sorted), of these publishers."""
        return await self._ask(peer, CatalogRequest(tuple(known), skip), CatalogReply)

    async def _ask(self, peer: str, request: Request, wanted: type[R]) -> R:
        with time_limit(self._patience.request, f"peer {peer} did not answer in time"):
            stream = await self._network.open_stream(peer, CONTROL)
            async with ended(stream):
                await stream.write(framed(encode_message(request)))
                data = await read_message(stream, f"peer {peer}")
        return _reply(data, peer, wanted)


def _reply(data: bytes, peer: str, wanted: type[R]) -> R:
    """An answer of the kind that was asked for. Raises what the peer raised if it refuses."""
    reply = decode_reply(data)
    if isinstance(reply, ErrorReply):
        raise _error(reply, peer)
    if not isinstance(reply, wanted):
        raise GarbageError(f"peer {peer} answered another question than the one it was asked")
    return reply


def _error(reply: ErrorReply, peer: str) -> P2PHubError:
    error = reply.as_error()
    said = f"peer {peer} says: {error.message}"
    if isinstance(error, NoSpaceError):
        return RemoteError(said)  # its disk, not ours
    return type(error)(said)


def _batches(items: Sequence[T], size: int) -> Iterator[tuple[T, ...]]:
    rest = iter(items)
    while part := tuple(islice(rest, size)):
        yield part
