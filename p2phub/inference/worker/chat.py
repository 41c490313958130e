"""A prompt becomes tokens: a text, tokens, or a conversation through the model's chat template.

Templates are the publisher's code; transformers runs them in its sandbox (jinja2, immutable).

Rules it keeps:
 * what the OpenAI API has and templates do not is put their way: parts of text are joined, the
   arguments of a call become a map;
 * a client can give a template arguments, never another template;
 * a part that is no text, a model without a template, a template that refuses: each is an error of
   the request that says so.

>>> parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
>>> plain([{"role": "user", "content": parts}])
[{'role': 'user', 'content': 'ab'}]
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

import jinja2

from p2phub.errors import UnsupportedError, UsageError
from p2phub.inference.requests import Chat, Json, Prompt

_OURS: Final = frozenset(
    (
        "conversation",
        "messages",
        "tools",
        "chat_template",
        "tokenize",
        "add_generation_prompt",
        "continue_final_message",
        "padding",
        "truncation",
        "max_length",
        "return_tensors",
        "return_dict",
        "return_assistant_tokens_mask",
        "tokenizer_kwargs",
        "documents",
    )
)
"""Arguments of `apply_chat_template` that are not the template's."""
_TEXT_PARTS: Final = ("text", "input_text", "output_text")
PICTURE: Final = "image_url"
"""The type of a part that is a picture, as the OpenAI API has it."""
_MARGIN: Final = 64
"""Tokens before which a text may be cut, without those behind becoming others."""


class Prompts:
    """The tokens of prompts. `width`: how many tokens the model knows."""

    def __init__(self, tokenizer: Any, width: int) -> None:
        self._tokenizer, self._width = tokenizer, width
        self._longest = max(map(len, tokenizer.get_vocab()), default=1)

    @property
    def has_template(self) -> bool:
        return bool(self._tokenizer.chat_template)

    def at_least(self, prompt: Prompt) -> int:
        """Tokens it has at the very least: told without reading it, however long it is.

        Raises `UnsupportedError` for a part that is no text.
        """
        if isinstance(prompt, tuple):
            return len(prompt)
        texts = [prompt] if isinstance(prompt, str) else _texts(prompt)
        return sum(map(len, texts)) // self._longest

    def end_of(self, prompt: Prompt, tokens: int) -> Prompt:
        """As much of the end of a text as surely has so many tokens, and some more."""
        if not isinstance(prompt, str):
            return prompt
        return prompt[-(tokens + _MARGIN) * self._longest :]

    def tokens(self, prompt: Prompt) -> list[int]:
        """The tokens of `prompt`. Raises `UsageError`, `UnsupportedError`."""
        if isinstance(prompt, tuple):
            return self._known(prompt)
        if isinstance(prompt, str):
            return list(self._tokenizer(prompt).input_ids)
        text = self._render(prompt)
        return list(self._tokenizer(text, add_special_tokens=False).input_ids)

    def _known(self, tokens: tuple[int, ...]) -> list[int]:
        strange = next((each for each in tokens if not 0 <= each < self._width), None)
        if strange is not None:
            raise UsageError(f"token {strange} is not one of the {self._width} of this model")
        return list(tokens)

    def _render(self, chat: Chat) -> str:
        if not self.has_template:
            raise UnsupportedError(
                "this model has no chat template",
                remedy="ask it through /v1/completions, with the prompt as one text",
            )
        more = template_arguments(chat)
        tools = None if chat.tool_choice == "none" else list(chat.tools) or None
        try:
            return str(
                self._tokenizer.apply_chat_template(
                    plain(chat.messages),
                    tools=tools,
                    add_generation_prompt=True,
                    tokenize=False,
                    **more,
                )
            )
        except (jinja2.TemplateError, TypeError, ValueError) as error:
            raise UsageError(
                f"the chat template of this model refuses these messages: {error}",
                remedy="check the roles; many models want user and assistant in turn",
            ) from error


def _texts(chat: Chat) -> list[str]:
    return [message["content"] for message in plain(chat.messages) if "content" in message]


def template_arguments(chat: Chat) -> Mapping[str, Json]:
    """What a client gives the template. Raises `UsageError` for what is not its to give."""
    wrong = _OURS & chat.template_arguments.keys()
    if wrong:
        raise UsageError(f"template arguments cannot be named {', '.join(sorted(wrong))}")
    return chat.template_arguments


def plain(messages: Iterable[Json], *, pictures: bool = False) -> list[Json]:
    """Messages as chat templates take them. Raises `UsageError`, `UnsupportedError`.

    With `pictures`, content that came in parts stays so: texts and those of type `PICTURE`.
    """
    return [_message(each, pictures=pictures) for each in messages]


def _message(message: Json, *, pictures: bool) -> Json:
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise UsageError("each message must be an object with a role")
    content = message.get("content")
    if pictures and isinstance(content, list):
        made = {**message, "content": _parts(content)}
    else:
        made = {**message, "content": _content(content)}
    if message.get("tool_calls"):
        made["tool_calls"] = [_call(each) for each in message["tool_calls"]]
    return made


def _content(content: Json) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        raise UsageError("the content of a message must be a text or a list of parts")
    return "".join(_part(each) for each in content)


def _is_picture(part: Json) -> bool:
    return isinstance(part, dict) and part.get("type") == PICTURE


def _parts(content: Iterable[Json]) -> list[Json]:
    """Parts that are texts or pictures. Raises `UsageError` for a picture without an address."""
    made: list[Json] = []
    for part in content:
        if not _is_picture(part):
            made.append({"type": "text", "text": _part(part)})
            continue
        where = part.get(PICTURE)
        if not isinstance(where, dict) or not isinstance(where.get("url"), str):
            raise UsageError(f"a part of type {PICTURE} needs {PICTURE}.url")
        made.append({"type": PICTURE, PICTURE: {"url": where["url"]}})
    return made


def _part(part: Json) -> str:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind not in _TEXT_PARTS or not isinstance(part.get("text"), str):
        raise UnsupportedError(
            f"this model takes text only, not a part of type {kind!r}",
            remedy="send parts of type text, or serve a model that takes others",
        )
    return str(part["text"])


def _call(call: Json) -> Json:
    """A call whose arguments are a map, not a text of JSON."""
    try:
        function = dict(call["function"])
        if isinstance(function["arguments"], str):
            function["arguments"] = json.loads(function["arguments"] or "{}")
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(
            "a tool call needs a function with a name and arguments in JSON"
        ) from error
    return {**call, "function": function}
