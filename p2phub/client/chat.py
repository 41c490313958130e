"""What a model is asked over the OpenAI API of a node, and how its answers are read.

`Hub` and `AsyncHub` differ only in how they wait; what is sent and what an answer says stands here,
once. The pedigree of an answer comes in headers.

>>> chat_body("lab/smol", [{"role": "user", "content": "Hi"}], stream=False, options={"seed": 1})
{'model': 'lab/smol', 'messages': [{'role': 'user', 'content': 'Hi'}], 'stream': False, 'seed': 1}
>>> piece_of('data: {"choices": [{"delta": {"content": "Hi"}}]}')
'Hi'
"""

import base64
import binascii
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from p2phub.client.wire import error_of
from p2phub.errors import BusyError, ContextError, GarbageError, NotFoundError, P2PHubError

CHAT: Final = "/v1/chat/completions"
EMBEDDINGS: Final = "/v1/embeddings"
PURPOSES: Final[Mapping[str, str]] = {CHAT: "text-generation", EMBEDDINGS: "feature-extraction"}
"""What a model must be for to be asked there."""
DATA: Final = "data: "
END: Final = "[DONE]"
_CODES: Final[Mapping[str, type[P2PHubError]]] = {
    "model_not_found": NotFoundError,
    "context_length_exceeded": ContextError,
    "rate_limit_exceeded": BusyError,
}
"""Codes of the OpenAI API that are not ours."""

Message = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model answered, and where that comes from."""

    text: str
    finish_reason: str = ""
    """stop, length or tool_calls."""
    tool_calls: tuple[Mapping[str, Any], ...] = ()
    prompt_tokens: int = 0
    completion_tokens: int = 0
    release: str = ""
    """The digest of the release whose bytes were loaded, in hex."""
    publisher: str = ""
    """The id of who signed it."""
    verdict: str = ""
    """What its signatures are worth."""
    base_release: str = ""
    """Of an adapter: the digest of the release that it was put on."""
    base_publisher: str = ""

    def __str__(self) -> str:
        return self.text


def chat_body(
    model: str, messages: Sequence[Message], *, stream: bool, options: Mapping[str, Any]
) -> dict[str, Any]:
    """The body of a question. `options`: more that the OpenAI API knows, such as `temperature`."""
    body: dict[str, Any] = {"model": model, "messages": list(messages), "stream": stream}
    return body | {key: value for key, value in options.items() if value is not None}


def answer_from(body: Any, headers: Mapping[str, str]) -> Answer:
    """A whole answer. Raises `GarbageError`."""
    try:
        choice, usage = body["choices"][0], body.get("usage") or {}
        return Answer(
            text=choice["message"].get("content") or "",
            finish_reason=choice.get("finish_reason") or "",
            tool_calls=tuple(choice["message"].get("tool_calls") or ()),
            prompt_tokens=usage.get("prompt_tokens", 0),
            completion_tokens=usage.get("completion_tokens", 0),
            **pedigree(headers),
        )
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise _garbage() from error


def pedigree(headers: Mapping[str, str]) -> dict[str, str]:
    """Release, publisher and verdict, as the headers of an answer tell them; of an adapter also
    what its base is.
    """
    told = {name: headers.get(f"p2phub-{name}", "") for name in ("release", "publisher", "verdict")}
    names = ("base_release", "base_publisher")
    more = {name: headers.get(f"p2phub-{name.replace('_', '-')}", "") for name in names}
    return told | {name: value for name, value in more.items() if value}


def piece_of(line: str) -> str:
    """The text in a line of a stream; empty where it has none. Raises the error that it tells."""
    data = line.removeprefix(DATA).strip()
    if not line.startswith(DATA) or data == END:
        return ""
    try:
        event = json.loads(data)
        if "error" in event:
            raise api_error(event)
        choices = event.get("choices") or []
        return (choices[0].get("delta") or {}).get("content") or "" if choices else ""
    except (ValueError, TypeError, AttributeError) as error:
        raise _garbage() from error


def api_error(body: Any) -> P2PHubError:
    """The error that the OpenAI API tells of, as one of ours."""
    told = body.get("error") if isinstance(body, Mapping) else None
    if not isinstance(told, Mapping):
        return _garbage()
    kind = _CODES.get(str(told.get("code")))
    return kind(str(told.get("message", ""))) if kind else error_of(body)


def vectors_from(body: Any) -> list[list[float]]:
    """The vectors of an answer, in the order of the texts. Raises `GarbageError`."""
    try:
        rows = sorted(body["data"], key=lambda row: row["index"])
        return [_vector(row["embedding"]) for row in rows]
    except (KeyError, TypeError, ValueError, struct.error, binascii.Error) as error:
        raise _garbage() from error


def _vector(told: Any) -> list[float]:
    if isinstance(told, str):
        data = base64.b64decode(told, validate=True)
        return list(struct.unpack(f"<{len(data) // 4}f", data))
    return [float(each) for each in told]


def _garbage() -> GarbageError:
    return GarbageError(
        "the node answered with something that is no answer of a model",
        remedy="is it another version of p2phub? look at the node's log",
    )
