"""Conversations and tools as OpenAI's APIs have them, made ready for a chat template.

A template wants a text where it can have one, so parts that are all text become one. What is not
text must come with the request: nothing here fetches a URL that a stranger names.

>>> list(messages_of(Fields({"messages": [{"role": "developer", "content": "Be brief."}]})))
[{'role': 'system', 'content': 'Be brief.'}]
"""

from collections.abc import Mapping
from typing import Any, Final

from p2phub.gateway.inference_body import Fields, kind_of
from p2phub.inference.requests import Json

ROLES: Final = ("system", "developer", "user", "assistant", "tool", "function")
MAX_TOOLS: Final = 256
_TEXT_PARTS: Final = {
    "text": "text",
    "input_text": "text",
    "output_text": "text",
    "refusal": "refusal",
}
_MEDIA_PARTS: Final = ("image_url", "input_audio", "video_url", "audio_url")
_TOOL_CHOICES: Final = ("none", "auto", "required")


def messages_of(fields: Fields) -> tuple[Json, ...]:
    """The conversation. Raises `ParameterError`."""
    given = fields.items("messages")
    if not given:
        raise fields.wrong("messages", "must have at least one message")
    return tuple(message_of(each, f"messages[{place}]") for place, each in enumerate(given))


def message_of(given: Any, path: str) -> Json:
    """One message of it."""
    message = object_of(given, path)
    role = message.choice("role", ROLES)
    if role is None:
        raise message.wrong("role", "is missing")
    said = dict(message.data) | {"role": "system" if role == "developer" else role}
    content = message.get("content")
    if content is not None:
        said["content"] = content_of(content, message)
    elif role != "assistant":
        raise message.wrong("content", "is missing")
    if message.get("tool_calls"):
        calls = message.items("tool_calls")
        said["tool_calls"] = [
            _call_of(object_of(each, f"{path}.tool_calls[{place}]"))
            for place, each in enumerate(calls)
        ]
    elif content is None:
        raise message.wrong("content", "is missing")
    return said


def object_of(given: Any, path: str) -> Fields:
    """An object in a list."""
    if isinstance(given, dict):
        return Fields(given, path)
    raise Fields({}).wrong(path, f"must be an object, not {kind_of(given)}")


def _call_of(call: Fields) -> Json:
    function = call.part("function")
    if function is None:
        raise call.wrong("function", "is missing")
    function.needed_text("name")
    function.text("arguments")
    return dict(call.data)


def content_of(content: Any, message: Fields) -> Json:
    """A text, or parts of which at least one is not text."""
    if isinstance(content, str):
        return content
    path = message.name("content")
    parts = [
        _part_of(object_of(each, f"{path}[{place}]"))
        for place, each in enumerate(message.items("content"))
    ]
    if all(each["type"] == "text" for each in parts):
        return "".join(each["text"] for each in parts)
    return parts


def _part_of(part: Fields) -> Mapping[str, Json]:
    kind = part.needed_text("type")
    if kind in _TEXT_PARTS:
        return {"type": "text", "text": part.needed_text(_TEXT_PARTS[kind])}
    if kind == "input_image":
        return {"type": "image_url", "image_url": {"url": _carried(part, "image_url")}}
    if kind not in _MEDIA_PARTS:
        raise part.wrong("type", f'cannot be "{kind[:40]}"', remedy="Send text or an image.")
    if kind.endswith("_url"):
        where = part.part(kind)
        if where is None:
            raise part.wrong(kind, "is missing")
        _carried(where, "url")
    return part.data


def _carried(part: Fields, name: str) -> str:
    url = part.needed_text(name)
    if not url.startswith("data:"):
        raise part.wrong(name, "must be a data: URL", remedy="Send the bytes with the request.")
    return url


def tools_of(fields: Fields) -> tuple[Json, ...]:
    """What the model may call."""
    given = fields.items("tools")
    if len(given) > MAX_TOOLS:
        raise fields.wrong("tools", f"may name {MAX_TOOLS} functions at most")
    return tuple(_tool_of(object_of(each, f"tools[{place}]")) for place, each in enumerate(given))


def _tool_of(tool: Fields) -> Json:
    function = tool.part("function")
    if tool.text("type") not in (None, "function") or function is None:
        raise tool.wrong("type", "must be function", remedy="No other tools run here.")
    function.needed_text("name")
    return {"type": "function", "function": function.data}


def tool_choice_of(fields: Fields, tools: tuple[Json, ...]) -> Json:
    """`none`, `auto`, `required` or one of `tools`, as OpenAI's chat API has it."""
    choice = fields.get("tool_choice")
    if choice is None or isinstance(choice, str):
        return fields.choice("tool_choice", _TOOL_CHOICES) or "auto"
    part = fields.part("tool_choice") or fields
    named = part.part("function") or part
    name = named.needed_text("name")
    if name not in [tool["function"]["name"] for tool in tools]:
        raise fields.wrong("tool_choice", f'names "{name[:64]}", which is not among the tools')
    return {"type": "function", "function": {"name": name}}
