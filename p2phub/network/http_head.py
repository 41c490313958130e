"""HTTP/1.1 as bytes, for both ends of the data protocol, without a socket: h11 does the parsing.

The head of a message is parsed here and has a limit; bodies pass by outside, from the socket into
the buffer they are wanted in. Used over TLS and over libp2p streams alike.

Rules it keeps: only a POST has a body, and that has a limit; what is not HTTP becomes
`GarbageError`, for requests and answers alike; a head never grows beyond `MAX_HTTP_HEAD`.

>>> reader = RequestReader()
>>> reader.receive(request_bytes(Request("GET", "/x", (("range", "bytes=0-1"),))))
>>> reader.next()
Request(method='GET', target='/x', headers=(('host', 'p2phub'), ('range', 'bytes=0-1')))
>>> head = HeadReader()
>>> head.feed(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2"), head.feed(b"\\r\\n\\r\\nhi"), head.rest
(None, Head(status=200, headers=(('content-length', '2'),)), b'hi')
"""

from collections.abc import Iterable
from dataclasses import replace
from http import HTTPStatus
from typing import Final, cast

import h11

from p2phub.errors import GarbageError
from p2phub.network.limits import MAX_HTTP_HEAD, MAX_WEB_HEAD
from p2phub.protocol.ask import Head
from p2phub.protocol.batch import MAX_BATCH_BODY
from p2phub.protocol.serve import Answer, Headers, Request

_END: Final = b"\r\n\r\n"
_START: Final = b"HTTP/1.1 "
_WEB_START: Final = b"HTTP/1."


def request_bytes(request: Request) -> bytes:
    """A request as it goes over the wire."""
    lines = [f"{request.method} {request.target} HTTP/1.1", "Host: p2phub"]
    lines += [f"{name}: {value}" for name, value in request.headers]
    return "\r\n".join([*lines, "", ""]).encode("ascii") + request.body


class HeadReader:
    """Takes bytes until the head of one answer is complete; `rest` is what came after it.

    `from_web`: of an ordinary web server, which may say more, may speak HTTP/1.0, and may send news
    (1xx) before its answer.
    """

    def __init__(self, *, from_web: bool = False) -> None:
        self._from_web = from_web
        self._start = _WEB_START if from_web else _START
        self._limit = MAX_WEB_HEAD if from_web else MAX_HTTP_HEAD
        self._buffer = bytearray()
        self.rest = b""

    @property
    def is_old(self) -> bool:
        """Whether the answer is one of HTTP/1.0."""
        return self._buffer.startswith(b"HTTP/1.0")

    def feed(self, data: bytes) -> Head | None:
        """The head once it is complete. Raises `GarbageError`."""
        searched = max(0, len(self._buffer) - len(_END) + 1)
        self._buffer += data
        if self._buffer[: len(self._start)] != self._start[: len(self._buffer)]:
            raise GarbageError("the answer is not HTTP/1.1")
        end = self._buffer.find(_END, searched)
        if end < 0 and len(self._buffer) <= self._limit:
            return None
        if not 0 <= end <= self._limit:
            raise GarbageError(f"the answer has a head of more than {self._limit} bytes")
        self.rest = bytes(self._buffer[end + len(_END) :])
        return _parse(bytes(self._buffer[: end + len(_END)]), news=self._from_web)


class RequestReader:
    """The server's side of one connection: bytes in, requests out, heads of answers as bytes."""

    def __init__(self) -> None:
        self._connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HTTP_HEAD)
        self._request: Request | None = None
        self._body = b""
        self.ended = False

    def receive(self, data: bytes) -> None:
        """What came; empty when the peer has closed its side."""
        try:
            self._connection.receive_data(data)
        except h11.RemoteProtocolError as error:
            raise GarbageError(f"the request is not HTTP/1.1: {error}") from error

    def next(self) -> Request | None:
        """The next request; None if more bytes are needed (or will never come: `ended`).

        Raises `GarbageError`.
        """
        try:
            while not self.ended:
                event = self._connection.next_event()
                if isinstance(event, h11.Request):
                    self._request, self._body = _request(event), b""
                elif isinstance(event, h11.EndOfMessage) and self._request is not None:
                    return replace(self._request, body=self._body)
                elif isinstance(event, h11.Data):
                    self._take_body(bytes(event.data))
                elif isinstance(event, h11.ConnectionClosed):
                    self.ended = True
                else:
                    return None
        except h11.RemoteProtocolError as error:
            raise GarbageError(f"the request is not HTTP/1.1: {error}") from error
        return None

    def _take_body(self, data: bytes) -> None:
        if self._request is None or self._request.method != "POST":
            raise GarbageError("the request has a body; none is understood here")
        self._body += data
        if len(self._body) > MAX_BATCH_BODY:
            raise GarbageError(f"the request has a body of more than {MAX_BATCH_BODY} bytes")

    def head(self, answer: Answer) -> bytes:
        """The head of the answer to the last request, or to garbage."""
        reason = HTTPStatus(answer.status).phrase.encode()
        headers = [(name.encode(), value.encode("ascii")) for name, value in answer.headers]
        response = h11.Response(status_code=answer.status, headers=headers, reason=reason)
        return self._connection.send(response) or b""

    def sent(self, size: int) -> None:
        """So many bytes of the body were sent by the transport itself."""
        if size:  # h11 looks at the length of what it is given, and at nothing else
            self._connection.send_with_data_passthrough(h11.Data(data=cast(bytes, range(size))))

    def finish(self) -> bool:
        """The answer is complete; whether another request may follow."""
        self._connection.send(h11.EndOfMessage())
        if self._connection.our_state is not h11.DONE:
            return False
        if self._connection.their_state is not h11.DONE:
            return False
        self._connection.start_next_cycle()
        return True


def _parse(head: bytes, *, news: bool) -> Head:
    parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HTTP_HEAD)
    parser.send(h11.Request(method="HEAD", target="/", headers=[("Host", "p2phub")]))
    try:
        parser.receive_data(head)
        event = parser.next_event()
    except h11.RemoteProtocolError as error:
        raise GarbageError(f"the answer is not HTTP/1.1: {error}") from error
    if isinstance(event, h11.Response) or (news and isinstance(event, h11.InformationalResponse)):
        return Head(event.status_code, _texts(event.headers))
    raise GarbageError("the answer has a head that is not one of an answer")


def _request(event: h11.Request) -> Request:
    size = sum(len(name) + len(value) for name, value in event.headers) + len(event.target)
    if size > MAX_HTTP_HEAD:  # h11 looks at heads that have not come to their end only
        raise GarbageError(f"the request has a head of more than {MAX_HTTP_HEAD} bytes")
    target = event.target.decode("latin-1")
    return Request(event.method.decode("latin-1"), target, _texts(event.headers))


def _texts(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    return tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in headers)
