"""Hugging Face's inference API as routes: `/models/{repo}`, and a task of it below.

Where the path names no task, the model's own is meant. `/health` and `/info` load nothing.
"""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from p2phub.errors import UnsupportedError
from p2phub.gateway.inference_body import read
from p2phub.gateway.inference_desk import TEXT, Desk
from p2phub.gateway.inference_generation import asked_of, generation
from p2phub.gateway.inference_tasks import check_task, run_task, sent
from p2phub.inference.requests import Json
from p2phub.inference_results import LoadedRow, ModelRow


class TaskHeld:
    """An ASGI response that is made and sent while the body of its request has a place."""

    def __init__(self, desk: Desk, request: Request) -> None:
        self._desk, self._request = desk, request

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        desk, request = self._desk, self._request
        model, task = request.path_params["repo"], request.path_params.get("task")
        if task is not None:
            check_task(task)
        client = desk.crowd.client_of(request)
        desk.crowd.came(client)
        with desk.crowd.body(client) as place:
            body = sent(await read(request, place), request.headers.get("content-type", ""))
            task = task or await self._own_task(model)
            if task == TEXT:
                response = await generation(desk, request, model, asked_of(body.fields))
            else:
                response = await run_task(desk, request, model, task, body)
            await response(scope, receive, send)

    async def _own_task(self, model: str) -> str:
        """What a model does first of all. Raises `UnsupportedError`."""
        rows = {row.id: row for row in await self._desk.api.models()}
        tasks = rows[model].tasks if model in rows else ()
        if not tasks:
            async with self._desk.hold(self._request, model, "") as served:
                tasks = served.engine.info.tasks
        if not tasks:
            raise UnsupportedError(
                f"{model} does not say what it does",
                remedy="Name the task: /models/REF/pipeline/TASK.",
            )
        return tasks[0]


def info_of(row: ModelRow, loaded: LoadedRow | None) -> dict[str, Json]:
    """What Text Generation Inference tells of its model, as far as it is known."""
    told: dict[str, Json] = {"model_id": row.id, "model_pipeline_tag": (row.tasks or (None,))[0]}
    if loaded is None:
        return told | {"loaded": False}
    return told | {
        "loaded": True,
        "model_sha": loaded.release,
        "model_dtype": loaded.dtype,
        "model_device_type": loaded.device.partition(":")[0],
        "max_total_tokens": loaded.context or None,
        "max_concurrent_requests": loaded.slots,
        "p2phub": {
            "release": loaded.release,
            "publisher": loaded.publisher,
            "verdict": loaded.verdict,
            "base_release": loaded.base_release or None,
        },
    }


def inference_routes(desk: Desk) -> list[BaseRoute]:
    """All of them."""

    async def task(request: Request) -> Any:
        return TaskHeld(desk, request)

    async def health(request: Request) -> Response:
        return JSONResponse({"id": (await desk.row(request.path_params["repo"])).id})

    async def info(request: Request) -> Response:
        row = await desk.row(request.path_params["repo"])
        loaded = {each.id: each for each in await desk.api.loaded()}
        return JSONResponse(info_of(row, loaded.get(row.id)))

    return [
        Route("/models/{repo:path}/health", health, methods=["GET"]),
        Route("/models/{repo:path}/info", info, methods=["GET"]),
        Route("/models/{repo:path}/pipeline/{task}", task, methods=["POST"]),
        Route("/models/{repo:path}", task, methods=["POST"]),
    ]
