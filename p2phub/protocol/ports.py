"""What the core needs from the outside, and nothing more: sources, sinks, peers and records.

A *source* is anything that has pieces: a peer, a web mirror, a bundle on a stick. It writes
verified runs of pieces straight into a *sink* from its own threads, so that bulk bytes never pass
through trio. The sink checks every piece; a source cannot make it keep a wrong one. Fakes of all
of these ship in `p2phub.testing` and are held to the same conformance suites as the real ones."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from p2phub.formats.ids import ContentId
from p2phub.formats.pieces import PieceTable, Run


class Sink(Protocol):
    """Where the verified pieces of one file go. Every method may be called from any thread."""

    def accept(self, index: int, data: memoryview) -> None:
        """Check piece `index` against the table and keep it.

        Raises `WrongBytesError` if the bytes are not that piece, `NoSpaceError` if the disk is
        full."""
        ...


@dataclass(frozen=True, slots=True)
class Holding:
    """What a source has of one file: everything, or verified byte ranges [start, stop)."""

    complete: bool
    ranges: tuple[tuple[int, int], ...] = ()
    in_order: bool = False
    """Whether it can only be had from its first byte on: what is asked of such a source comes one
    run at a time, and pieces before it may come too."""


AcceptFile = Callable[[ContentId, memoryview], None]
"""Checks a whole small file and keeps it; called from any thread, again for what it has already.

Raises `WrongBytesError` if the bytes are not that file, `NoSpaceError` if the disk is full."""


class FileReader(Protocol):
    """An open file whose bytes were verified. Used by one thread at a time."""

    def read_into(self, offset: int, buffer: memoryview) -> int:
        """Fill `buffer` from `offset` on, as far as it goes; the number of bytes read.

        Raises `DamagedBlobError` if they cannot be read any more.
        """
        ...

    def close(self) -> None: ...


class Source(Protocol):
    """Anything that has the pieces of files.

    Every method raises `RemoteError` (or a child: `TooSlowError`, `NoSourceError`) when the source
    misbehaves or goes away, `NotFoundError` when it lacks the thing, `WrongBytesError` when what
    it sent is wrong or when it says that its own copy is damaged."""

    name: str
    connections: int
    """How many runs may be asked of this source at once."""

    async def holds(self, content: ContentId) -> Holding | None:
        """What it has of this file; None if nothing."""
        ...

    async def content_of(self, sha256: bytes) -> ContentId | None:
        """The file of this SHA-256 that it says it hashed whole; None if it has none.

        That is its word: who uses it hashes what came, whole.
        """
        ...

    async def document(self, digest: bytes, limit: int) -> bytes:
        """The bytes of a document, page or piece table, at most `limit` of them. Not yet checked
        by anyone.
        """
        ...

    def place(self) -> AbstractAsyncContextManager[None]:
        """Wait until fewer than `connections` runs are asked of it, and count as one inside.

        A run is chosen and fetched inside: one that was asked for and then waits for others would
        make its source look slow.
        """
        ...

    async def fetch(self, content: ContentId, table: PieceTable, run: Run, sink: Sink) -> None:
        """Hand every piece of `run` to `sink`, in order; returns when the last one was accepted."""
        ...

    async def fetch_many(
        self, contents: Sequence[ContentId], accept: AcceptFile
    ) -> Sequence[ContentId]:
        """Hand each of these files of one piece, whole, to `accept`; returns those it lacks.

        What was accepted before an error counts. `p2phub.protocol.batch.one_by_one` does it for
        sources that can't be asked for many at once.
        """
        ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class PeerAddress:
    """A peer and where it may be dialled: libp2p multiaddrs as text, without the `/p2p/…` part."""

    peer_id: str
    addresses: tuple[str, ...]


class Stream(Protocol):
    """One bidirectional stream to a peer. A stream whose write was cancelled is reset, never
    reused.
    """

    async def read(self, limit: int) -> bytes:
        """At most `limit` bytes; empty when the peer has closed its side. Raises `RemoteError`."""
        ...

    async def write(self, data: bytes) -> None: ...

    async def close(self) -> None: ...

    async def reset(self) -> None: ...


StreamHandler = Callable[[str, Stream], Awaitable[None]]
"""Called with the peer id and the stream; whatever it raises costs that stream only."""


class ControlNetwork(Protocol):
    """The control plane: named streams to peers that proved their peer id."""

    @property
    def peer_id(self) -> str: ...

    def addresses(self) -> tuple[str, ...]:
        """Our own full multiaddrs, `/p2p/<peer id>` included."""
        ...

    def peers(self) -> tuple[PeerAddress, ...]:
        """Who is connected now, and from where."""
        ...

    def handle(self, protocol: str, handler: StreamHandler) -> None:
        """Serve `protocol` from now on, also after a restart of the host."""
        ...

    async def connect(self, peer: PeerAddress) -> None:
        """Return once connected. Raises `RemoteError` or `TooSlowError`."""
        ...

    async def open_stream(self, peer_id: str, protocol: str) -> Stream:
        """A fresh stream. Raises `RemoteError` when the peer is gone or does not speak the
        protocol.
        """
        ...


GossipJudge = Callable[[str, bytes], Awaitable[bool]]
"""Called with the peer that handed a message on, and the message: whether it may go further."""


class Gossip(Protocol):
    """Small messages to everybody who listens, near and far: a hint, which may be lost."""

    def listen(self, judge: GossipJudge) -> None:
        """Hear messages, each as often as somebody begins it; before the network runs."""
        ...

    async def spread(self, message: bytes) -> None:
        """Begin a message. Returns before anybody has heard it.

        Raises `MalformedError` if it is over `limits.MAX_GOSSIP`, `RemoteError` if the network is
        down or nobody listens here.
        """
        ...


class Records(Protocol):
    """The DHT: signed heads under a key, and who has which digest."""

    async def put_head(self, key: str, record: bytes) -> int:
        """Store a head record near its key; the number of peers that took it."""
        ...

    async def get_heads(self, key: str) -> tuple[bytes, ...]:
        """Every distinct valid record found, best last. Empty if none; raises `RemoteError` if
        nobody answered.
        """
        ...

    async def provide(self, digest: bytes) -> int:
        """Say that we have `digest`; the number of peers told."""
        ...

    async def providers(self, digest: bytes, enough: int) -> tuple[PeerAddress, ...]:
        """Distinct peers that say they have `digest`, ourselves left out; stops at `enough`."""
        ...
