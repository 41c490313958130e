"""How tokens are to be chosen, as OpenAI's APIs and those that follow them say it.

>>> sampling_of(Fields({"temperature": 0, "stop": ["a"]})).greedy
True
>>> sampling_of(Fields({"temperature": 3}))
Traceback (most recent call last):
...
p2phub.gateway.dialects.ParameterError: temperature must be between 0 and 2, not 3.0
"""

from dataclasses import replace
from typing import Any, Final

from p2phub.errors import ContextError, UsageError
from p2phub.gateway.dialects import ParameterError
from p2phub.gateway.inference_body import MAX_NUMBER, Fields
from p2phub.inference.requests import Json, Prompt, Sampling

MAX_CHOICES: Final = 32
"""Answers to one request."""
MAX_TOKEN_CHARACTERS: Final = 256
"""Characters of the longest token that any vocabulary has."""
MAX_BIASES: Final = 1024
_NO_SCHEMA: Final = "must be text, json_object or json_schema"


def sampling_of(fields: Fields, **more: Any) -> Sampling:
    """The parameters that all have in common, and `more` that the caller has read itself."""
    bounded: dict[str, Any] = {
        "temperature": fields.number("temperature"),
        "top_p": fields.number("top_p"),
        "top_k": _top_k(fields),
        "seed": fields.whole("seed"),
        "stop": fields.texts("stop"),
        "presence_penalty": fields.number("presence_penalty"),
        "frequency_penalty": fields.number("frequency_penalty"),
        "repetition_penalty": fields.number("repetition_penalty"),
        "logit_bias": _biases(fields),
    }
    return checked(**(bounded | more))


def checked(**values: Any) -> Sampling:
    """`Sampling`; what it refuses names its parameter."""
    try:
        return Sampling(**values)
    except UsageError as error:
        param = error.message.partition(" ")[0]
        raise ParameterError(error.message, param=param, remedy=error.remedy) from None


def choices_of(fields: Fields) -> int:
    """How many answers are wanted."""
    return fields.whole("n", 1, MAX_CHOICES) or 1


def nth(sampling: Sampling, number: int) -> Sampling:
    """How the choice with that number is sampled: one seed would give all of them the same."""
    if sampling.seed is None or not number:
        return sampling
    return replace(sampling, seed=(sampling.seed + number) % MAX_NUMBER)


def _top_k(fields: Fields) -> int | None:
    """vLLM's clients say -1 where they want no limit."""
    value = fields.whole("top_k", -1)
    return 0 if value == -1 else value


def _biases(fields: Fields) -> dict[int, float]:
    part = fields.part("logit_bias")
    if part is None:
        return {}
    if len(part.data) > MAX_BIASES:
        raise fields.wrong("logit_bias", f"may name {MAX_BIASES} tokens at most")
    biases: dict[int, float] = {}
    for token in part.data:
        if not token.isascii() or not token.isdigit() or len(token) > 9:
            raise fields.wrong("logit_bias", f"must name tokens by their ids, not {token[:40]!r}")
        biases[int(token)] = part.number(token) or 0.0
    return biases


def schema_of(fields: Fields) -> Json:
    """The schema that `response_format` asks for: OpenAI's forms, and that of Hugging Face."""
    form = fields.part("response_format")
    if form is None:
        return None
    match form.text("type"):
        case "text":
            return None
        case "json_object" | "json":
            value = form.part("value") or form.part("schema")
            return dict(value.data) if value else {}
        case "json_schema":
            return _named_schema(form)
        case _:
            raise form.wrong("type", _NO_SCHEMA)


def _named_schema(form: Fields) -> Json:
    named = form.part("json_schema") or form.part("value")
    if named is None:
        raise form.wrong("json_schema", "is missing")
    schema = named.part("schema") or named
    return dict(schema.data)


def text_format_of(fields: Fields) -> Json:
    """The same where it stands in `text.format`, as the Responses API has it."""
    text = fields.part("text")
    form = text.part("format") if text else None
    if form is None:
        return None
    if form.text("type") != "json_schema":
        return schema_of(Fields({"response_format": form.data}))
    schema = form.part("schema")
    if schema is None:
        raise form.wrong("schema", "is missing")
    return dict(schema.data)


def check_length(prompt: Prompt, context: int) -> None:
    """Refuse what cannot fit, however its tokens are counted, without sending it anywhere.

    Raises `ContextError`.
    """
    if not context or isinstance(prompt, tuple):
        return
    text = [prompt] if isinstance(prompt, str) else [_said(each) for each in prompt.messages]
    size = sum(map(len, text))
    if size > context * MAX_TOKEN_CHARACTERS:
        raise ContextError(
            f"a prompt of {size} characters does not fit: this model takes {context} tokens",
            remedy="Send a shorter one.",
        )


def _said(message: Json) -> str:
    content = message.get("content")
    return content if isinstance(content, str) else ""
