"""The gateway: HTTP in front of one node, from the first request to the last.

`open_gateway` puts the pieces together: routes (`control`, `openai_routes`, `responses` and
`inference_routes`), the guard before them, the boundary around both, hypercorn's trio worker on a
socket of ours, and the two files by which other programs find it. When its block ends, streams
under way are told so and end; then the socket closes.

This is one of the few places where any exception is caught: a bug in the answer to one request
costs that request a 500 (or a stream its last line), a traceback in the log, and nothing else.
Tests hand in `on_bug`, so that no bug hides here.
"""

import logging
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import trio
from hypercorn.config import Config as HypercornConfig
from hypercorn.trio import serve
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from p2phub.config import Config
from p2phub.errors import P2PHubError, UsageError, plain_errors
from p2phub.gateway import connection
from p2phub.gateway.answers import refusal, stopped
from p2phub.gateway.control import Control
from p2phub.gateway.dialects import NoSuchPathError, dialect_of
from p2phub.gateway.guard import Gate, Guard, HttpError
from p2phub.gateway.hub_routes import HubRoute
from p2phub.gateway.inference_clients import Crowd, InferenceLimits, limits_of
from p2phub.gateway.inference_desk import Desk
from p2phub.gateway.inference_routes import inference_routes
from p2phub.gateway.listener import BACKLOG, endpoint_of, listen_on, url_of
from p2phub.gateway.openai_routes import openai_routes
from p2phub.gateway.ports import NodeApi
from p2phub.gateway.responses import Responses
from p2phub.gateway.tokens import Tokens
from p2phub.gateway.whereabouts import announced, keep_token

log = logging.getLogger(__name__)
_http_log = logging.getLogger("hypercorn")
BugHook = Callable[[Exception], None]
STOP_PATIENCE = 3.0
"""Seconds that answers under way get to end once the gateway stops."""
LINGER = 2.0
"""Seconds for which it is read what a client still sends that was refused."""
IDLE_PATIENCE = 75.0
"""Seconds that a connection without a request is kept: longer than clients keep theirs, and than a
thousand that come at once take to be read."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """A gateway that answers."""

    url: str
    token: str
    control: Control


@asynccontextmanager
async def open_gateway(
    node: NodeApi,
    config: Config,
    home: Path,
    *,
    listener: socket.socket | None = None,
    on_bug: BugHook | None = None,
    limits: InferenceLimits | None = None,
) -> AsyncIterator[Gateway]:
    """Serve for as long as the block runs; streams still under way at its end are told and end.

    `listener` is a socket from `listen_on` that somebody took early; without one the configured
    address is taken here, which raises `PortInUseError` if somebody else has it. `limits` is how
    much of the models one client gets; without it as node.toml says.
    """
    with listener or listen_on(config.gateway.listen) as taken:
        endpoint = endpoint_of(taken)
        token = keep_token(home / "run" / "token")
        tokens = (token, config.gateway.token) if config.gateway.token else (token,)
        made = Tokens(home / "run" / "tokens")
        gate = Gate(endpoint, tokens, socket.gethostname(), made)
        gateway = Gateway(url_of(endpoint), token, Control(node, gate))
        crowd = Crowd(limits or limits_of(config.inference))
        desk = Desk(node.inference, crowd, gateway.control.stopping)
        models = [*openai_routes(desk), *Responses(desk).routes(), *inference_routes(desk)]
        served = [*routes(gateway.control), *models, HubRoute(node, gate)]
        application = _application(served, gate, on_bug)
        with plain_errors():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_serve, application, taken, gateway.control.stopping)
                with announced(home / "run" / "gateway", gateway.url):
                    yield gateway
                # From here on nobody finds us; who has is answered to the end.
                gateway.control.stopping.set()


async def _serve(application: ASGIApp, listener: socket.socket, stopping: trio.Event) -> None:
    settings = HypercornConfig()
    # Hypercorn closes what it serves on; it gets a copy, so that ours closes with our block.
    settings.bind = [f"fd://{listener.dup().detach()}"]
    settings.backlog = BACKLOG  # it listens once more, for so many
    settings.accesslog = None
    settings.errorlog = _http_log
    settings.include_server_header = False
    settings.graceful_timeout = STOP_PATIENCE
    settings.keep_alive_timeout = IDLE_PATIENCE
    # The spelling of the ASGI types differs between Starlette and hypercorn.
    framework = cast(Any, application)
    connection.install()
    await serve(framework, settings, shutdown_trigger=stopping.wait, mode="asgi")


def _application(served: list[BaseRoute], gate: Gate, on_bug: BugHook | None) -> ASGIApp:
    return Starlette(
        routes=served,
        middleware=[Middleware(Boundary, on_bug=on_bug), Middleware(Guard, gate=gate)],
        exception_handlers={HTTPException: _no_such_route},
    )


def routes(control: Control) -> list[BaseRoute]:
    """Everything that is served but the models: two probes, and the control API."""

    async def healthy(request: Request) -> Response:
        return JSONResponse({"ok": True})

    async def ready(request: Request) -> Response:
        if control.stopping.is_set():
            return refusal(stopped(), 503)
        return JSONResponse({"ok": True})

    return [Route("/healthz", healthy), Route("/readyz", ready), *control.routes()]


async def _no_such_route(request: Request, error: Exception) -> Response:
    """What Starlette's router refuses by itself: an unknown path, or a method it does not have."""
    remedy = "The calls there are stand in /control/openapi.json."
    path, dialect = request.url.path[:200], dialect_of(request.url.path)
    if isinstance(error, HTTPException) and error.status_code == 405:
        told = UsageError(f"{path} does not take {request.method}", remedy=remedy)
        answer = dialect.refusal(told, 405)
        answer.headers.update(error.headers or {})  # `Allow` says what it does take
        return answer
    return dialect.refusal(NoSuchPathError(f"there is no {path} here", remedy=remedy))


class Boundary:
    """ASGI middleware: whatever goes wrong in answering one request becomes its answer.

    What a client still sends then is read and thrown away, for `LINGER` seconds: a socket that is
    closed on what was not read resets the connection, and many clients read the answer only when
    they have sent all.
    """

    def __init__(self, app: ASGIApp, on_bug: BugHook | None = None) -> None:
        self._app = app
        self._on_bug = on_bug

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, whole = False, False

        async def heard() -> Message:
            nonlocal whole
            message = await receive()
            whole = whole or not message.get("more_body", False)
            return message

        async def watched(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                headers = [*message.get("headers", ()), (b"x-content-type-options", b"nosniff")]
                message = {**message, "headers": headers}
            await send(message)

        try:
            await self._app(scope, heard, watched)
        except ClientDisconnect:
            return  # in the middle of what it sent: nobody hears an answer
        except Exception as error:
            told, status = self._told(error)
            dialect = dialect_of(scope["path"])
            if begun:
                if dialect.last is not None:
                    await send({"type": "http.response.body", "body": dialect.last(told)})
                return
            answer = dialect.refusal(told, status)
            await answer(scope, receive, send if whole else _lingering(receive, send))

    def _told(self, error: Exception) -> tuple[P2PHubError, int]:
        if isinstance(error, HttpError):
            return error.error, error.status
        if isinstance(error, P2PHubError):
            return error, error.http
        log.error("a bug in the answer to a request", exc_info=error)
        if self._on_bug is not None:
            self._on_bug(error)
        return InternalError(), 500


def _lingering(receive: Receive, send: Send) -> Send:
    """`send`, which reads what the client still sends between the end of a body and its sending."""

    async def lingering(message: Message) -> None:
        if message["type"] != "http.response.body" or message.get("more_body", False):
            await send(message)
            return
        await send({**message, "more_body": True})
        with trio.move_on_after(LINGER):
            while (await receive()).get("more_body", False):
                pass
        await send({"type": "http.response.body", "body": b""})

    return lingering


class InternalError(P2PHubError):
    """What a client is told of a bug: nothing but that it was one."""

    code = "internal"

    def __init__(self) -> None:
        super().__init__(
            "the node met a bug of its own while it answered this call",
            remedy="The traceback is in the node's log; please report it.",
        )
