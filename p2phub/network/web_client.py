"""One client of ordinary web servers, from the asking side: blocking sockets, for worker threads.

Bytes go from the connection into one reused buffer and from there to the sink, piece by piece; no
more than a piece is in memory. Certificates are checked as browsers do; proxies come from the
environment. Plain sockets and not httpx, which hands a body on in copied parts of 64 KiB and so
takes twice the processor's time.

Rules it keeps:
 * only the addresses of the `Place` it is given are dialled, and an open connection is used again
   only where it leads to one of them; no redirect is followed here;
 * an answer is judged by its head first (`protocol/web_answer.py`), and never a byte more is kept
   than was asked for, whatever the server sends;
 * of a server that sends nothing but whole files the answer stays open between runs, and its pieces
   are handed on in the order in which they pass (`stream`);
 * every wait has an end: a head must be there in time and be small, a drip of bytes is no progress;
 * no cookies, no passwords of the user (`.netrc`), and no URL in any message: it may be signed.

`abort` may be called from another thread and makes whatever blocks fail at once.
"""

import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Final

import httpx

from p2phub import __version__
from p2phub.errors import GarbageError, RemoteError, TooSlowError
from p2phub.formats.ids import ContentId
from p2phub.formats.limits import KIB, MAX_PIECE
from p2phub.formats.pieces import PieceTable, Run
from p2phub.network.http_head import HeadReader
from p2phub.network.limits import LEAST_PROGRESS, MAX_WEB_HEAD, Patience
from p2phub.network.throttle import UNLIMITED, Throttle
from p2phub.network.web_body import Body
from p2phub.network.web_connection import Origin, WebConnection, Wire, proxy_of
from p2phub.network.web_guard import Place
from p2phub.protocol.ask import Head
from p2phub.protocol.ports import Holding, Sink
from p2phub.protocol.web_answer import check_document, check_range, check_status, is_last

AGENT: Final = f"p2phub/{__version__}"
_SAID: Final = (("User-Agent", AGENT), ("Accept", "*/*"), ("Accept-Encoding", "identity"))
_IDLE: Final = 20.0
"""Seconds that an idle connection is kept."""
_KEPT: Final = 4
"""Idle connections that are kept: to a hub and to where it sends us."""
_AT_ONCE: Final = 16 * KIB
"""Bytes read at once for a head, or of a document."""


@cache
def web_context() -> ssl.SSLContext:
    """Certificates of the authorities that everybody knows, or those that SSL_CERT_FILE names."""
    context = httpx.create_ssl_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


@dataclass(frozen=True, slots=True)
class Rights:
    """A token that is shown to the server of a URL, and to no other that it redirects to."""

    url: str
    token: str = field(repr=False)

    def headers(self, url: str) -> list[tuple[str, str]]:
        """What is said with a request for `url`.

        >>> rights = Rights("https://hub.example", "secret")
        >>> rights.headers("https://hub.example/x"), rights.headers("https://cdn.example/x")
        ([('Authorization', 'Bearer secret')], [])
        """
        same = Origin.of(url) == Origin.of(self.url)
        return [("Authorization", f"Bearer {self.token}")] if same else []


@dataclass(slots=True)
class _Answer:
    """A head that has come, and the body that follows on its connection."""

    head: Head
    body: Body
    connection: WebConnection
    is_last: bool
    """Whether the server hangs up behind it."""


@dataclass(slots=True)
class _Flow:
    """A file that comes whole, from its first byte on."""

    content: ContentId
    answer: _Answer
    at: int = 0
    """The piece that comes next."""
    is_whole: bool = True
    """Whether nothing of a piece was read yet and lost."""


class WebClient:
    """Asks the web server that people know as `name`; one request at a time."""

    def __init__(
        self,
        name: str,
        *,
        patience: Patience | None = None,
        down: Throttle = UNLIMITED,
        context: Callable[[], ssl.SSLContext] = web_context,
        rights: Rights | None = None,
    ) -> None:
        self.name, self._rights = name, rights
        self.answered = False
        """Whether the server has sent anything in answer to the last request."""
        self.is_aborted = False
        """Whether it was cut, so that it cannot be used again."""
        self._patience, self._down, self._context = patience or Patience(), down, context
        self._idle: dict[Origin, WebConnection] = {}
        self._active: WebConnection | None = None
        self._flow: _Flow | None = None
        self._waited, self._fresh = 0.0, 0
        self._buffer = memoryview(b"")

    def holds(self, place: Place, content: ContentId) -> Holding | None:
        """What the server has of a file, by asking for its first byte.

        From a server that sends nothing but whole files it comes in order: `stream` goes on with
        this very answer.
        """
        with self._exchange(place, content.size, (0, 1)) as answer:
            if answer.head.status == 200:
                check_range(answer.head, self.name, 0, content.size, content.size)
                if content.has_table:
                    self._flow = _Flow(content, answer)
                return Holding(complete=True, in_order=content.has_table)
            check_range(answer.head, self.name, 0, 1, content.size)
            answer.body.read_into(memoryview(bytearray(1)))  # so that the connection is kept
        return Holding(complete=True)

    def document(self, place: Place, limit: int) -> bytes:
        """The bytes of a document, unchecked; at most `limit`."""
        data, buffer = bytearray(), memoryview(bytearray(_AT_ONCE))
        with self._exchange(place, None, None) as answer:
            check_document(answer.head, self.name, limit)
            while count := answer.body.read_into(buffer):
                data += buffer[:count]
                if len(data) > limit:
                    raise GarbageError(
                        f"{self.name} sends more than the {limit} bytes a document can have"
                    )
            length = answer.head.header("content-length")
            if length is not None and len(data) != int(length):
                raise RemoteError(f"{self.name} ended its answer early")
        return bytes(data)

    def fetch(
        self, place: Place, content: ContentId, table: PieceTable, run: Run, sink: Sink
    ) -> None:
        """Hand every piece of `run` to `sink`, in order."""
        end = run.first + run.count
        start, stop = table.offset(run.first), table.offset(end)
        with self._exchange(place, content.size, (start, stop)) as answer:
            check_range(answer.head, self.name, start, stop, content.size)
            for index in range(run.first, end):
                sink.accept(index, self._piece(answer.body, table.length(index)))

    @property
    def streaming(self) -> ContentId | None:
        """The file of which the rest is on its way, so that `stream` may go on with it."""
        flow = self._flow
        return flow.content if flow is not None and flow.is_whole else None

    def leads_to(self, run: Run) -> bool:
        """Whether all of `run` is still on its way."""
        return self._flow is not None and self._flow.at <= run.first

    def stream(
        self, place: Place, content: ContentId, table: PieceTable, run: Run, sink: Sink
    ) -> None:
        """As `fetch`, of a server that sends nothing but whole files; it begins at the first piece,
        and those before `run` are handed to `sink` too.
        """
        if self.streaming != content or not self.leads_to(run):
            self._end_flow()
            with self._exchange(place, content.size, None) as answer:
                check_range(answer.head, self.name, 0, content.size, content.size)
                self._flow = _Flow(content, answer)
        self.go_on(content, table, run, sink)

    def go_on(self, content: ContentId, table: PieceTable, run: Run, sink: Sink) -> None:
        """As `stream`, from where the last run ended."""
        flow = self._flow
        if flow is None or self.streaming != content:
            raise RemoteError(f"nothing of a file is on its way from {self.name}")
        self.answered = False
        self._use(flow.answer.connection)
        try:
            for index in range(flow.at, run.first + run.count):
                flow.is_whole = False
                piece = self._piece(flow.answer.body, table.length(index))
                flow.at, flow.is_whole = index + 1, True
                sink.accept(index, piece)
        finally:
            if not flow.is_whole or flow.at == table.count:
                self._end_flow()

    def abort(self) -> None:
        """Make whatever blocks in another thread fail, now and from now on."""
        self.is_aborted = True
        if self._active is not None:
            self._active.cut()

    def close(self) -> None:
        """Give the sockets back; not while another thread uses them."""
        self._end_flow()
        if self._active is not None:
            self._active.close()
        for connection in self._idle.values():
            connection.close()
        self._idle.clear()

    def _end_flow(self) -> None:
        flow, self._flow = self._flow, None
        if flow is not None:
            self._settle(flow.answer)

    @contextmanager
    def _exchange(
        self, place: Place, size: int | None, span: tuple[int, int] | None
    ) -> Iterator[_Answer]:
        """Send a request; the head of its answer and its body, which must be read inside unless a
        flow is made of it.

        `size`: bytes of the file asked for. `span`: which of its bytes.
        """
        self.answered = False
        with ExitStack() as undo, self._our_errors():
            connection = self._connected(place)
            undo.callback(connection.close)
            answer = self._asked(connection, place, span)
            undo.pop_all()
        try:
            check_status(answer.head, self.name, now=time.time(), size=size)
            yield answer
        finally:
            if self._flow is None or self._flow.answer is not answer:
                self._settle(answer)

    def _connected(self, place: Place) -> WebConnection:
        """An open connection to where `place` is."""
        proxy = None if place.addresses else proxy_of(place.url)
        origin = Origin.of(place.url, proxy)
        known = self._idle.pop(origin, None)
        if known is not None:
            is_fresh = time.monotonic() - known.idle_since < _IDLE
            if is_fresh and (origin.proxy or known.address in place.addresses):
                self._use(known)
                return known
            known.close()
        made = WebConnection(origin, self.name, self._patience, self._context)
        with ExitStack() as undo:
            undo.callback(made.close)
            self._use(made)
            made.open(place.addresses)
            undo.pop_all()
        return made

    def _asked(
        self, connection: WebConnection, place: Place, span: tuple[int, int] | None
    ) -> _Answer:
        headers = [*_SAID, *(self._rights.headers(place.url) if self._rights else ())]
        if span is not None:
            headers.append(("Range", f"bytes={span[0]}-{span[1] - 1}"))
        deadline = time.monotonic() + self._patience.request
        connection.wire.set_patience(self._patience.request)
        connection.wire.send(connection.origin.request(place.url, headers))
        head, reader = self._read_head(connection.wire, deadline)
        self._down.take(len(reader.rest), self.name)
        self._begin_body(connection)
        body = Body(head, reader.rest, self._read)
        return _Answer(head, body, connection, is_last(head, old=reader.is_old))

    def _read_head(self, wire: Wire, deadline: float) -> tuple[Head, HeadReader]:
        buffer, reader, data = memoryview(bytearray(_AT_ONCE)), HeadReader(from_web=True), b""
        left = MAX_WEB_HEAD
        while (head := reader.feed(data)) is None or head.status < 200:
            if head is not None:  # news that the answer is on its way
                reader, data = HeadReader(from_web=True), reader.rest
                if data:
                    continue
            wire.set_patience(deadline - time.monotonic())
            count = wire.read_into(buffer)
            if not count:
                raise RemoteError(f"{self.name} closed the connection instead of answering")
            self.answered, data, left = True, bytes(buffer[:count]), left - count
            if left < 0:
                raise GarbageError(f"{self.name} sends a head that does not end")
        return head, reader

    def _use(self, connection: WebConnection) -> None:
        """This is the connection that `abort` has to cut."""
        self._active = connection
        if self.is_aborted:
            raise RemoteError(f"the connection to {self.name} was closed from this side")

    def _settle(self, answer: _Answer) -> None:
        """Keep the connection of an answer that is over."""
        connection, self._active = answer.connection, None
        answer.body.drop_what_came()
        if self.is_aborted or answer.is_last or not answer.body.is_over:
            connection.close()
            return
        connection.idle_since = time.monotonic()
        self._idle[connection.origin] = connection
        if len(self._idle) > _KEPT:
            self._idle.pop(next(iter(self._idle))).close()

    def _piece(self, body: Body, length: int) -> memoryview:
        """Read exactly so many bytes of a body; they are there until the next call."""
        if not self._buffer:
            self._buffer = memoryview(bytearray(MAX_PIECE))
        filled, view = 0, self._buffer[:length]
        while filled < length:
            count = body.read_into(view[filled:])
            if not count:
                raise RemoteError(f"{self.name} ended its answer early")
            filled += count
        return view

    def _begin_body(self, connection: WebConnection) -> None:
        connection.wire.set_patience(self._patience.progress)
        self._waited, self._fresh = 0.0, 0

    def _read(self, view: memoryview) -> int:
        """More bytes of a body; 0 if the server has hung up."""
        if self._active is None:
            raise RemoteError(f"the connection to {self.name} is closed")
        part = view[: self._down.portion] if self._down.is_limited else view
        began = time.monotonic()
        with self._our_errors():
            count = self._active.wire.read_into(part)
        self.answered = self.answered or count > 0
        self._judge(count, time.monotonic() - began)
        self._down.take(count, self.name)
        return count

    def _judge(self, count: int, seconds: float) -> None:
        """A drip of bytes is no progress; what our own limit makes us wait is not their fault."""
        self._fresh += count
        self._waited += seconds
        if self._fresh >= LEAST_PROGRESS:
            self._waited, self._fresh = 0.0, 0
        elif self._waited > self._patience.progress:
            raise TooSlowError(f"{self.name} sends next to nothing")

    @contextmanager
    def _our_errors(self) -> Iterator[None]:
        name = self.name
        try:
            yield
        except TimeoutError as error:
            raise TooSlowError(f"{name} did not answer in time") from error
        except ssl.SSLCertVerificationError as error:
            raise RemoteError(
                f"the certificate of {name} proves nothing: {error.verify_message}"
            ) from error
        except ssl.SSLError as error:
            said = error.reason or str(error)
            raise RemoteError(f"the connection to {name} failed: {said}") from error
        except OSError as error:
            said = error.strerror or str(error)
            raise RemoteError(f"the connection to {name} failed: {said}") from error
