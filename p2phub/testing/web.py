"""Web servers on this machine: an honest one, and one function for each way to answer badly.

`WebServer` serves `files` by path, with ranges, as nginx and S3 do. `answer` decides what becomes
of a request; the honest answer is one of them. What was asked for stands in `asked`.

>>> with WebServer({"/a.bin": b"hello"}) as server:
...     server.url.startswith("http://127.0.0.1:")
True
"""

import hashlib
import re
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any, Self
from urllib.parse import unquote

_FLIPPED = bytes(range(255, -1, -1))


@dataclass(frozen=True, slots=True)
class Asked:
    """One request."""

    path: str
    range: str
    agent: str


class Exchange(BaseHTTPRequestHandler):
    """One request to a `WebServer`, and the parts an answer is made of."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two writes: 40 ms an answer without it
    server: "_Server"

    def do_GET(self) -> None:
        headers = self.headers
        asked = Asked(self.path, headers.get("Range", ""), headers.get("User-Agent", ""))
        self.server.web.asked.append(asked)
        self.server.web.began.set()
        try:
            self.server.web.answer(self)
        except OSError:
            self.close_connection = True  # the other side has had enough

    def log_message(self, format: str, *args: object) -> None:
        """Tests read `asked` instead."""

    @property
    def data(self) -> bytes | None:
        """The file that was asked for."""
        return self.server.web.files.get(unquote(self.path.partition("?")[0]))

    def span(self, size: int) -> tuple[int, int] | None:
        """The bytes [start, stop) that were asked for; None for all of them."""
        found = re.fullmatch(r"bytes=([0-9]+)-([0-9]+)", self.headers.get("Range", ""))
        return (int(found[1]), min(int(found[2]) + 1, size)) if found else None

    def head(self, status: int, **headers: object) -> None:
        """Send a head; `_` in a name stands for a dash."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def whole(self, status: int, data: bytes = b"", **headers: object) -> None:
        self.head(status, Content_Length=len(data), **headers)
        self.wfile.write(data)

    def part(self, data: bytes, **headers: object) -> None:
        """The honest answer about a file of these bytes. `headers` come instead of its own."""
        span = self.span(len(data))
        tag = f'"{hashlib.sha256(data).hexdigest()}"'
        if span is None:
            self.whole(200, data, ETag=tag)
            return
        start, stop = span
        if start >= stop:
            self.whole(416, Content_Range=f"bytes */{len(data)}")
            return
        said = {
            "Content_Length": stop - start,
            "Content_Range": f"bytes {start}-{stop - 1}/{len(data)}",
            "ETag": tag,
        }
        self.head(206, **(said | headers))
        self.wfile.write(memoryview(data)[start:stop])

    def reset(self) -> None:
        """Cut the connection with a RST."""
        linger = b"\1\0\0\0\0\0\0\0"
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.close_connection = True
        self.connection.close()

    def hang(self) -> None:
        """Say nothing more until the server stops."""
        self.server.web.stopping.wait()
        self.close_connection = True


Answer = Callable[[Exchange], None]


class WebServer:
    """Serves `files` (by path) as `answer` does, over TLS if there is a `context`."""

    def __init__(
        self,
        files: Mapping[str, bytes],
        answer: Answer | None = None,
        *,
        host: str = "127.0.0.1",
        context: ssl.SSLContext | None = None,
    ) -> None:
        self.files, self.answer = files, answer or honest
        self.asked: list[Asked] = []
        self.began, self.stopping = threading.Event(), threading.Event()
        self._host, self._context = host, context

    @property
    def host(self) -> str:
        """Host and port, as a seed names them."""
        return f"{self._host}:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        return f"{'https' if self._context else 'http'}://{self.host}"

    def __enter__(self) -> Self:
        self._server = _Server((self._host, 0), self, self._context)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.cut()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = False

    def __init__(
        self, address: tuple[str, int], web: WebServer, context: ssl.SSLContext | None
    ) -> None:
        super().__init__(address, Exchange)
        self.web, self._context = web, context
        self._open: set[socket.socket] = set()

    def finish_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        try:
            if self._context is not None:
                request = self._context.wrap_socket(request, server_side=True)
                self._open.add(request)
            super().finish_request(request, client_address)
        except OSError:
            return  # the other side has had enough
        finally:
            request.close()

    def cut(self) -> None:
        for each in list(self._open):
            try:
                socket.socket.shutdown(each, socket.SHUT_RDWR)
            except OSError:
                continue  # it is closed already


# ---------------------------------------------------------------- answers


def honest(exchange: Exchange) -> None:
    """What nginx or S3 would say."""
    data = exchange.data
    if data is None:
        exchange.whole(404, b"not here")
    else:
        exchange.part(data)


def poisoned(exchange: Exchange) -> None:
    """Right lengths, one wrong bit in the middle of the file."""
    data = bytearray(exchange.data or b"")
    data[len(data) // 2] ^= 1
    exchange.part(bytes(data))


def all_wrong(exchange: Exchange) -> None:
    """Right lengths, and not one right byte."""
    exchange.part((exchange.data or b"").translate(_FLIPPED))


def truncated(exchange: Exchange) -> None:
    """Ends in the middle of every answer."""
    data = exchange.data or b""
    start, stop = exchange.span(len(data)) or (0, len(data))
    exchange.head(
        206,
        Content_Length=stop - start,
        Content_Range=f"bytes {start}-{stop - 1}/{len(data)}",
    )
    exchange.wfile.write(data[start : (start + stop) // 2])
    exchange.close_connection = True


def without_ranges(exchange: Exchange) -> None:
    """Always sends the whole file."""
    exchange.whole(200, exchange.data or b"")


def in_chunks(exchange: Exchange) -> None:
    """Always sends the whole file, in chunks of odd sizes, and does not say how long it is."""
    data = memoryview(exchange.data or b"")
    exchange.head(200, Transfer_Encoding="chunked")
    for start in range(0, len(data), 70_001):
        part = data[start : start + 70_001]
        exchange.wfile.write(b"%x\r\n" % len(part) + part + b"\r\n")
    exchange.wfile.write(b"0\r\n\r\n")


def as_of_old(exchange: Exchange) -> None:
    """The whole file over HTTP/1.0, as `python -m http.server` sends it, after some news."""
    exchange.wfile.write(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n")
    exchange.wfile.write(b"HTTP/1.0 200 OK\r\nServer: old\r\n\r\n" + (exchange.data or b""))
    exchange.close_connection = True


def breaking_off(after: int, then: Answer = without_ranges) -> Answer:
    """Sends the whole file and breaks off after so many bytes of it."""

    def answer(exchange: Exchange) -> None:
        data = exchange.data or b""
        if len(data) <= after:
            then(exchange)
            return
        exchange.head(200, Content_Length=len(data))
        exchange.wfile.write(data[:after])
        exchange.close_connection = True

    return answer


def whole_and_wrong(exchange: Exchange) -> None:
    """Always sends the whole file, and one wrong bit in the middle of it."""
    data = bytearray(exchange.data or b"")
    data[len(data) // 2] ^= 1
    exchange.whole(200, bytes(data))


def other_range(exchange: Exchange) -> None:
    """Says that it sends the bytes after those that were asked for."""
    data = exchange.data or b""
    start, stop = exchange.span(len(data)) or (0, len(data))
    exchange.part(data, Content_Range=f"bytes {start + 1}-{stop}/{len(data)}")


def no_range(exchange: Exchange) -> None:
    """206, and not a word about which bytes these are."""
    exchange.part(exchange.data or b"", Content_Range="")


def other_total(exchange: Exchange) -> None:
    """Has a file of another length at this path."""
    exchange.part((exchange.data or b"") + b"more")


def in_gzip(exchange: Exchange) -> None:
    """Compresses what nobody asked it to."""
    exchange.part(exchange.data or b"", Content_Encoding="gzip")


def endless_body(exchange: Exchange) -> None:
    """Does not say how long its answer is, and never ends it."""
    exchange.head(200)
    exchange.wfile.write(exchange.data or b"")
    while not exchange.server.web.stopping.is_set():
        exchange.wfile.write(bytes(65536))


def endless_head(exchange: Exchange) -> None:
    """A head that never ends."""
    exchange.send_response(200)
    exchange.flush_headers()
    while not exchange.server.web.stopping.is_set():
        exchange.wfile.write(b"X-Filler: " + b"x" * 1000 + b"\r\n")


def dripping_head(exchange: Exchange) -> None:
    """A head that comes byte by byte."""
    exchange.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    _drip(exchange)


def dripping_body(exchange: Exchange) -> None:
    """A body that comes byte by byte."""
    data = exchange.data or b""
    start, stop = exchange.span(len(data)) or (0, len(data))
    said = f"bytes {start}-{stop - 1}/{len(data)}"
    exchange.head(206, Content_Length=stop - start, Content_Range=said)
    _drip(exchange)


def _drip(exchange: Exchange) -> None:
    while not exchange.server.web.stopping.wait(0.05):
        exchange.wfile.write(b"x")
        exchange.wfile.flush()


def silent(exchange: Exchange) -> None:
    """Takes the request and says nothing."""
    exchange.hang()


def reset(exchange: Exchange) -> None:
    """Cuts the connection instead of answering."""
    exchange.reset()


def failing(status: int) -> Answer:
    """Answers everything with `status`."""
    return lambda exchange: exchange.whole(status, b"no")


def busy(times: int, after: str = "0", then: Answer = honest, status: int = 429) -> Answer:
    """Asks `times` times to come back `after` so long, and then is `then`."""
    turn = count()

    def answer(exchange: Exchange) -> None:
        if next(turn) < times:
            exchange.whole(status, b"later", Retry_After=after)
        else:
            then(exchange)

    return answer


def http_date(unix_seconds: float) -> str:
    """A date as `Retry-After` may hold it."""
    return formatdate(unix_seconds, usegmt=True)


def redirecting(where: Callable[[Exchange], str], **headers: object) -> Answer:
    """Sends everybody elsewhere, as a hub sends to its CDN."""
    return lambda exchange: exchange.whole(302, b"", Location=where(exchange), **headers)


def hub(cdn: str, wrong_size: int = 0) -> Answer:
    """`/{repo}/resolve/{revision}/{path}`: a redirect to `cdn`, signed, with the size in a header.

    `wrong_size`: bytes by which that header is off.
    """

    def answer(exchange: Exchange) -> None:
        data = exchange.data
        if data is None:
            exchange.whole(404, b"Entry not found", X_Error_Code="EntryNotFound")
            return
        exchange.whole(
            302,
            b"Found",
            Location=f"{cdn}{exchange.path}?signature=c2VjcmV0",
            X_Linked_Size=len(data) + wrong_size,
            X_Linked_ETag=f'"{hashlib.sha256(data).hexdigest()}"',
            X_Repo_Commit="0123456789abcdef" * 2 + "01234567",
        )

    return answer


def signed(signature: str, then: Answer = honest) -> Answer:
    """An S3-style bucket: `then`, but nothing without `signature` in the question."""

    def answer(exchange: Exchange) -> None:
        if signature in exchange.path.partition("?")[2]:
            then(exchange)
        else:
            exchange.whole(403, b"<Error><Code>AccessDenied</Code></Error>")

    return answer


def elsewhere(region: str) -> Answer:
    """An S3-style redirect to where the bucket is, with the same question."""
    text = b"<Error><Code>TemporaryRedirect</Code></Error>"
    return lambda exchange: exchange.whole(307, text, Location=f"{region}{exchange.path}")
