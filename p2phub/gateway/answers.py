"""Answers of the gateway: values as JSON, errors as the one error object, long work as lines.

A stream is NDJSON: a line for every event, then exactly one last line, `{"event":"done",…}` or
`{"error":…}`. A stream that ends without one was cut off, and its reader must treat it as failed.
The work is cancelled when the client goes away. Events wait in a queue of bounded length: a slow
reader gets fewer of them, and the work never waits for it.

>>> error_body(RefusedError("no", remedy="Ask."))["error"]["exit"]
7
"""

import json
import math
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final

import trio
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from p2phub.errors import BusyError, P2PHubError, RefusedError, plain_errors
from p2phub.node.values import Event, Progress, as_json

MAX_WAITING_EVENTS: Final = 4096
"""Events kept for a client that reads slowly; the later ones are left out."""
NDJSON: Final = b"application/x-ndjson"


def error_body(error: P2PHubError) -> dict[str, Any]:
    """The object that every program gets for `error`."""
    told = {"code": error.code, "exit": error.exit}
    return {"error": told | {"message": error.message, "remedy": error.remedy}}


def refusal(error: P2PHubError, status: int | None = None) -> JSONResponse:
    """The response for `error`; `status` where HTTP has a more exact number than the tree."""
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    if isinstance(error, BusyError):
        headers["Retry-After"] = str(math.ceil(error.retry_after))
    return JSONResponse(error_body(error), status or error.http, headers)


def line(content: dict[str, Any]) -> bytes:
    """One line of a stream."""
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


class EventQueue:
    """Events on their way to one client. `put` may be called from any thread and never waits."""

    def __init__(self) -> None:
        self._waiting: deque[Event] = deque()
        self._lock = threading.Lock()
        self._here = trio.lowlevel.current_trio_token()
        self._thread = threading.get_ident()
        self._news = trio.Event()
        self.closed = False

    def put(self, event: Event) -> None:
        """Add an event; a progress that nobody has read yet is replaced by the next one."""
        with self._lock:
            if self.closed:
                return
            last = self._waiting[-1] if self._waiting else None
            if isinstance(event, Progress) and isinstance(last, Progress):
                self._waiting.pop()
            if len(self._waiting) < MAX_WAITING_EVENTS:
                self._waiting.append(event)
        if threading.get_ident() == self._thread:
            self._news.set()
        else:
            self._here.run_sync_soon(self._wake)

    def _wake(self) -> None:
        self._news.set()

    def close(self) -> None:
        """No more events: `take` returns what waits, then nothing."""
        self.closed = True
        self._news.set()

    async def take(self) -> list[Event]:
        """Every event that waits, at least one; empty only after `close`."""
        while not self._waiting and not self.closed:
            await self._news.wait()
            self._news = trio.Event()
        with self._lock:
            events = list(self._waiting)
            self._waiting.clear()
        return events


Work = Callable[[Callable[[Event], None]], Awaitable[dict[str, Any]]]


class Stream:
    """An ASGI response that does `work` and tells the client how it goes.

    `stopping` is set when the gateway stops: the work is then cancelled and the client told so.
    """

    def __init__(self, work: Work, stopping: trio.Event) -> None:
        self._work = work
        self._stopping = stopping
        self._last: dict[str, Any] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", NDJSON), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        with plain_errors():
            async with trio.open_nursery() as watchers:
                watchers.start_soon(_until_gone, receive, watchers.cancel_scope)
                watchers.start_soon(self._until_stopping, watchers.cancel_scope)
                await self._serve(send)
                watchers.cancel_scope.cancel()
        if self._last is not None:
            await send({"type": "http.response.body", "body": line(self._last)})

    async def _serve(self, send: Send) -> None:
        events = EventQueue()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_forward, events, send)
            try:
                with plain_errors():
                    self._last = {"event": "done"} | await self._work(events.put)
            except P2PHubError as error:
                self._last = error_body(error)
            finally:
                events.close()

    async def _until_stopping(self, work: trio.CancelScope) -> None:
        await self._stopping.wait()
        self._last = self._last or error_body(stopped())  # work that is done stays done
        work.cancel()


def stopped() -> P2PHubError:
    """What a client is told whose work ended because the node stops."""
    return RefusedError("the node is stopping", remedy="Start it again and repeat the command.")


async def _until_gone(receive: Receive, work: trio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    work.cancel()


async def _forward(events: EventQueue, send: Send) -> None:
    while waiting := await events.take():
        body = b"".join(line(as_json(event)) for event in waiting)
        await send({"type": "http.response.body", "body": body, "more_body": True})
