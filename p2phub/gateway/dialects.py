"""Errors in the words of four APIs: our own, OpenAI's, and Hugging Face's for inference and hub.

What `dialect_of` gives for a path tells how an error is put there: as a whole answer (`refusal`),
or as the last event of a stream that has begun (`last`).

OpenAI's clients try again after 408, 409, 429 and 5xx. Where that is no use (the model does not fit
into memory, its release was taken back) `x-should-retry` says so; where it is, `Retry-After` says
when. The clients of Hugging Face's hub tell errors apart by the header `X-Error-Code` alone, and
an answer that has begun is broken off: they would take an error for bytes of the file.

>>> dialect_of("/v1/models").body(NotFoundError("no x", remedy="Try y."))["error"]["code"]
'model_not_found'
>>> dialect_of("/models/lab/smol").body(ContextError("too long"))
{'error': 'too long', 'error_type': 'validation'}
"""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from starlette.responses import JSONResponse

from p2phub.errors import (
    BusyError,
    ContextError,
    EngineError,
    NoFileError,
    NoRevisionError,
    NotFoundError,
    P2PHubError,
    UsageError,
)
from p2phub.gateway import hub_paths
from p2phub.gateway.answers import error_body, line, refusal

RETRY_AFTER: Final = 1
"""Seconds after which to come again, where an error does not say."""
MAX_HEADER: Final = 1000
"""Characters of a message in a header."""
_WORTH_ANOTHER_TRY: Final = (429, 503, 504)


class ParameterError(UsageError):
    """A parameter of a request that cannot be."""

    def __init__(self, message: str, *, param: str, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.param = param


class NoSuchPathError(NotFoundError):
    """A path that nothing answers at."""


_HUB_CODES: Final = (
    (NoFileError, "EntryNotFound"),
    (NoRevisionError, "RevisionNotFound"),
    (NoSuchPathError, None),
    (NotFoundError, "RepoNotFound"),
)
"""What huggingface_hub makes an exception of its own of."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """How errors are told to the clients of one API."""

    body: Callable[[P2PHubError], dict[str, Any]]
    last: Callable[[P2PHubError], bytes] | None
    """The end of a stream that has begun; None: the connection is closed in the middle of it."""

    def refusal(self, error: P2PHubError, status: int | None = None) -> JSONResponse:
        """The answer for `error`; `status` where HTTP has a more exact number than the tree."""
        code = status or error.http
        return JSONResponse(self.body(error), code, _headers(error, code))


class _OwnDialect(Dialect):
    def refusal(self, error: P2PHubError, status: int | None = None) -> JSONResponse:
        return refusal(error, status)


class _HubDialect(Dialect):
    def refusal(self, error: P2PHubError, status: int | None = None) -> JSONResponse:
        answer = JSONResponse(self.body(error), status or error.http)
        message = " ".join(told(error).split())[:MAX_HEADER]
        plain = "".join(each if " " <= each <= "~" else "?" for each in message)
        answer.headers["X-Error-Message"] = plain
        code = next((name for kind, name in _HUB_CODES if isinstance(error, kind)), None)
        if code is not None:
            answer.headers["X-Error-Code"] = code
        if isinstance(error, BusyError):
            answer.headers["Retry-After"] = str(math.ceil(error.retry_after))
        return answer


def _headers(error: P2PHubError, status: int) -> dict[str, str]:
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    again = status in _WORTH_ANOTHER_TRY
    if again:
        wait = error.retry_after if isinstance(error, BusyError) else RETRY_AFTER
        headers["Retry-After"] = str(math.ceil(wait))
    return headers | {"x-should-retry": "true" if again else "false"}


def told(error: P2PHubError) -> str:
    """What happened and what to do next, as one text."""
    if not error.remedy:
        return error.message
    return f"{error.message.rstrip('.')}. {error.remedy[0].upper()}{error.remedy[1:]}"


def openai_error(error: P2PHubError) -> dict[str, Any]:
    """The error object of the OpenAI API."""
    kind, code = _openai_kind(error)
    param = error.param if isinstance(error, ParameterError) else None
    if code == "model_not_found":
        param = "model"
    return {"message": told(error), "type": kind, "param": param, "code": code}


def _openai_kind(error: P2PHubError) -> tuple[str, str]:
    """Its type and its code."""
    match error:
        case ContextError():
            return "invalid_request_error", "context_length_exceeded"
        case NoSuchPathError():
            return "invalid_request_error", "unknown_url"
        case NotFoundError():
            return "invalid_request_error", "model_not_found"
        case UsageError():
            return "invalid_request_error", error.code
        case BusyError():
            return "rate_limit_error", "rate_limit_exceeded"
        case _:
            return ("permission_error" if error.http < 500 else "server_error"), error.code


def event(content: dict[str, Any]) -> bytes:
    """One event of a stream, which needs no more than its data."""
    return b"data: " + json.dumps(content, separators=(",", ":")).encode() + b"\n\n"


def _openai_body(error: P2PHubError) -> dict[str, Any]:
    return {"error": openai_error(error)}


def _hugging_face_body(error: P2PHubError) -> dict[str, Any]:
    """As Text Generation Inference puts it."""
    match error:
        case BusyError():
            kind = "overloaded"
        case UsageError() | NotFoundError():
            kind = "validation"
        case EngineError():
            kind = "incomplete_generation"
        case _:
            kind = "generation"
    return {"error": told(error), "error_type": kind}


OWN: Final = _OwnDialect(error_body, lambda error: line(error_body(error)))
OPENAI: Final = Dialect(_openai_body, lambda error: event(_openai_body(error)))
HUGGING_FACE: Final = Dialect(_hugging_face_body, lambda error: event(_hugging_face_body(error)))


HUB: Final = _HubDialect(lambda error: {"error": told(error)}, None)


def dialect_of(path: str) -> Dialect:
    """How errors are told under a path."""
    if hub_paths.parse(path.encode(errors="replace")) is not None:
        return HUB
    if path.startswith("/v1/") or (path.startswith("/models/") and "/v1/" in path):
        return OPENAI
    return HUGGING_FACE if path.startswith("/models/") else OWN
