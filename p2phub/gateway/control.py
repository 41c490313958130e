"""The control API: every operation of the table as an HTTP route below `/control/v1/`.

A route reads the request into its dataclass, calls the node, and answers with JSON or with a stream
of lines. It knows no operation by name: what there is stands in `operations`.
"""

import json
from typing import Any, Final

import trio
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from p2phub.errors import RefusedError, TooSlowError, UsageError
from p2phub.gateway.answers import Stream
from p2phub.gateway.guard import Gate
from p2phub.gateway.openapi import BYTES, document
from p2phub.gateway.operation import Operation, scope_for
from p2phub.gateway.operations import OPERATIONS
from p2phub.gateway.plain_json import parsed
from p2phub.gateway.ports import NodeApi
from p2phub.gateway.shapes import from_json, from_query
from p2phub.node.values import Event, Json, Report, as_json

MAX_STREAMS: Final = 64
"""Pulls, publications and verifications that clients may have under way at once."""
BODY_PATIENCE: Final = 30.0
"""Seconds a client may take to send the body of a request."""


class Control:
    """The routes of the control API around one node."""

    def __init__(self, node: NodeApi, gate: Gate) -> None:
        self._node = node
        self._gate = gate
        self.stopping = trio.Event()
        self.streams = 0
        self.idle = trio.Event()
        self.idle.set()

    def routes(self) -> list[BaseRoute]:
        """One route an operation, and the document that describes them."""
        described = json.dumps(document()).encode()

        async def openapi(request: Request) -> Response:
            return Response(described, media_type="application/json")

        return [
            Route("/control/openapi.json", openapi, methods=["GET"]),
            *(Route(each.path, self._route(each), methods=[each.method]) for each in OPERATIONS),
        ]

    def _route(self, operation: Operation) -> Any:
        async def endpoint(request: Request) -> Response | Stream:
            if not operation.open:
                self._gate.check_token(request.headers, operation.scope)
            wanted = await _read(operation, request)
            if not operation.open:
                self._gate.check_token(request.headers, scope_for(operation, wanted))
            if operation.streams:
                return self._stream(operation, wanted)
            if operation.gives is bytes:
                return Response(
                    await operation.call(self._node, wanted, _unheard), media_type=BYTES
                )
            return JSONResponse(await self._answer(operation, wanted, _unheard))

        return endpoint

    async def _answer(self, operation: Operation, wanted: object, report: Report) -> Any:
        result = await operation.call(self._node, wanted, report)
        if operation.under:
            return {operation.under: [as_json(each) for each in result]}
        return as_json(result)

    def _stream(self, operation: Operation, wanted: object) -> Stream:
        if self.streams >= MAX_STREAMS:
            raise RefusedError(
                f"{MAX_STREAMS} pulls, publications and verifications are under way already",
                remedy="Wait for one of them to end and try again.",
            )

        async def work(report: Report) -> dict[str, Json]:
            self._begin()
            try:
                answer: dict[str, Json] = await self._answer(operation, wanted, report)
                return answer
            finally:
                self._end()

        return Stream(work, self.stopping)

    def _begin(self) -> None:
        if self.streams == 0:
            self.idle = trio.Event()
        self.streams += 1

    def _end(self) -> None:
        self.streams -= 1
        if self.streams == 0:
            self.idle.set()


def _unheard(event: Event) -> None:
    """Where the events of a call go that is answered in one piece."""


async def _read(operation: Operation, request: Request) -> object:
    if operation.method == "GET":
        return from_query(operation.takes, request.query_params.multi_items())
    try:
        with trio.fail_after(BODY_PATIENCE):
            body = await request.body()
    except trio.TooSlowError:
        raise TooSlowError(f"the body did not arrive within {BODY_PATIENCE:g} seconds") from None
    return from_json(operation.takes, _parse(body))


def _parse(body: bytes) -> object:
    if not body.strip():
        return {}
    try:
        return parsed(body)
    except (ValueError, RecursionError):
        raise UsageError("the body of this call is not JSON") from None
