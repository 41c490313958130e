"""Hugging Face's inference API by task: what a client sends, and what an engine is asked for it.

A body is JSON (`inputs`, `parameters`), or an image or a sound as it is. Vectors and sentences that
are compared come from the embeddings of the engine; every other task is the engine's own.

>>> similarities([(1.0, 0.0), (2.0, 0.0), (0.0, 3.0)])
[1.0, 0.0]
"""

import binascii
import math
from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from operator import mul
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from p2phub.errors import NotFoundError, UsageError
from p2phub.gateway.inference_answers import pedigree_headers, while_there
from p2phub.gateway.inference_body import Fields, parse
from p2phub.gateway.inference_desk import TEXT, VECTORS, Desk
from p2phub.gateway.inference_generation import BESIDE
from p2phub.gateway.openai_completions import inputs_of
from p2phub.gateway.openai_embeddings import MAX_DIMENSIONS, MAX_INPUTS, rows_of
from p2phub.inference.requests import Embed, Json, TaskRequest
from p2phub.node.served import Served

SIMILARITY: Final = "sentence-similarity"
OF_TEXT: Final = (
    "text-classification",
    "token-classification",
    "zero-shot-classification",
    "question-answering",
    "table-question-answering",
    "summarization",
    "translation",
    "fill-mask",
    "text2text-generation",
    "text-to-speech",
    "text-to-image",
    "text-to-audio",
    "text-to-video",
)
OF_MEDIA: Final = (
    "automatic-speech-recognition",
    "audio-classification",
    "audio-to-audio",
    "image-classification",
    "image-segmentation",
    "image-to-image",
    "image-to-text",
    "object-detection",
    "depth-estimation",
)
"""Those whose `inputs` are an image or a sound, in base64 where the body is JSON."""
BOTH: Final = (
    "visual-question-answering",
    "document-question-answering",
    "zero-shot-image-classification",
)
_OF_ITS_OWN: Final = ("prompt_name", "truncation_direction")
"""Parameters of vectors that only the task knows."""
_OF_VECTORS: Final = (*_OF_ITS_OWN, "normalize", "truncate", "dimensions")
TASKS: Final = (TEXT, VECTORS, SIMILARITY, *OF_TEXT, *OF_MEDIA, *BOTH)


@dataclass(frozen=True, slots=True)
class Sent:
    """The body of a request: its parameters if it was JSON, or else bytes."""

    fields: Fields
    data: bytes = field(default=b"", repr=False)


def sent(body: bytes, content_type: str) -> Sent:
    """What came. Raises `UsageError`."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "text/plain":
        return Sent(Fields({"inputs": body.decode(errors="replace")}))
    json = kind.endswith("json") or (not kind and body.lstrip()[:1] == b"{")
    if json or kind == "application/x-www-form-urlencoded":
        return Sent(parse(body))
    if not body:
        raise UsageError("the body of this request is empty")
    return Sent(Fields({}), body)


def check_task(task: str) -> None:
    """Raises `NotFoundError`, which names the nearest ones."""
    if task not in TASKS:
        near = get_close_matches(task, TASKS)
        remedy = f"The nearest ones are {', '.join(near)}." if near else "See the README."
        raise NotFoundError(f"there is no task {task[:100]}", remedy=remedy)


async def run_task(desk: Desk, request: Request, model: str, task: str, body: Sent) -> Response:
    """The answer of `model` to one call of `task`."""
    check_task(task)
    wanted = VECTORS if task == SIMILARITY else task

    async def work() -> Response:
        async with desk.hold(request, model, wanted) as served:
            if task == VECTORS:
                return _told(await _vectors(served, body.fields), served)
            if task == SIMILARITY:
                return _told(await _similarity(served, body.fields), served)
            answer = await served.engine.run(task_request(task, body))
            if answer.data:
                headers = pedigree_headers(served)
                return Response(answer.data, media_type=answer.media_type, headers=headers)
            return _told(answer.value, served)

    return await while_there(request, desk.stopping, work)


def _told(value: Json, served: Served) -> Response:
    return JSONResponse(value, headers=pedigree_headers(served))


def task_request(task: str, body: Sent) -> TaskRequest:
    """What the engine is asked. Raises `ParameterError`."""
    fields = body.fields
    fields.only(BESIDE, task)
    given = fields.part("parameters")
    parameters: Mapping[str, Json] = given.data if given else {}
    if body.data:
        if task in OF_TEXT:
            raise fields.wrong("inputs", "must be sent as JSON for this task")
        return TaskRequest(task, data=body.data, parameters=parameters)
    inputs = fields.get("inputs")
    if inputs is None:
        raise fields.wrong("inputs", "is missing")
    if task in OF_MEDIA:
        return TaskRequest(task, data=_decoded(fields), parameters=parameters)
    return TaskRequest(task, inputs, parameters=parameters)


def _decoded(fields: Fields) -> bytes:
    try:
        text = fields.needed_text("inputs")
        return b64decode(
            text.partition(",")[2] if text.startswith("data:") else text, validate=True
        )
    except (binascii.Error, ValueError):
        raise fields.wrong("inputs", "must be base64") from None


async def _vectors(served: Served, fields: Fields) -> Json:
    """The vectors; its client sends parameters beside the inputs."""
    fields.only((*BESIDE, *_OF_VECTORS), VECTORS)
    part = fields.part("parameters") or Fields({}, "parameters")
    part.only(_OF_VECTORS, VECTORS)
    given = Fields({**fields.data, **part.data})
    inputs = inputs_of(given, "inputs", MAX_INPUTS)
    if any(given.get(name) for name in _OF_ITS_OWN):
        told = {name: given.get(name) for name in _OF_VECTORS if given.get(name) is not None}
        asked = TaskRequest(VECTORS, given.get("inputs"), parameters=told)
        return (await served.engine.run(asked)).value
    embed = Embed(
        inputs,
        normalize=None if given.get("normalize") is None else given.truth("normalize"),
        dimensions=given.whole("dimensions", 1, MAX_DIMENSIONS),
        truncate=given.truth("truncate"),
    )
    return rows_of(await served.engine.embed(embed))


async def _similarity(served: Served, fields: Fields) -> Json:
    inputs = fields.part("inputs")
    if inputs is None:
        raise fields.wrong("inputs", "is missing")
    sentences = inputs.texts("sentences")
    if not 0 < len(sentences) < MAX_INPUTS:
        raise inputs.wrong("sentences", f"must have 1 to {MAX_INPUTS - 1} texts")
    texts = (inputs.needed_text("source_sentence"), *sentences)
    fields.only((*BESIDE, "truncate"), SIMILARITY)
    given = fields.part("parameters") or Fields({"truncate": fields.get("truncate")})
    given.only(("truncate",), SIMILARITY)
    embed = Embed(texts, normalize=True, truncate=given.truth("truncate"))
    return similarities(rows_of(await served.engine.embed(embed)))


def similarities(rows: Sequence[Sequence[float]]) -> list[float]:
    """The cosine of the angle between the first vector and each of the others."""
    first, *others = rows
    return [
        sum(map(mul, first, each)) / ((math.hypot(*first) * math.hypot(*each)) or 1.0)
        for each in others
    ]
