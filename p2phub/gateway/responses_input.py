"""`POST /v1/responses`: a request read into a conversation, as chat templates know it.

>>> asked = responses_of(Fields({"input": "Hi", "instructions": "Be brief."}), ())
>>> [message["role"] for message in asked.chat.messages], len(asked.turns)
(['system', 'user'], 1)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from p2phub.gateway.inference_body import Fields
from p2phub.gateway.openai_messages import (
    MAX_TOOLS,
    content_of,
    message_of,
    object_of,
    tool_choice_of,
)
from p2phub.gateway.openai_sampling import sampling_of, text_format_of
from p2phub.inference.requests import Chat, Json, Sampling

MAX_METADATA: Final = 16
"""Keys that a client may hang on an answer."""
LOGPROBS: Final = "message.output_text.logprobs"
_REFUSED: Final = ("background", "conversation", "prompt")
_TOLD_BACK: Final[Mapping[str, Json]] = {
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "reasoning": {"effort": None, "summary": None},
    "service_tier": "default",
    "store": True,
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": None,
    "truncation": "disabled",
    "user": None,
}
"""What a request said, or what it means if it did not, stands in its answer too."""


@dataclass(frozen=True, slots=True)
class AskedResponse:
    """A request that was read."""

    model: str
    chat: Chat
    turns: tuple[Json, ...]
    """The conversation without instructions, which hold for one answer only."""
    sampling: Sampling
    told_back: Mapping[str, Json]
    stream: bool = False
    store: bool = True
    """Whether a later request may go on from the answer."""
    one_call: bool = False
    """Whether the model may call one function only."""


def responses_of(
    fields: Fields, before: tuple[Json, ...], model: str | None = None
) -> AskedResponse:
    """What the client wants, after the turns that were `before`. Raises `ParameterError`."""
    fields.refuse(_REFUSED, "cannot be used here")
    turns = (*before, *_turns_of(fields))
    instructions = fields.text("instructions")
    system = [{"role": "system", "content": instructions}] if instructions else []
    tools = _tools_of(fields)
    sampling = sampling_of(
        fields,
        max_tokens=fields.whole("max_output_tokens", 1),
        logprobs=_logprobs(fields),
        schema=text_format_of(fields),
    )
    return AskedResponse(
        (fields.text("model") or "") if model is None else model,
        Chat((*system, *turns), tools, tool_choice_of(fields, tools)),
        turns,
        sampling,
        _told_back(fields),
        fields.truth("stream"),
        fields.truth("store", otherwise=True),
        not fields.truth("parallel_tool_calls", otherwise=True),
    )


def _told_back(fields: Fields) -> dict[str, Json]:
    metadata = fields.part("metadata")
    if metadata is not None and len(metadata.data) > MAX_METADATA:
        raise fields.wrong("metadata", f"may have {MAX_METADATA} keys at most")
    return {
        name: otherwise if fields.get(name) is None else fields.get(name)
        for name, otherwise in _TOLD_BACK.items()
    }


def _logprobs(fields: Fields) -> int | None:
    if LOGPROBS in fields.texts("include"):
        return fields.whole("top_logprobs") or 0
    return None


def _turns_of(fields: Fields) -> list[Json]:
    given = fields.get("input")
    if given is None:
        raise fields.wrong("input", "is missing")
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    turns: list[Json] = []
    for place, each in enumerate(fields.items("input")):
        _add(turns, object_of(each, f"input[{place}]"))
    if not turns:
        raise fields.wrong("input", "must not be empty")
    return turns


def _add(turns: list[Json], item: Fields) -> None:
    """One item of the input; calls that follow one another are one turn."""
    kind = item.text("type") or "message"
    if kind == "message":
        said = {name: item.get(name) for name in ("role", "content") if item.get(name) is not None}
        turns.append(message_of(said, item.path))
    elif kind == "function_call":
        if not turns or not turns[-1].get("tool_calls"):
            turns.append({"role": "assistant", "content": None, "tool_calls": []})
        turns[-1]["tool_calls"].append(_call_of(item))
    elif kind == "function_call_output":
        output: Any = item.get("output")
        if not isinstance(output, (str, list)):
            raise item.wrong("output", "must be a text or a list of parts")
        content = content_of(output, Fields({"content": output}, item.path))
        call = item.needed_text("call_id")
        turns.append({"role": "tool", "tool_call_id": call, "content": content})
    elif kind != "reasoning":
        raise item.wrong("type", f'cannot be "{kind[:40]}"', remedy="Send messages and calls.")


def _call_of(item: Fields) -> Json:
    function = {
        "name": item.needed_text("name"),
        "arguments": item.text("arguments") or "{}",
    }
    return {"id": item.needed_text("call_id"), "type": "function", "function": function}


def _tools_of(fields: Fields) -> tuple[Json, ...]:
    given = fields.items("tools")
    if len(given) > MAX_TOOLS:
        raise fields.wrong("tools", f"may name {MAX_TOOLS} functions at most")
    return tuple(_tool_of(object_of(each, f"tools[{place}]")) for place, each in enumerate(given))


def _tool_of(tool: Fields) -> Json:
    if tool.text("type") != "function":
        raise tool.wrong("type", "must be function", remedy="No other tools run here.")
    tool.needed_text("name")
    function = {name: value for name, value in tool.data.items() if name != "type"}
    return {"type": "function", "function": function}
