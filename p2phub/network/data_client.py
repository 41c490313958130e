"""One data connection to one peer, from the asking side: blocking sockets, for worker threads.

Bytes are decrypted into one reused buffer, and go from there to the sink, piece by piece; TLS and
the sink's BLAKE3 release the GIL, and nothing passes through trio.

Rules it keeps:
 * a peer is who its certificate says, or nothing is asked of it;
 * never a byte more is read than was asked for, whatever the peer claims or sends;
 * every wait has an end, and a drip of bytes is no progress;
 * after an answer that was not read to its end, the connection is not used again (`reusable`).

`abort` may be called from another thread and makes whatever blocks fail at once. Which runs to ask
for, several connections, and what to do when this fails: `peer_source` and those above it.
"""

import socket
import ssl
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache

from p2phub.config import Endpoint
from p2phub.errors import GarbageError, NoSourceError, P2PHubError, RemoteError, TooSlowError
from p2phub.formats.ids import ContentId
from p2phub.formats.limits import MAX_PIECE
from p2phub.formats.pieces import PieceTable, Run
from p2phub.network.http_head import HeadReader, request_bytes
from p2phub.network.libp2p_certificate import peer_of_certificate
from p2phub.network.limits import (
    LEAST_PROGRESS,
    MAX_HTTP_HEAD,
    MAX_TRIED,
    Patience,
)
from p2phub.network.throttle import UNLIMITED, Throttle
from p2phub.network.tls_connection import TlsConnection
from p2phub.protocol.ask import (
    Head,
    batch_reader,
    batch_request,
    content_of,
    content_request,
    document_length,
    document_request,
    file_length,
    file_request,
    holding_of,
    holding_request,
)
from p2phub.protocol.ports import AcceptFile, Holding, Sink
from p2phub.protocol.serve import Request


@cache
def client_context() -> ssl.SSLContext:
    """TLS 1.3; no authority is asked, because the certificate itself proves the peer id."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class DataClient:
    """A connection to the peer `peer_id`, which `name` calls for people. Open after `connect`."""

    def __init__(
        self,
        peer_id: str,
        ticket: bytes = b"",
        *,
        name: str = "",
        patience: Patience | None = None,
        down: Throttle = UNLIMITED,
    ) -> None:
        self.name = name or peer_id
        self.answered = False
        """Whether the peer has sent anything in answer to the last request."""
        self.ticket = ticket
        """What the peer gave us in its hello; empty to be nobody."""
        self._peer_id = peer_id
        self._patience, self._down = patience or Patience(), down
        self._aborted = self._at_rest = False
        self._connection: socket.socket | None = None
        self._tls: TlsConnection | None = None
        self._rest = memoryview(b"")
        self._buffer = memoryview(b"")

    @property
    def reusable(self) -> bool:
        """Whether the last answer was read to its end, so that another request may follow."""
        return self._at_rest and not self._aborted

    def connect(self, addresses: Sequence[Endpoint]) -> None:
        """Connect to the first address that answers and is the peer.

        Raises `NoSourceError` if none does.
        """
        problems = []
        for address in addresses[:MAX_TRIED]:
            try:
                with self._our_errors():
                    self._open(address)
                return
            except RemoteError as error:
                self.close()
                problems.append(f"{address}: {error.message}")
        told = "; ".join(problems) or "it names no address for it"
        raise NoSourceError(f"the data port of {self.name} cannot be reached ({told})")

    def holds(self, content: ContentId) -> Holding | None:
        """What the peer has of a file."""
        with self._exchange(holding_request(content, ticket=self.ticket)) as head:
            return holding_of(head, self.name, content)

    def content_of(self, sha256: bytes) -> ContentId | None:
        """The file of this SHA-256, as the peer says."""
        with self._exchange(content_request(sha256, ticket=self.ticket)) as head:
            return content_of(head, self.name)

    def document(self, digest: bytes, limit: int) -> bytes:
        """The bytes that the peer has under a digest, unchecked; at most `limit`."""
        with self._exchange(document_request(digest, ticket=self.ticket)) as head:
            data = bytearray(document_length(head, self.name, limit))
            self._fill(memoryview(data))
        return bytes(data)

    def fetch(self, content: ContentId, table: PieceTable, run: Run, sink: Sink) -> None:
        """Hand every piece of `run` to `sink`, in order."""
        if not run.count:
            return
        end = run.first + run.count
        start, stop = table.offset(run.first), table.offset(end)
        if not self._buffer:
            self._buffer = memoryview(bytearray(MAX_PIECE))
        request = file_request(content, start, stop, ticket=self.ticket)
        with self._exchange(request) as head:
            file_length(head, self.name, start, stop)
            for index in range(run.first, end):
                piece = self._buffer[: table.length(index)]
                self._fill(piece)
                sink.accept(index, piece)

    def fetch_many(self, contents: Sequence[ContentId], accept: AcceptFile) -> Sequence[ContentId]:
        """Hand each of these small files that the peer has to `accept`; what it lacks."""
        if not self._buffer:
            self._buffer = memoryview(bytearray(MAX_PIECE))
        with self._exchange(batch_request(contents, ticket=self.ticket)) as head:
            body = batch_reader(head, self.name, contents)
            while body.wanted:
                part = self._buffer[: body.wanted]
                self._fill(part)
                found = body.take(part)
                if found is not None:
                    accept(found.content, found.data)
        return body.lacking

    def abort(self) -> None:
        """Make whatever blocks in another thread fail, now and from now on."""
        self._aborted = True
        if self._connection is not None:
            _shut(self._connection)

    def close(self) -> None:
        """Give the socket back; not while another thread uses it."""
        if self._connection is not None:
            self._connection.close()
        self._tls = self._connection = None
        self._at_rest = False

    def _open(self, address: Endpoint) -> None:
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        self._connection = socket.socket(family, socket.SOCK_STREAM)
        self._refuse_if_aborted()
        self._connection.settimeout(self._patience.connect)
        self._connection.connect((address.host, address.port))
        self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._refuse_if_aborted()
        self._tls = TlsConnection(self._connection, client_context())
        self._tls.handshake(self._patience.handshake)
        shown = peer_of_certificate(self._tls.certificate)
        if shown != self._peer_id:
            raise RemoteError(f"another peer answers there: {shown}")
        self._at_rest = True

    @contextmanager
    def _exchange(self, request: Request) -> Iterator[Head]:
        """Send a request and read the head of its answer; the body must be read inside."""
        self.answered = self._at_rest = False
        tls = self._tls_or_error()
        with self._our_errors():
            tls.set_patience(self._patience.progress)
            tls.send(request_bytes(request))
            head = self._read_head(tls)
        is_refusal = head.header("p2phub-error") is not None
        goes_on = head.header("connection") != "close"
        try:
            yield head
        except P2PHubError:
            has_no_body = is_refusal and head.header("content-length") == "0"
            self._at_rest = goes_on and has_no_body and not self._rest and tls.is_drained
            raise
        self._at_rest = goes_on and not self._rest and tls.is_drained

    def _read_head(self, tls: TlsConnection) -> Head:
        reader, self._rest = HeadReader(), memoryview(b"")
        deadline = time.monotonic() + self._patience.request
        buffer, head = memoryview(bytearray(MAX_HTTP_HEAD)), None
        while head is None:
            tls.set_patience(deadline - time.monotonic())
            count = tls.read_into(buffer)
            if not count:
                raise RemoteError(f"{self.name} closed the connection instead of answering")
            self.answered = True
            head = reader.feed(bytes(buffer[:count]))
        self._rest = memoryview(reader.rest)
        tls.set_patience(self._patience.progress)
        return head

    def _fill(self, view: memoryview) -> None:
        """Read exactly so many bytes of the body."""
        early = self._rest[: len(view)]
        view[: len(early)] = early
        self._down.take(len(early), self.name)
        self._rest = self._rest[len(early) :]
        with self._our_errors():
            self._receive(self._tls_or_error(), view[len(early) :])

    def _receive(self, tls: TlsConnection, view: memoryview) -> None:
        filled, since, fresh = 0, time.monotonic(), 0
        while filled < len(view):
            at_once = self._down.portion if self._down.is_limited else len(view)
            count = tls.read_into(view[filled : filled + at_once])
            if not count:
                raise RemoteError(f"{self.name} ended its answer early")
            if self._down.is_limited:
                since += self._wait_for_our_turn(count)
            filled += count
            fresh += count
            now = time.monotonic()
            if fresh >= LEAST_PROGRESS:
                since, fresh = now, 0
            elif now - since > self._patience.progress:
                raise TooSlowError(f"{self.name} sends next to nothing")

    def _wait_for_our_turn(self, count: int) -> float:
        """Keep to our own limit; how many seconds that took, which are not the peer's fault."""
        began = time.monotonic()
        self._down.take(count, self.name)
        return time.monotonic() - began

    def _tls_or_error(self) -> TlsConnection:
        self._refuse_if_aborted()
        if self._tls is None:
            raise RemoteError(f"the connection to {self.name} is closed")
        return self._tls

    def _refuse_if_aborted(self) -> None:
        if self._aborted:
            raise RemoteError(f"the connection to {self.name} was closed from this side")

    @contextmanager
    def _our_errors(self) -> Iterator[None]:
        try:
            yield
        except TimeoutError as error:
            raise TooSlowError(f"{self.name} did not answer in time") from error
        except ssl.SSLEOFError as error:
            raise RemoteError(f"{self.name} closed the connection") from error
        except ssl.SSLError as error:
            said = error.reason or str(error)
            raise GarbageError(f"{self.name} does not speak TLS 1.3 as we do: {said}") from error
        except OSError as error:
            said = error.strerror or str(error)
            raise RemoteError(f"the connection to {self.name} failed: {said}") from error


def _shut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # not connected, or closed already
