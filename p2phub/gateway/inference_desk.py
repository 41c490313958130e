"""Where every request to a model goes: which model it means, whether there is room, and the model.

A request that names no model (or `dummy`, as huggingface_hub does) means the one that is loaded
and can do its task, or else the only one there is, and an adapter only if there is nothing else.
Where that is not clear it is told the choices.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from difflib import get_close_matches
from typing import Final

import trio
from starlette.requests import Request

from p2phub.errors import NotFoundError
from p2phub.gateway.dialects import ParameterError
from p2phub.gateway.inference_clients import Crowd
from p2phub.gateway.ports import InferenceApi
from p2phub.inference_results import ModelRow
from p2phub.node.served import Served

NO_MODEL: Final = ("", "dummy", "tgi", "default")
"""What a client says that names none."""
TEXT: Final = "text-generation"
VECTORS: Final = "feature-extraction"
_SHOWN: Final = 10
"""Names told in an error."""


class Desk:
    """The models of a node, for the length of one request each."""

    def __init__(self, api: InferenceApi, crowd: Crowd, stopping: trio.Event) -> None:
        self.api = api
        self.crowd = crowd
        self.stopping = stopping

    @asynccontextmanager
    async def hold(
        self, request: Request, model: str, task: str, answers: int = 1
    ) -> AsyncIterator[Served]:
        """A model for as long as the block lasts; raises as `InferenceApi.serve`."""
        client = self.crowd.client_of(request)
        with self.crowd.entered(client, answers):
            name = await self.meant(model, task)
            async with self.api.serve(name, task, client) as served:
                yield served

    async def meant(self, model: str, task: str) -> str:
        """The name of the model that a request means. Raises `ParameterError`."""
        if model not in NO_MODEL:
            return model
        able = [row for row in await self.api.models() if not task or task in row.tasks]
        models = [row for row in able if row.default and not row.base]
        loaded = [row for row in able if row.loaded]
        for rows in ([row for row in loaded if not row.base], loaded, models, able):
            if len(rows) == 1:
                return rows[0].id
        if not able:
            raise NotFoundError(
                f"no model here can do {task}" if task else "no model is here",
                remedy="Start one with `p2phub serve REF`.",
            )
        choices = ", ".join(row.id for row in (loaded or able)[:_SHOWN])
        raise ParameterError("model is missing", param="model", remedy=f"Choose from {choices}.")

    async def row(self, model: str) -> ModelRow:
        """What is known of a model. Raises `NotFoundError`, which names the nearest ones."""
        rows = {row.id: row for row in await self.api.models()}
        if model in rows:
            return rows[model]
        for row in rows.values():
            name, _, variant = row.id.partition(":")
            typed, _, wanted = model.partition(":")
            if name == typed and (wanted.lower() == variant.lower() if wanted else row.default):
                return row
        near = get_close_matches(model, rows, cutoff=0.4)
        remedy = f"The nearest ones are {', '.join(near)}." if near else "See /v1/models."
        raise NotFoundError(f"there is no model {model[:200]} here", remedy=remedy)
