"""One client of ordinary web servers, from the asking side: blocking httpx, for worker threads.

Bytes go from the answer into one reused buffer and from there to the sink, piece by piece; no more
than a piece and what one read brings is in memory. Certificates are checked as browsers do; proxies
come from the environment.

Rules it keeps:
 * only the addresses of the `Place` it is given are dialled; no redirect is followed here;
 * an answer is judged by its head first (`protocol/web_answer.py`), and never a byte more is kept
   than was asked for, whatever the server sends;
 * every wait has an end: a head must be there in time and be small, a drip of bytes is no progress;
 * no cookies, no passwords of the user (`.netrc`), and no URL in any message: it may be signed.

`abort` may be called from another thread and makes whatever blocks fail at once.
"""

import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Final
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpcore
import httpx

from p2phub import __version__
from p2phub.errors import GarbageError, RemoteError, TooSlowError
from p2phub.formats.ids import ContentId
from p2phub.formats.limits import MAX_PIECE
from p2phub.formats.pieces import PieceTable, Run
from p2phub.network.limits import LEAST_PROGRESS, Patience
from p2phub.network.web_guard import Place
from p2phub.protocol.ask import Head
from p2phub.protocol.ports import Holding, Sink
from p2phub.protocol.web_answer import check_document, check_range, check_status

AGENT: Final = f"p2phub/{__version__}"
MAX_HEAD: Final = 256 << 10
"""Bytes read before there is a whole head, what follows it in the same read included."""
WITHOUT_RANGES: Final = 8 << 20
"""Bytes of the beginning of a file that are asked of a server that serves no parts of files."""
_IDLE: Final = 20.0
"""Seconds that an idle connection is kept."""


@cache
def web_context() -> ssl.SSLContext:
    """Certificates of the authorities that everybody knows, or those that SSL_CERT_FILE names."""
    return httpx.create_ssl_context()


def proxy_of(url: str) -> str | None:
    """The proxy that the environment names for `url`."""
    parts, proxies = urlsplit(url), getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(parts.hostname or ""):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


class WebClient:
    """Asks the web server that people know as `name`; one request at a time.

    `take(bytes)` returns when so many more may come in.
    """

    def __init__(
        self,
        name: str,
        *,
        patience: Patience | None = None,
        take: Callable[[int], object] = lambda count: None,
        context: Callable[[], ssl.SSLContext] = web_context,
    ) -> None:
        self.name = name
        self.answered = False
        """Whether the server has sent anything in answer to the last request."""
        self._patience, self._take, self._context = patience or Patience(), take, context
        self._dialler = _Dialler(self._patience)
        self._transports: dict[str | None, httpx.HTTPTransport] = {}
        self._buffer = memoryview(b"")

    def holds(self, place: Place, content: ContentId) -> Holding | None:
        """What the server has of a file, by asking for its first byte."""
        with self._exchange(place, content.size, (0, 1)) as (head, parts):
            if head.status == 200:  # it would send everything: it serves no parts
                check_range(head, self.name, 0, content.size, content.size)
                least = min(content.size, WITHOUT_RANGES)
                return Holding(least == content.size, ((0, least),))
            check_range(head, self.name, 0, 1, content.size)
            self._end(head, parts, 1)
        return Holding(complete=True)

    def document(self, place: Place, limit: int) -> bytes:
        """The bytes of a document, unchecked; at most `limit`."""
        data = bytearray()
        with self._exchange(place, None, None) as (head, parts):
            check_document(head, self.name, limit)
            for part in parts:
                data += part
                if len(data) > limit:
                    raise GarbageError(
                        f"{self.name} sends more than the {limit} bytes a document can have"
                    )
        return bytes(data)

    def fetch(
        self, place: Place, content: ContentId, table: PieceTable, run: Run, sink: Sink
    ) -> None:
        """Hand every piece of `run` to `sink`, in order."""
        end = run.first + run.count
        start, stop = table.offset(run.first), table.offset(end)
        if not self._buffer:
            self._buffer = memoryview(bytearray(MAX_PIECE))
        with self._exchange(place, content.size, (start, stop)) as (head, parts):
            check_range(head, self.name, start, stop, content.size)
            body = _Body(parts, self.name)
            for index in range(run.first, end):
                piece = self._buffer[: table.length(index)]
                body.fill(piece)
                sink.accept(index, piece)
            self._end(head, parts, stop - start)

    @property
    def is_aborted(self) -> bool:
        """Whether it was cut, so that it cannot be used again."""
        return self._dialler.is_aborted

    def abort(self) -> None:
        """Make whatever blocks in another thread fail, now and from now on."""
        self._dialler.abort()

    def close(self) -> None:
        """Give the sockets back; not while another thread uses them."""
        for transport in self._transports.values():
            transport.close()
        self._transports.clear()

    @contextmanager
    def _exchange(
        self, place: Place, size: int | None, span: tuple[int, int] | None
    ) -> Iterator[tuple[Head, Iterator[bytes]]]:
        """Send a request; the head of its answer and its body, which must be read inside.

        `size`: bytes of the file asked for. `span`: which of its bytes.
        """
        self.answered = False
        with self._our_errors():
            request, transport = self._request(place, span), self._transport(place)
            response = transport.handle_request(request)
            try:
                self.answered = True
                self._dialler.head_ends()
                head = _head_of(response)
                check_status(head, self.name, now=time.time(), size=size)
                yield head, self._paced(response)
            finally:
                response.close()

    def _end(self, head: Head, parts: Iterator[bytes], length: int) -> None:
        """Take note of the end that is due, so that the connection can be used again."""
        if head.header("content-length") == str(length):
            for _ in parts:
                continue

    def _request(self, place: Place, span: tuple[int, int] | None) -> httpx.Request:
        patience = self._patience
        self._dialler.head_begins(place.addresses)
        headers = {"User-Agent": AGENT, "Accept": "*/*", "Accept-Encoding": "identity"}
        if span is not None:
            headers["Range"] = f"bytes={span[0]}-{span[1] - 1}"
        timeouts = {
            "connect": patience.handshake,
            "read": patience.progress,
            "write": patience.request,
            "pool": patience.request,
        }
        return httpx.Request("GET", place.url, headers=headers, extensions={"timeout": timeouts})

    def _transport(self, place: Place) -> httpx.HTTPTransport:
        proxy = None if place.addresses else proxy_of(place.url)
        if proxy not in self._transports:
            limits = httpx.Limits(keepalive_expiry=_IDLE)
            try:
                made = httpx.HTTPTransport(verify=self._context(), limits=limits, proxy=proxy)
            except (ImportError, ValueError) as error:
                raise RemoteError(
                    f"the proxy that the environment names for {self.name} cannot be used",
                    remedy="set HTTPS_PROXY to http://host:port, or NO_PROXY for this host",
                ) from error
            made._pool._network_backend = self._dialler  # httpx has no parameter for it
            self._transports[proxy] = made
        return self._transports[proxy]

    def _paced(self, response: httpx.Response) -> Iterator[bytes]:
        assert isinstance(response.stream, httpx.SyncByteStream)
        for part in response.stream:
            self._take(len(part))
            yield part

    @contextmanager
    def _our_errors(self) -> Iterator[None]:
        name = self.name
        try:
            yield
        except httpx.TimeoutException as error:
            raise TooSlowError(f"{name} did not answer in time") from error
        except httpx.ProtocolError as error:
            raise GarbageError(f"{name} does not speak HTTP as we do: {error}") from error
        except httpx.TransportError as error:
            raise RemoteError(f"the connection to {name} failed: {error}") from error
        except httpx.InvalidURL as error:
            raise RemoteError(f"{name} is named by what is no web address") from error


class _Body:
    """The parts of a body as a row of bytes."""

    def __init__(self, parts: Iterator[bytes], name: str) -> None:
        self._parts, self._name = parts, name
        self._rest = memoryview(b"")

    def fill(self, view: memoryview) -> None:
        """Read exactly so many bytes."""
        filled = 0
        while filled < len(view):
            if not self._rest:
                part = next(self._parts, None)
                if part is None:
                    raise RemoteError(f"{self._name} ended its answer early")
                self._rest = memoryview(part)
            count = min(len(self._rest), len(view) - filled)
            view[filled : filled + count] = self._rest[:count]
            self._rest = self._rest[count:]
            filled += count


class _Dialler(httpcore.NetworkBackend):
    """Connects httpx to the addresses that were checked, watches its sockets and can cut them."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._plain = httpcore.SyncBackend()
        self._addresses: tuple[str, ...] = ()
        self._streams: set[_Watched] = set()
        self.is_aborted = False
        self.deadline: float | None = None
        """Until when there must be a head; None while a body is read."""
        self.head_left = 0

    def head_begins(self, addresses: tuple[str, ...]) -> None:
        """A request to `addresses` (none: to the proxy) is about to be sent."""
        patience = self._patience
        self._addresses, self.head_left = addresses, MAX_HEAD
        self.deadline = time.monotonic() + patience.connect + patience.handshake + patience.request

    def head_ends(self) -> None:
        """The head is here; from now on, progress is what counts."""
        self.deadline = None

    def abort(self) -> None:
        self.is_aborted = True
        for stream in list(self._streams):
            stream.cut()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        problem: Exception = httpcore.ConnectError("it has no address")
        for address in self._addresses or (host,):
            self.refuse_if_aborted()
            try:
                stream = self._plain.connect_tcp(address, port, self._patience.connect)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                problem = error
            else:
                return self.watched(stream)
        raise problem

    def watched(self, stream: httpcore.NetworkStream) -> "_Watched":
        made = _Watched(stream, self, self._patience.progress)
        self._streams.add(made)
        if self.is_aborted:
            made.cut()
        return made

    def forget(self, stream: "_Watched") -> None:
        self._streams.discard(stream)

    def refuse_if_aborted(self) -> None:
        if self.is_aborted:
            raise httpcore.ConnectError("it was closed from this side")


class _Watched(httpcore.NetworkStream):
    """A connection on which a head comes in time and a drip is no progress."""

    def __init__(self, inner: httpcore.NetworkStream, dialler: _Dialler, progress: float) -> None:
        self._inner, self._dialler, self._progress = inner, dialler, progress
        self._waited, self._fresh = 0.0, 0

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        began, deadline = time.monotonic(), self._dialler.deadline
        if deadline is not None:
            timeout = min(timeout or self._progress, deadline - began)
        if timeout is not None and timeout <= 0:
            raise httpcore.ReadTimeout("no head in time")
        data = self._inner.read(max_bytes, timeout)
        if deadline is None:
            self._judge(len(data), time.monotonic() - began)
        else:
            self._waited, self._fresh = 0.0, 0
            self._dialler.head_left -= len(data)
            if self._dialler.head_left < 0:
                raise httpcore.RemoteProtocolError("the head of its answer does not end")
        return data

    def _judge(self, count: int, seconds: float) -> None:
        self._fresh += count
        self._waited += seconds
        if self._fresh >= LEAST_PROGRESS:
            self._waited, self._fresh = 0.0, 0
        elif self._waited > self._progress:
            raise httpcore.ReadTimeout("next to nothing comes")

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._dialler.refuse_if_aborted()
        self._inner.write(buffer, timeout)

    def close(self) -> None:
        self._dialler.forget(self)
        self._inner.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        self._dialler.forget(self)
        return self._dialler.watched(self._inner.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)

    def cut(self) -> None:
        connection = self._inner.get_extra_info("socket")
        try:
            socket.socket.shutdown(connection, socket.SHUT_RDWR)
        except OSError:
            return  # not connected, or closed already


def _head_of(response: httpx.Response) -> Head:
    headers = ((name.lower(), value) for name, value in response.headers.multi_items())
    return Head(response.status_code, tuple(headers))
