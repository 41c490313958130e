"""A client of another hub: asks a server that answers like Hugging Face's for what it knows.

Only questions are asked here; the bytes of files come through `web_source`. This is the door to
httpx's client: each of its failures becomes one of ours.

Rules it keeps:
 * the server is the one that the user of this node named; a redirect is followed only where it
   stays on that server, so that no token leaves it;
 * a token goes with the one question that it came with, and into no log and no error;
 * an answer is read within `MAX_ANSWER`, and every question ends within `PATIENCE`.

What an answer means, and whether it is remembered, is the caller's business.

>>> HubClient("https://hub.example/").endpoint
'https://hub.example'
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urljoin, urlsplit

import httpx
import trio

from p2phub.errors import GarbageError, NoSourceError, RemoteError, TooSlowError
from p2phub.network.waiting import one_error
from p2phub.protocol.seeds import host_of

MAX_ANSWER: Final = 64 << 20
"""Bytes of an answer: a page of a tree has 1,000 entries, a list of all siblings may be long."""
CONNECT: Final = 10.0
"""Seconds for a connection."""
PATIENCE: Final = 60.0
"""Seconds for an answer."""
MOST_REDIRECTS: Final = 5
AT_ONCE: Final = 16
"""Questions that are asked at once."""
_HEADERS: Final = {"accept-encoding": "identity", "user-agent": "p2phub"}


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked. `target`: the path and the query, encoded as it was sent."""

    target: str
    method: str = "GET"
    body: bytes = b""
    content_type: str = ""

    def __post_init__(self) -> None:
        if not self.target.startswith("/") or self.target.startswith("//"):
            raise ValueError(self.target)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, whatever its status. Names of headers are in lower case."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


class HubClient:
    """Asks the hub at `endpoint`. Connections are kept; `close` ends them."""

    def __init__(self, endpoint: str, *, patience: float = PATIENCE) -> None:
        self.endpoint = endpoint.rstrip("/")
        self.hop = f"p2phub; id={secrets.token_hex(8)}"
        """What a question says of who passed it on; another one in every process."""
        self._shown = host_of(endpoint)
        self._patience = patience
        self._places = trio.CapacityLimiter(AT_ONCE)
        self._http: httpx.AsyncClient | None = None

    async def ask(self, question: Question, token: str | None = None, via: str = "") -> Reply:
        """The answer to a question; that of the end, if it is redirected on the same server, and
        that of the redirect, if it leads to another. `via`: who passed the question on before us,
        as `CDN-Loop` said (RFC 8586).

        Raises `RemoteError`, `TooSlowError`, `GarbageError`.
        """
        url, headers = self.endpoint + question.target, dict(_HEADERS)
        headers["cdn-loop"] = ", ".join(filter(None, (via, self.hop)))
        if question.content_type:
            headers["content-type"] = question.content_type
        if token:
            headers["authorization"] = f"Bearer {token}"
        first: dict[str, str] = {}
        async with self._places, one_error():
            for _ in range(MOST_REDIRECTS + 1):
                reply = await self._once(url, question, headers)
                target = urljoin(url, reply.headers.get("location", ""))
                if reply.status not in (301, 302, 303, 307, 308) or not _same(url, target):
                    return Reply(reply.status, {**first, **reply.headers}, reply.body)
                first = {**first, **_linked(reply.headers)}
                url = target
        raise RemoteError(f"{self._shown} redirects for ever")

    async def _once(self, url: str, question: Question, headers: Mapping[str, str]) -> Reply:
        if self._http is None:
            timeout = httpx.Timeout(self._patience, connect=CONNECT)
            self._http = httpx.AsyncClient(timeout=timeout, follow_redirects=False)
        try:
            with trio.fail_after(self._patience):
                async with self._http.stream(
                    question.method, url, headers=headers, content=question.body
                ) as answer:
                    body = await self._body(answer) if question.method != "HEAD" else b""
                    named = {name.lower(): value for name, value in answer.headers.items()}
                    return Reply(answer.status_code, named, body)
        except (httpx.TimeoutException, trio.TooSlowError):
            raise TooSlowError(f"{self._shown} did not answer in time") from None
        except httpx.ConnectError:
            raise NoSourceError(f"{self._shown} cannot be reached") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            said = type(error).__name__
            raise RemoteError(f"the connection to {self._shown} failed: {said}") from None

    async def _body(self, answer: httpx.Response) -> bytes:
        body = bytearray()
        async for part in answer.aiter_raw():
            body += part
            if len(body) > MAX_ANSWER:
                raise GarbageError(f"{self._shown} sends an answer of over {MAX_ANSWER} bytes")
        return bytes(body)

    async def close(self) -> None:
        """End every connection."""
        if self._http is not None:
            await self._http.aclose()
            self._http = None


def _same(url: str, target: str) -> bool:
    """Whether two addresses are on one server."""
    here, there = urlsplit(url), urlsplit(target)
    return (here.scheme, here.netloc) == (there.scheme, there.netloc) and not there.username


def _linked(headers: Mapping[str, str]) -> dict[str, str]:
    """What a redirect says of the file that it leads to."""
    return {
        name: value
        for name, value in headers.items()
        if name.startswith("x-linked-") or name == "x-repo-commit"
    }
