"""`POST /v1/embeddings`: vectors of texts, as numbers or as OpenAI's client asks for them: base64.

>>> asked = embeddings_of(Fields({"input": "a", "encoding_format": "base64"}))
>>> shaped(Embeddings(bytes(8), 2, 1), asked.base64)
[{'object': 'embedding', 'index': 0, 'embedding': 'AAAAAAAAAAA='}]
"""

import struct
from base64 import b64encode
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from p2phub.gateway.inference_answers import pedigree, pedigree_headers, while_there
from p2phub.gateway.inference_body import Fields
from p2phub.gateway.inference_desk import VECTORS, Desk
from p2phub.gateway.openai_completions import inputs_of
from p2phub.inference.requests import Embed, Embeddings, Json

MAX_INPUTS: Final = 2048
"""Texts of one request."""
MAX_DIMENSIONS: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class AskedVectors:
    """A request that was read."""

    model: str
    request: Embed
    base64: bool


def embeddings_of(fields: Fields, model: str | None = None) -> AskedVectors:
    """What the client wants; `model` where the path names it. Raises `ParameterError`."""
    request = Embed(
        inputs_of(fields, "input", MAX_INPUTS),
        dimensions=fields.whole("dimensions", 1, MAX_DIMENSIONS),
    )
    name = (fields.text("model") or "") if model is None else model
    return AskedVectors(
        name, request, fields.choice("encoding_format", ("float", "base64")) == "base64"
    )


def rows_of(vectors: Embeddings) -> list[tuple[float, ...]]:
    """The vectors as numbers."""
    row = struct.Struct(f"<{vectors.width}f")
    return list(row.iter_unpack(vectors.data))


def shaped(vectors: Embeddings, base64: bool) -> Json:
    """The list that clients read."""
    rows: list[Json]
    if base64:
        size = 4 * vectors.width
        starts = range(0, len(vectors.data), size)
        rows = [b64encode(vectors.data[start : start + size]).decode() for start in starts]
    else:
        rows = list(rows_of(vectors))
    return [
        {"object": "embedding", "index": index, "embedding": row} for index, row in enumerate(rows)
    ]


async def embeddings(desk: Desk, request: Request, asked: AskedVectors) -> Response:
    """The answer to `asked`."""

    async def work() -> Response:
        async with desk.hold(request, asked.model, VECTORS) as served:
            vectors = await served.engine.embed(asked.request)
            tokens = vectors.prompt_tokens
            content = {
                "object": "list",
                "data": shaped(vectors, asked.base64),
                "model": served.name,
                "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
                "p2phub": pedigree(served),
            }
            return JSONResponse(content, headers=pedigree_headers(served))

    return await while_there(request, desk.stopping, work)
