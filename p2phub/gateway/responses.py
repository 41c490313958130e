"""The Responses API of OpenAI: answers, whole or as named events, from which one can go on.

An answer is made the same way whether it is streamed or not: it grows piece by piece, and who wants
it whole gets it at the end.
"""

import time
from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from p2phub.errors import P2PHubError, UnsupportedError
from p2phub.gateway.dialects import OPENAI, Dialect, NoSuchPathError, openai_error
from p2phub.gateway.inference_answers import (
    EventStream,
    Outbox,
    pedigree,
    pedigree_headers,
    while_there,
)
from p2phub.gateway.inference_body import Fields
from p2phub.gateway.inference_desk import TEXT, Desk
from p2phub.gateway.inference_texts import cut_off, pieces_of
from p2phub.gateway.openai_chunks import new_id
from p2phub.gateway.openai_routes import posted
from p2phub.gateway.openai_sampling import check_length
from p2phub.gateway.responses_events import GrowingResponse, named_event
from p2phub.gateway.responses_input import AskedResponse, responses_of
from p2phub.gateway.responses_store import ResponseStore
from p2phub.inference.requests import Finished, Generate, Json
from p2phub.node.served import Served


def _last_event(error: P2PHubError) -> bytes:
    """A client of events reads the error from its fields, one of streams from `error`."""
    told = openai_error(error)
    fields = {name: told[name] for name in ("code", "message", "param")}
    return named_event("error", {"type": "error", **fields, "error": told})


EVENTS = Dialect(OPENAI.body, _last_event)


class _Unheard(Outbox):
    """Where the events of an answer go that is wanted whole."""

    async def put(self, events: bytes) -> None:
        """Nobody wants them."""


class Responses:
    """The answers of one gateway."""

    def __init__(self, desk: Desk, store: ResponseStore | None = None) -> None:
        self._desk = desk
        self._store = store or ResponseStore()

    def routes(self) -> list[BaseRoute]:
        """All that there are."""
        return [
            *(
                Route(f"{front}/v1/responses", posted(self._desk, self.create), methods=["POST"])
                for front in ("", "/models/{repo:path}")
            ),
            Route("/v1/responses/{id}", self.one, methods=["GET"]),
            Route("/v1/responses/{id}", self.forget, methods=["DELETE"]),
        ]

    async def create(self, desk: Desk, request: Request, fields: Fields, model: str | None) -> Any:
        """A new answer, in the way it was asked for."""
        asked = responses_of(fields, self._before(fields), model)
        if asked.stream:

            async def talk(out: Outbox) -> None:
                await self._grow(request, asked, out)

            return EventStream(talk, EVENTS, desk.stopping)

        async def work() -> Response:
            out = _Unheard()
            answer = await self._grow(request, asked, out)
            return JSONResponse(answer, headers=out.headers)

        return await while_there(request, desk.stopping, work)

    async def _grow(self, request: Request, asked: AskedResponse, out: Outbox) -> Json:
        """Put the events of an answer to its end into `out`: the whole of it."""
        async with self._desk.hold(request, asked.model, TEXT) as served:
            wanted = _request(asked, served)
            out.headers = pedigree_headers(served)
            answer = GrowingResponse(_fields(asked, served))
            events, calls = answer.begin(), 0
            async with pieces_of(served.engine, wanted) as pieces:
                async for piece in pieces:
                    if isinstance(piece, Finished):
                        events += answer.end(piece, {"p2phub": pedigree(served)})
                        self._keep(asked, answer)
                        await out.put(events)
                        return answer.response
                    if piece.tool_calls and asked.one_call:
                        piece = replace(piece, tool_calls=piece.tool_calls[: 0 if calls else 1])
                    calls += len(piece.tool_calls)
                    await out.put(events + answer.piece(piece))
                    events = b""
        raise cut_off()

    def _keep(self, asked: AskedResponse, answer: GrowingResponse) -> None:
        if asked.store:
            turns = (*asked.turns, answer.turn())
            self._store.put(answer.response["id"], turns, answer.response)

    def _before(self, fields: Fields) -> tuple[Json, ...]:
        """The turns of the answer that a request goes on from."""
        name = fields.text("previous_response_id")
        if not name:
            return ()
        found = self._store.get(name)
        if found is None:
            raise fields.wrong(
                "previous_response_id",
                f'names no answer that is kept here: "{name[:100]}"',
                remedy="Send the whole conversation as input.",
            )
        return found.turns

    async def one(self, request: Request) -> Response:
        """An answer that is kept."""
        found = self._store.get(request.path_params["id"])
        if found is None:
            raise _forgotten(request)
        return JSONResponse(found.response)

    async def forget(self, request: Request) -> Response:
        """Keep it no longer."""
        name = request.path_params["id"]
        if not self._store.drop(name):
            raise _forgotten(request)
        return JSONResponse({"id": name, "object": "response", "deleted": True})


def _forgotten(request: Request) -> NoSuchPathError:
    name = request.path_params["id"][:100]
    return NoSuchPathError(f"no answer {name} is kept here", remedy="Ask again.")


def _request(asked: AskedResponse, served: Served) -> Generate:
    info = served.engine.info
    if not info.chat:
        raise UnsupportedError(
            f"{served.name} has no chat template", remedy="Ask it at /v1/completions."
        )
    check_length(asked.chat, info.context)
    return Generate(asked.chat, asked.sampling, served.adapter)


def _fields(asked: AskedResponse, served: Served) -> dict[str, Json]:
    return {
        "id": new_id("resp_"),
        "object": "response",
        "created_at": int(time.time()),
        "model": served.name,
        "error": None,
        "incomplete_details": None,
        "usage": None,
        **asked.told_back,
    }
