"""The OpenAI API as we speak it to another server: our requests as JSON, and its JSON as values.

Pure. A server may leave out what we do not need and may add what we do not know; what it must say
and does not is a `GarbageError`. vLLM, llama-server, `transformers serve` and another node of ours
speak this.

>>> body = request_body("m", Generate("Hello", Sampling(max_tokens=5, temperature=0)))
>>> body["prompt"], body["max_tokens"], body["stream"]
('Hello', 5, True)
>>> reader = StreamReader(chat=False)
>>> reader.read({"choices": [{"text": " you", "finish_reason": None}]})
[Piece(text=' you', tokens=(), tool_calls=())]
"""

import base64
import struct
from collections.abc import Mapping
from typing import Any, Final, cast

from p2phub.errors import (
    BusyError,
    ContextError,
    EngineError,
    GarbageError,
    NotFoundError,
    P2PHubError,
    RefusedError,
    UsageError,
)
from p2phub.inference.requests import (
    Chat,
    Chosen,
    Embeddings,
    Finished,
    FinishReason,
    Generate,
    Json,
    Piece,
    Sampling,
)

_SAME: Final = (
    "temperature",
    "top_p",
    "top_k",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
)
"""Fields of `Sampling` that the API has by the same name (`top_k` and `repetition_penalty` are
additions that vLLM and llama.cpp know)."""
_ENDS: Final = {"length": "length", "tool_calls": "tool_calls", "function_call": "tool_calls"}
MAX_CALLS: Final = 128
"""Calls of tools in one answer."""
MAX_ARGUMENTS: Final = 1 << 20
"""Characters of the arguments of one call."""


def request_body(model: str, request: Generate) -> dict[str, Json]:
    """The body of a call of `/chat/completions` or `/completions`, as a stream."""
    body: dict[str, Json] = {
        "model": request.adapter or model,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    body |= _sampling(request.sampling, chat=isinstance(request.prompt, Chat))
    prompt = request.prompt
    if not isinstance(prompt, Chat):
        body["prompt"] = prompt if isinstance(prompt, str) else list(prompt)
        if request.echo:
            body["echo"] = True
        return body
    body["messages"] = list(prompt.messages)
    if prompt.tools:
        body |= {"tools": list(prompt.tools), "tool_choice": prompt.tool_choice}
    if prompt.template_arguments:
        body["chat_template_kwargs"] = dict(prompt.template_arguments)
    return body


def _sampling(sampling: Sampling, *, chat: bool) -> dict[str, Json]:
    found = {name: getattr(sampling, name) for name in _SAME}
    body: dict[str, Json] = {name: value for name, value in found.items() if value is not None}
    if sampling.max_tokens is not None:
        body["max_tokens"] = sampling.max_tokens
    if sampling.stop:
        body["stop"] = list(sampling.stop)
    if sampling.logit_bias:
        body["logit_bias"] = {str(token): bias for token, bias in sampling.logit_bias.items()}
    if sampling.logprobs is not None:
        told = {"logprobs": True, "top_logprobs": sampling.logprobs}
        body |= told if chat else {"logprobs": sampling.logprobs}
    if sampling.schema is not None:
        body["response_format"] = _format(sampling.schema)
    return body


def _format(schema: Json) -> dict[str, Json]:
    if schema == {}:
        return {"type": "json_object"}
    named = {"name": "answer", "schema": schema, "strict": True}
    return {"type": "json_schema", "json_schema": named}


class StreamReader:
    """Reads the chunks of one answer, whose end is told once usage has come or the stream ended."""

    def __init__(self, *, chat: bool) -> None:
        self._chat = chat
        self._reason: FinishReason | None = None
        self._usage: Mapping[str, Any] = {}
        self._calls: dict[int, dict[str, str]] = {}
        self._counted = 0

    def read(self, chunk: object) -> list[Piece]:
        """What one chunk says. Raises the error that it tells of, `GarbageError` for nonsense."""
        if not isinstance(chunk, Mapping):
            raise GarbageError("the server sent a chunk that is no object")
        if chunk.get("error"):
            raise told_error(503, chunk)
        usage = chunk.get("usage")
        if isinstance(usage, Mapping):
            self._usage = usage
        choices = chunk.get("choices")
        if not isinstance(choices, list):
            raise GarbageError("the server sent a chunk without choices")
        return [piece for each in choices if (piece := self._choice(each)) is not None]

    def _choice(self, choice: object) -> Piece | None:
        if not isinstance(choice, Mapping):
            raise GarbageError("the server sent a choice that is no object")
        delta = choice.get("delta") if self._chat else choice
        delta = delta if isinstance(delta, Mapping) else {}
        text = delta.get("content" if self._chat else "text") or ""
        if not isinstance(text, str):
            raise GarbageError("the server sent a text that is none")
        self._gather(delta.get("tool_calls"))
        reason = choice.get("finish_reason")
        calls: tuple[Json, ...] = ()
        if reason is not None:
            self._reason = cast(FinishReason, _ENDS.get(reason, "stop"))
            calls = self._complete_calls()
        tokens = _logprobs(choice.get("logprobs"))
        self._counted += max(len(tokens), bool(text))
        return Piece(text, tokens, calls) if text or tokens or calls else None

    def _gather(self, deltas: object) -> None:
        """Parts of calls of tools; they are told once they are complete."""
        if not isinstance(deltas, list):
            return
        for number, each in enumerate(deltas):
            if not isinstance(each, Mapping):
                raise GarbageError("the server sent a call of a tool that is no object")
            place = each.get("index", number)
            if not isinstance(place, int) or not 0 <= place < MAX_CALLS:
                raise GarbageError(f"the server sent more than {MAX_CALLS} calls of tools")
            call = self._calls.setdefault(place, {"id": "", "name": "", "arguments": ""})
            function = each.get("function")
            function = function if isinstance(function, Mapping) else {}
            call["id"] = str(each.get("id") or call["id"])
            call["name"] += str(function.get("name") or "")
            call["arguments"] += str(function.get("arguments") or "")
            if len(call["arguments"]) > MAX_ARGUMENTS:
                raise GarbageError("the server sent a call of a tool without end")

    def _complete_calls(self) -> tuple[Json, ...]:
        made = tuple(
            {
                "id": call["id"] or f"call_{place}",
                "type": "function",
                "function": {"name": call["name"], "arguments": call["arguments"]},
            }
            for place, call in sorted(self._calls.items())
        )
        self._calls.clear()
        return made

    def finish(self) -> Finished:
        """How it ended. Raises `EngineError` if the server left in the middle."""
        if self._reason is None:
            raise EngineError(
                "the server broke off in the middle of an answer", remedy="look at its log"
            )
        details = self._usage.get("prompt_tokens_details")
        cached = details.get("cached_tokens") if isinstance(details, Mapping) else 0
        return Finished(
            self._reason,
            _whole(self._usage.get("prompt_tokens")),
            _whole(self._usage.get("completion_tokens"), self._counted),
            _whole(cached),
        )


def _logprobs(told: object) -> tuple[Chosen, ...]:
    if not isinstance(told, Mapping):
        return ()
    content = told.get("content")
    if isinstance(content, list):
        return tuple(_chosen(each) for each in content if isinstance(each, Mapping))
    tokens, values = told.get("tokens"), told.get("token_logprobs")
    if not isinstance(tokens, list) or not isinstance(values, list):
        return ()
    tops = told.get("top_logprobs")
    tops = tops if isinstance(tops, list) else [{}] * len(tokens)
    return tuple(
        Chosen(
            str(token),
            _number(value),
            str(token).encode(),
            tuple(Chosen(str(other), _number(p)) for other, p in (top or {}).items()),
        )
        for token, value, top in zip(tokens, values, tops, strict=False)
    )


def _chosen(told: Mapping[str, Any]) -> Chosen:
    text = str(told.get("token", ""))
    token = _bytes(told.get("bytes"), text)
    others = told.get("top_logprobs") or ()
    return Chosen(
        text,
        _number(told.get("logprob")),
        token,
        tuple(_chosen(each) for each in others if isinstance(each, Mapping)),
    )


def _bytes(told: object, text: str) -> bytes:
    """The bytes of a token; those of its text where the server does not say."""
    try:
        return bytes(told) if isinstance(told, list) else text.encode()
    except (TypeError, ValueError):
        return text.encode()


def read_embeddings(answer: object) -> Embeddings:
    """The vectors of an answer of `/embeddings`, floats or base64. Raises `GarbageError`."""
    rows = answer.get("data") if isinstance(answer, Mapping) else None
    if not isinstance(answer, Mapping) or not isinstance(rows, list) or not rows:
        raise GarbageError("the server sent no vectors")
    ordered = sorted(rows, key=lambda row: _whole(row.get("index")) if _is_map(row) else 0)
    packed = [_vector(row.get("embedding") if _is_map(row) else None) for row in ordered]
    width = len(packed[0]) // 4
    if not width or any(len(row) != 4 * width for row in packed):
        raise GarbageError("the server sent vectors of several lengths")
    usage = answer.get("usage")
    counted = usage.get("prompt_tokens") if isinstance(usage, Mapping) else 0
    return Embeddings(b"".join(packed), width, _whole(counted))


def _vector(told: object) -> bytes:
    try:
        if isinstance(told, str):
            return base64.b64decode(told, validate=True)
        if isinstance(told, list):
            return struct.pack(f"<{len(told)}f", *told)
    except (ValueError, struct.error, OverflowError):
        pass
    raise GarbageError("the server sent a vector that is none")


def told_error(status: int, body: object, retry_after: str | None = None) -> P2PHubError:
    """Our error for what a server answered.

    >>> told_error(404, {"error": {"message": "no such model"}})
    NotFoundError('the server says: no such model')
    """
    found = body.get("error") if isinstance(body, Mapping) else None
    told = found if isinstance(found, Mapping) else {}
    said = str(told.get("message") or found or f"status {status}")[:500]
    message = f"the server says: {said}"
    about = f"{told.get('code')} {told.get('type')} {said}".lower()
    if status == 429:
        wait = float(retry_after) if retry_after and retry_after.isdecimal() else 1.0
        return BusyError(message, remedy="come again", retry_after=wait)
    if status < 500 and ("context_length" in about or "context length" in about):
        return ContextError(message, remedy="send a shorter prompt")
    if status == 404:
        return NotFoundError(message)
    if status in (401, 403):
        return RefusedError(message, remedy="the endpoint wants a token: see [inference] endpoints")
    if 400 <= status < 500:
        return UsageError(message)
    return EngineError(message, remedy="look at the log of that server")


def _is_map(value: object) -> bool:
    return isinstance(value, Mapping)


def _whole(value: object, otherwise: int = 0) -> int:
    return value if isinstance(value, int) and value >= 0 else otherwise


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
