"""One HTTP request to a server that somebody attached, and its answer as it comes.

h11 over trio, a connection for each request: who stops reading closes it, by which the server
learns it at once. Credentials and proxies of the environment are not used; redirects are not
followed.
"""

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import urlsplit

import h11
import trio

from p2phub.errors import EngineError, GarbageError, TooSlowError, UsageError

CONNECT_PATIENCE: Final = 10.0
"""Seconds to wait for a connection."""
READ_PATIENCE: Final = 300.0
"""Seconds without a byte after which a server is taken for dead."""
CHUNK: Final = 1 << 16
PORTS: Final = {"http": 80, "https": 443}


class Answer:
    """A status, headers by their names in lower case, and a body to be read in parts."""

    def __init__(
        self, stream: trio.abc.Stream, protocol: h11.Connection, head: h11.Response, url: str
    ) -> None:
        self.status = head.status_code
        self.headers = {name.decode(): value.decode("latin-1") for name, value in head.headers}
        self._stream, self._protocol, self._url = stream, protocol, url

    async def part(self) -> bytes:
        """The next bytes of the body; none at its end. Raises `EngineError`, `TooSlowError`."""
        event = await _next(self._stream, self._protocol, self._url)
        return bytes(event.data) if isinstance(event, h11.Data) else b""

    async def whole(self, most: int) -> bytes:
        """All of the body. Raises `GarbageError` if it has more than `most` bytes."""
        data = bytearray()
        while part := await self.part():
            data += part
            if len(data) > most:
                raise GarbageError(f"{self._url} sent an answer of more than {most} bytes")
        return bytes(data)


@asynccontextmanager
async def http_call(
    method: str, url: str, *, body: bytes = b"", headers: Mapping[str, str] | None = None
) -> AsyncIterator[Answer]:
    """Send a request; its answer, for as long as the block lasts.

    Raises `EngineError` where nobody answers, `TooSlowError`, `UsageError` for what is no URL.
    """
    where = urlsplit(url)
    host, port = where.hostname, where.port or PORTS.get(where.scheme, 0)
    if not host or not port:
        raise UsageError(f"{url} is no http or https address", remedy="such as http://host:8000/v1")
    stream = await _connect(host, port, url, secure=where.scheme == "https")
    try:
        protocol = h11.Connection(h11.CLIENT, max_incomplete_event_size=CHUNK)
        target = where.path + (f"?{where.query}" if where.query else "")
        sent = {"host": where.netloc.rpartition("@")[2], "connection": "close"} | dict(
            headers or {}
        )
        if body:
            sent |= {"content-type": "application/json", "content-length": str(len(body))}
        request = h11.Request(method=method, target=target, headers=list(sent.items()))
        events = (request, h11.Data(data=body), h11.EndOfMessage())
        await _send(stream, b"".join(protocol.send(each) or b"" for each in events), url)
        head = await _next(stream, protocol, url)
        while isinstance(head, h11.InformationalResponse):
            head = await _next(stream, protocol, url)
        if not isinstance(head, h11.Response):
            raise EngineError(f"{url} closed the connection", remedy="look at its log")
        yield Answer(stream, protocol, head, url)
    finally:
        await trio.aclose_forcefully(stream)


async def _connect(host: str, port: int, url: str, *, secure: bool) -> trio.abc.Stream:
    try:
        with trio.fail_after(CONNECT_PATIENCE):
            stream = await trio.open_tcp_stream(host, port)
            return await _secured(stream, host) if secure else stream
    except trio.TooSlowError:
        raise TooSlowError(f"{url} took no connection in {CONNECT_PATIENCE:g} s") from None
    except (OSError, trio.BrokenResourceError) as error:
        raise EngineError(
            f"{url} does not answer: {error.__cause__ or error}",
            remedy="is that server running? see [inference] endpoints in node.toml",
        ) from error


async def _secured(stream: trio.SocketStream, host: str) -> trio.abc.Stream:
    wrapped = trio.SSLStream(stream, ssl.create_default_context(), server_hostname=host)
    try:
        await wrapped.do_handshake()
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return wrapped


async def _send(stream: trio.abc.Stream, data: bytes, url: str) -> None:
    try:
        with trio.fail_after(READ_PATIENCE):
            await stream.send_all(data)
    except trio.TooSlowError:
        raise TooSlowError(f"{url} does not take what is sent") from None
    except trio.BrokenResourceError:
        return  # it may have answered before it had read everything: that is read next


async def _next(stream: trio.abc.Stream, protocol: h11.Connection, url: str) -> object:
    """The next event of the answer."""
    try:
        while (event := protocol.next_event()) is h11.NEED_DATA:
            with trio.fail_after(READ_PATIENCE):
                protocol.receive_data(await stream.receive_some(CHUNK))
        return event
    except trio.TooSlowError:
        raise TooSlowError(f"{url} sent nothing for {READ_PATIENCE:g} s") from None
    except trio.BrokenResourceError as error:
        raise EngineError(f"{url} broke the connection", remedy="look at its log") from error
    except h11.RemoteProtocolError as error:
        raise EngineError(f"{url} broke off: {error}", remedy="look at its log") from error
