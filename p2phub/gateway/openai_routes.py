"""The OpenAI API as routes: below `/v1`, and below `/models/{repo}/v1` with the model in the path.

Reading needs no token on loopback, and asking a model is reading: whatever key a client shows
there is taken as its name (see `inference_clients`).
"""

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from p2phub.gateway.inference_body import Fields, parse, read
from p2phub.gateway.inference_desk import Desk
from p2phub.gateway.openai_chat import chat_of
from p2phub.gateway.openai_completions import completions_of
from p2phub.gateway.openai_embeddings import embeddings, embeddings_of
from p2phub.gateway.openai_generation import answer
from p2phub.inference.requests import Json
from p2phub.inference_results import ModelRow

Call = Callable[[Desk, Request, Fields, str | None], Awaitable[Any]]


class BodyHeld:
    """An ASGI response that is made and sent while the body of its request has a place."""

    def __init__(self, desk: Desk, request: Request, call: Call) -> None:
        self._desk, self._request, self._call = desk, request, call

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        request, crowd = self._request, self._desk.crowd
        client = crowd.client_of(request)
        crowd.came(client)
        with crowd.body(client) as place:
            fields = parse(await read(request, place))
            model = request.path_params.get("repo")
            response = await self._call(self._desk, request, fields, model)
            await response(scope, receive, send)


async def _chat(desk: Desk, request: Request, fields: Fields, model: str | None) -> Any:
    return await answer(desk, request, chat_of(fields, model))


async def _completions(desk: Desk, request: Request, fields: Fields, model: str | None) -> Any:
    return await answer(desk, request, completions_of(fields, model))


async def _embeddings(desk: Desk, request: Request, fields: Fields, model: str | None) -> Any:
    return await embeddings(desk, request, embeddings_of(fields, model))


def posted(desk: Desk, call: Call) -> Callable[[Request], Awaitable[Any]]:
    """The endpoint of a call whose request is a JSON object."""

    async def endpoint(request: Request) -> Any:
        return BodyHeld(desk, request, call)

    return endpoint


def model_of(row: ModelRow) -> dict[str, Json]:
    """One line of the list of models."""
    return {
        "id": row.id,
        "object": "model",
        "created": row.created,
        "owned_by": row.owner,
        "tasks": list(row.tasks),
        "loaded": row.loaded,
        "parent": row.base or None,
    }


def openai_routes(desk: Desk) -> list[BaseRoute]:
    """All of them."""

    async def models(request: Request) -> Response:
        rows = await desk.api.models()
        return JSONResponse({"object": "list", "data": [model_of(row) for row in rows]})

    async def model(request: Request) -> Response:
        return JSONResponse(model_of(await desk.row(request.path_params["model"])))

    calls = {
        "chat/completions": _chat,
        "completions": _completions,
        "embeddings": _embeddings,
    }
    return [
        Route("/v1/models", models, methods=["GET"]),
        Route("/v1/models/{model:path}", model, methods=["GET"]),
        *(
            Route(f"{front}/v1/{path}", posted(desk, call), methods=["POST"])
            for front in ("", "/models/{repo:path}")
            for path, call in calls.items()
        ),
    ]
