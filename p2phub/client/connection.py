"""One node, spoken to over HTTP: blocking for `Hub`, awaiting for `AsyncHub`.

Proxies of the environment are ignored: a node is near. An answer is one JSON object; a stream is
events and then its last line, and one that ends without it was cut off. Streams are read to their
end, not to their last line, so that the connection can be used again.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

from p2phub.client.calls import Call
from p2phub.client.chat import api_error
from p2phub.client.http import httpx
from p2phub.client.running import RunningNode
from p2phub.client.wire import answer_of, as_ours, content_of, ended, is_last, parsed

CONNECT_PATIENCE: Final = 10.0
"""Seconds to wait for a connection."""
ANSWER_PATIENCE: Final = 300.0
"""Seconds to wait for an answer that is no stream; it may need the network."""
_STREAM: Final = httpx.Timeout(None, connect=CONNECT_PATIENCE)
_ANSWER: Final = httpx.Timeout(ANSWER_PATIENCE, connect=CONNECT_PATIENCE)

HTTP_ERROR: Final = 400


def _told(response: httpx.Response) -> Any:
    """The JSON of an answer of a model. Raises the error it tells of."""
    try:
        body = response.json()
    except ValueError:
        body = None
    if response.status_code >= HTTP_ERROR:
        raise api_error(body)
    return body


def _how(node: RunningNode) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {node.token}"} if node.token else {}
    return {"base_url": node.url, "headers": headers, "trust_env": False}


def _request(call: Call[Any]) -> dict[str, Any]:
    if call.body is None:
        return {"method": "GET", "url": call.path, "params": call.query}
    return {"method": "POST", "url": call.path, "json": call.body}


class Connection:
    """A node, for code that blocks. Safe to use from several threads."""

    def __init__(self, node: RunningNode) -> None:
        self.node = node
        self._url = node.url
        with as_ours(node.url):
            self.http = httpx.Client(**_how(node))

    def answer(self, call: Call[Any]) -> Mapping[str, Any]:
        """The answer of a call that is no stream. Raises the error it tells of."""
        with as_ours(self._url):
            response = self.http.request(**_request(call), timeout=_ANSWER)
            return answer_of(self._url, response.status_code, response.content)

    def content(self, call: Call[Any]) -> bytes:
        """The bytes of a call that is answered with just bytes. Raises the error it tells of."""
        with as_ours(self._url):
            response = self.http.request(**_request(call), timeout=_ANSWER)
            return content_of(self._url, response.status_code, response.content)

    def events(self, call: Call[Any]) -> Iterator[Mapping[str, Any]]:
        """Every line of a stream, last the one with the event `done`, or raises the error it tells.

        Closing the iterator early cancels the work.
        """
        with (
            as_ours(self._url),
            self.http.stream(**_request(call), timeout=_STREAM) as response,
        ):
            if response.status_code >= 400:
                answer_of(self._url, response.status_code, response.read())
            last: Mapping[str, Any] | None = None
            for line in response.iter_lines():
                event = parsed(self._url, line.encode())
                if is_last(event):
                    last = event
                else:
                    yield event
        yield ended(self._url, last)

    def ask(self, path: str, body: Mapping[str, Any]) -> tuple[Any, Mapping[str, str]]:
        """What a model answers, and its headers. Raises the error it tells of."""
        with as_ours(self._url):
            response = self.http.post(path, json=body, timeout=_STREAM)
            return _told(response), response.headers

    @contextmanager
    def asking(
        self, path: str, body: Mapping[str, Any]
    ) -> Iterator[tuple[Mapping[str, str], Iterator[str]]]:
        """The headers of an answer that comes as a stream, and its lines.

        The end of the block ends the answer, also in the node.
        """
        with (
            as_ours(self._url),
            self.http.stream("POST", path, json=body, timeout=_STREAM) as response,
        ):
            if response.status_code >= HTTP_ERROR:
                response.read()
                _told(response)
            yield response.headers, response.iter_lines()

    def close(self) -> None:
        self.http.close()


class AsyncConnection:
    """A node, for code under asyncio or trio."""

    def __init__(self, node: RunningNode) -> None:
        self.node = node
        self._url = node.url
        with as_ours(node.url):
            self.http = httpx.AsyncClient(**_how(node))

    async def answer(self, call: Call[Any]) -> Mapping[str, Any]:
        """The answer of a call that is no stream. Raises the error it tells of."""
        with as_ours(self._url):
            response = await self.http.request(**_request(call), timeout=_ANSWER)
            return answer_of(self._url, response.status_code, response.content)

    async def content(self, call: Call[Any]) -> bytes:
        """The bytes of a call that is answered with just bytes. Raises the error it tells of."""
        with as_ours(self._url):
            response = await self.http.request(**_request(call), timeout=_ANSWER)
            return content_of(self._url, response.status_code, response.content)

    async def events(self, call: Call[Any]) -> AsyncGenerator[Mapping[str, Any], None]:
        """Like `Connection.events`."""
        with as_ours(self._url):
            async with self.http.stream(**_request(call), timeout=_STREAM) as response:
                if response.status_code >= 400:
                    answer_of(self._url, response.status_code, await response.aread())
                last: Mapping[str, Any] | None = None
                async for line in response.aiter_lines():
                    event = parsed(self._url, line.encode())
                    if is_last(event):
                        last = event
                    else:
                        yield event
        yield ended(self._url, last)

    async def ask(self, path: str, body: Mapping[str, Any]) -> tuple[Any, Mapping[str, str]]:
        """Like `Connection.ask`."""
        with as_ours(self._url):
            response = await self.http.post(path, json=body, timeout=_STREAM)
            return _told(response), response.headers

    @asynccontextmanager
    async def asking(
        self, path: str, body: Mapping[str, Any]
    ) -> AsyncIterator[tuple[Mapping[str, str], AsyncIterator[str]]]:
        """Like `Connection.asking`."""
        with as_ours(self._url):
            async with self.http.stream("POST", path, json=body, timeout=_STREAM) as response:
                if response.status_code >= HTTP_ERROR:
                    await response.aread()
                    _told(response)
                yield response.headers, response.aiter_lines()

    async def aclose(self) -> None:
        await self.http.aclose()
