"""Calls of tools, found in what a model writes: the ways in which the well-known families do it.

    Hermes, Qwen    <tool_call>{"name": …, "arguments": {…}}</tool_call>
    Mistral         [TOOL_CALLS][{"name": …, "arguments": {…}}, …]
    Llama 3         <|python_tag|>{"name": …, "parameters": {…}}, or the bare object
    required here   the bare object, by a schema of ours (`call_schema`)

Rules it keeps:
 * text before a call goes on at once; what could become the mark of a call waits;
 * what looked like a call and is none is text, every character of it.

>>> reader = ToolReader()
>>> reader.feed('Well. <tool_call>{"name": "add", "arguments"')
('Well. ', ())
>>> text, (call,) = reader.feed(': {"a": 1}}</tool_call>')
>>> call["function"]
{'name': 'add', 'arguments': '{"a": 1}'}
"""

import json
import secrets
from collections.abc import Iterable
from typing import Any, Final

from p2phub.errors import UsageError
from p2phub.inference.requests import Json
from p2phub.inference.worker.stops import StopMatcher

_HERMES, _HERMES_END = "<tool_call>", "</tool_call>"
_MISTRAL: Final = "[TOOL_CALLS]"
_LLAMA: Final = "<|python_tag|>"
MARKS: Final = (_HERMES, _HERMES_END, _MISTRAL, _LLAMA)
"""Texts that must not be skipped, though some tokenizers have them as special tokens."""

Told = tuple[str, tuple[Json, ...]]
"""Text, and the calls that are complete with it."""


class ToolReader:
    """Tells text from calls, in one answer. `bare`: an answer that begins with `{` is a call."""

    def __init__(self, *, bare: bool = True) -> None:
        self._bare = bare
        self._marks = StopMatcher((_HERMES, _MISTRAL, _LLAMA))
        self._call = ""
        self._mark = ""
        self._begun = False

    def feed(self, text: str) -> Told:
        """What is known now that `text` came."""
        out = ""
        calls: list[Json] = []
        while text:
            plain, call, text = self._step(text)
            out += plain
            calls += call
        return out, tuple(calls)

    def flush(self) -> Told:
        """The rest, now that nothing more comes."""
        if not self._mark:
            return self._marks.flush(), ()
        mark, body = self._mark, self._call
        self._mark = self._call = ""
        calls = _calls(body)
        return ("", calls) if calls else (("" if mark == "{" else mark) + body, ())

    def _step(self, text: str) -> tuple[str, Iterable[Json], str]:
        """The text and calls of the next part of `text`, and what is left of it."""
        if self._mark == _HERMES:
            return self._until_the_end(text)
        if self._mark:
            self._call += text
            return "", (), ""
        if self._bare and not self._begun and text.lstrip().startswith("{"):
            self._mark, self._call = "{", text
            return "", (), ""
        self._begun = self._begun or bool(text.strip())
        plain = self._marks.feed(text)
        if not self._marks.found:
            return plain, (), ""
        return self._enter(plain, text)

    def _enter(self, plain: str, text: str) -> tuple[str, Iterable[Json], str]:
        """A mark came: go on behind it."""
        self._mark = self._marks.found
        self._marks = StopMatcher((_HERMES, _MISTRAL, _LLAMA))
        return plain, (), _behind(text, self._mark)

    def _until_the_end(self, text: str) -> tuple[str, Iterable[Json], str]:
        self._call += text
        body, end, rest = self._call.partition(_HERMES_END)
        if not end:
            return "", (), ""
        self._mark = self._call = ""
        calls = _calls(body)
        return ("" if calls else _HERMES + body + end), calls, rest


def _behind(text: str, mark: str) -> str:
    """What comes after the mark that is complete in `text`, and may have begun before it.

    >>> _behind("call>{", "<tool_call>")
    '{'
    """
    at = text.find(mark)
    if at >= 0:
        return text[at + len(mark) :]
    tail = next(n for n in range(len(mark), 0, -1) if text.startswith(mark[-n:]))
    return text[tail:]


def _calls(body: str) -> tuple[Json, ...]:
    """The calls in the text behind a mark; none if it is no call."""
    try:
        value, end = json.JSONDecoder().raw_decode(body.strip())
    except ValueError:
        return ()
    rest = body.strip()[end:].strip(" ;\n")
    values = value if isinstance(value, list) else [value]
    if rest or not values or not all(_is_call(each) for each in values):
        return ()
    return tuple(_openai(each) for each in values)


def _is_call(value: Any) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        return False
    return isinstance(value.get("arguments", value.get("parameters")), dict | str)


def _openai(value: dict[str, Any]) -> Json:
    arguments = value.get("arguments", value.get("parameters"))
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    name = {"name": value["name"], "arguments": text}
    return {"id": f"call_{secrets.token_hex(12)}", "type": "function", "function": name}


def call_schema(tools: tuple[Json, ...], choice: Json) -> Json:
    """The JSON schema of one call that `choice` demands; None if it demands none.

    >>> tools = ({"type": "function", "function": {"name": "now"}},)
    >>> call_schema(tools, "auto") is None
    True
    >>> call_schema(tools, "required")["anyOf"][0]["required"]
    ['name', 'arguments']

    Raises `UsageError` for a function that is not among the tools.
    """
    if choice in ("auto", "none", None):
        return None
    functions = [tool["function"] for tool in tools]
    if choice != "required":
        wanted = choice.get("function", choice).get("name")
        functions = [each for each in functions if each["name"] == wanted]
        if not functions:
            raise UsageError(f"tool_choice names {wanted!r}, which is not among the tools")
    return {"anyOf": [_one_call(function) for function in functions]}


def _one_call(function: Json) -> Json:
    parameters = function.get("parameters") or {"type": "object"}
    return {
        "type": "object",
        "properties": {"name": {"const": function["name"]}, "arguments": parameters},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }
