"""How an answer of a model reaches its client: whole, or as server-sent events, while it is there.

Rules it keeps:
 * a client that goes away cancels the work at once, and with it the engine's iterator;
 * what comes while the last send goes on is sent together: one send a wake-up;
 * a slow reader makes the work wait after `MAX_WAITING` bytes: nothing piles up;
 * the status waits for the first event, so that an error before it has a status of its own; but
   not longer than `STATUS_AFTER`, and after that a comment every `COMMENT_EVERY` seconds keeps
   clients and proxies from giving up while a model loads;
 * an error after that is the last event.
"""

import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import trio
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from p2phub.errors import EngineError, P2PHubError, plain_errors
from p2phub.gateway.dialects import Dialect
from p2phub.node.served import Served

MAX_WAITING: Final = 1 << 16
"""Bytes of events kept for a client that reads slowly."""
STATUS_AFTER: Final = 5.0
"""Seconds after which a stream begins, whether there is an event or not."""
COMMENT_EVERY: Final = 10.0
"""Seconds without an event after which a comment is sent."""
COMMENT: Final = b": still at it\n\n"
CLIENT_LEFT: Final = 499
"""The status that nobody reads any more."""


def pedigree(served: Served) -> dict[str, str]:
    """Which bytes answer, and who signed them: a field of the last event of every stream."""
    told = {
        "release": served.release,
        "publisher": served.publisher,
        "verdict": served.verdict,
    }
    if served.base_release:
        told |= {"base_release": served.base_release, "base_publisher": served.base_publisher}
    return told


def pedigree_headers(served: Served) -> dict[str, str]:
    """The same as headers: `P2PHub-Release`, `P2PHub-Base-Release`, …"""
    return {
        f"P2PHub-{name.replace('_', '-').title()}": value
        for name, value in pedigree(served).items()
    }


def _stopping() -> EngineError:
    return EngineError("the node is stopping", remedy="Start it again and repeat the request.")


async def while_there(
    request: Request, stopping: trio.Event, work: Callable[[], Awaitable[Response]]
) -> Response:
    """Do `work` as long as the client waits for it and the gateway runs."""
    answer = Response(status_code=CLIENT_LEFT)
    refused: P2PHubError | None = None

    async def until_stopping(scope: trio.CancelScope) -> None:
        nonlocal refused
        await stopping.wait()
        refused = _stopping()
        scope.cancel()

    with plain_errors():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_until_gone, request.receive, nursery.cancel_scope)
            nursery.start_soon(until_stopping, nursery.cancel_scope)
            answer = await work()
            nursery.cancel_scope.cancel()
    if refused is not None and answer.status_code == CLIENT_LEFT:
        raise refused
    return answer


async def _until_gone(receive: Receive, work: trio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    work.cancel()


class Outbox:
    """Events on their way to one client."""

    def __init__(self) -> None:
        self.headers: Mapping[str, str] = {}
        """Of the answer; those that are known when it begins are sent."""
        self.failed: P2PHubError | None = None
        self.closed = False
        self._waiting: list[bytes] = []
        self._size = 0
        self._news = trio.Event()
        self._room = trio.Event()

    async def put(self, events: bytes) -> None:
        """Send them soon; waits only for a client that reads slowly."""
        if not events:
            return
        self._waiting.append(events)
        self._size += len(events)
        self._news.set()
        while self._size > MAX_WAITING:
            self._room = trio.Event()
            await self._room.wait()

    def close(self) -> None:
        """There will be no more."""
        self.closed = True
        self._news.set()

    async def take(self) -> bytes:
        """All that waits; empty only after `close`."""
        if not self._waiting and not self.closed:
            self._news = trio.Event()
            await self._news.wait()
        events = self._waiting[0] if len(self._waiting) == 1 else b"".join(self._waiting)
        self._waiting.clear()
        self._size = 0
        self._room.set()
        return events


Talk = Callable[[Outbox], Awaitable[None]]


class EventStream:
    """An ASGI response: what `talk` puts into its outbox, as server-sent events."""

    def __init__(self, talk: Talk, dialect: Dialect, stopping: trio.Event) -> None:
        self._talk = talk
        self._dialect = dialect
        self._stopping = stopping
        self._out = Outbox()
        self._begun = False
        self._open = False
        """Whether it was begun in truth: the client may leave in the middle of that."""
        self._sent = -math.inf
        """When the last event was sent."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        out = self._out
        with plain_errors():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_until_gone, receive, nursery.cancel_scope)
                nursery.start_soon(self._until_stopping)
                nursery.start_soon(self._comment)
                nursery.start_soon(self._work)
                while events := await out.take():
                    await self._begin(send)
                    await send(_body(events))
                    self._sent = trio.current_time()
                nursery.cancel_scope.cancel()
        if out.failed is not None and not self._begun:
            raise out.failed
        # The server tells us that the client left as soon as the answer is whole: nothing that
        # this cancels may be waiting in its `send` by then.
        await self._begin(send)
        last = self._dialect.last(out.failed) if out.failed and self._dialect.last else b""
        if self._open:
            await send({"type": "http.response.body", "body": last})

    async def _work(self) -> None:
        try:
            with plain_errors():
                await self._talk(self._out)
        except P2PHubError as error:
            self._out.failed = error
        finally:
            self._out.close()

    async def _until_stopping(self) -> None:
        await self._stopping.wait()
        if not self._out.closed:
            self._out.failed = _stopping()
            self._out.close()

    async def _begin(self, send: Send) -> None:
        if self._begun:
            return
        self._begun = True
        headers = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-store"}
        told = [
            (name.lower().encode(), value.encode())
            for name, value in {**headers, **self._out.headers}.items()
        ]
        await send({"type": "http.response.start", "status": 200, "headers": told})
        self._open = True

    async def _comment(self) -> None:
        await trio.sleep(STATUS_AFTER)
        while not self._out.closed:
            if trio.current_time() - self._sent >= COMMENT_EVERY:
                await self._out.put(COMMENT)
            await trio.sleep(COMMENT_EVERY)


def _body(events: bytes) -> dict[str, object]:
    return {"type": "http.response.body", "body": events, "more_body": True}
