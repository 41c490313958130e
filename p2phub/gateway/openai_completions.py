"""`POST /v1/completions`: a request read into what an engine is asked, and its choices.

>>> completions_of(Fields({"prompt": ["a", "b"], "n": 2})).answers
4
>>> completions_of(Fields({"prompt": [1, 2]})).prompts
((1, 2),)
"""

from typing import Any, Final

from p2phub.gateway.inference_body import Fields
from p2phub.gateway.inference_texts import Said
from p2phub.gateway.openai_chunks import TextChunks, legacy_logprobs
from p2phub.gateway.openai_generation import Asked, Form
from p2phub.gateway.openai_sampling import MAX_CHOICES, choices_of, sampling_of, schema_of
from p2phub.inference.requests import Json

DEFAULT_TOKENS: Final = 16
"""New tokens at most where a client does not say: as OpenAI's own server has it."""
MAX_TOKEN_ID: Final = 2**31 - 1


def _choice(asked: Asked, said: Said) -> dict[str, Json]:
    told = asked.sampling.logprobs is not None
    logprobs = legacy_logprobs(said.tokens, said.before) if told else None
    return {"text": said.text, "logprobs": logprobs, "finish_reason": said.finished.reason}


COMPLETIONS: Final = Form("cmpl-", "text_completion", TextChunks, _choice)


def completions_of(fields: Fields, model: str | None = None) -> Asked:
    """What the client wants; `model` where the path names it. Raises `ParameterError`."""
    fields.refuse(("suffix",), "cannot be used: models here write on, they do not fill in")
    prompts, choices = inputs_of(fields, "prompt", MAX_CHOICES), choices_of(fields)
    if len(prompts) * choices > MAX_CHOICES:
        raise fields.wrong("n", f"may ask for {MAX_CHOICES} answers at most, over all prompts")
    if (fields.whole("best_of") or choices) != choices:
        raise fields.wrong("best_of", "must be n", remedy="Ask for n answers and choose.")
    options = fields.part("stream_options")
    sampling = sampling_of(
        fields,
        max_tokens=DEFAULT_TOKENS
        if fields.get("max_tokens") is None
        else fields.whole("max_tokens"),
        logprobs=fields.whole("logprobs"),
        schema=schema_of(fields),
    )
    return Asked(
        COMPLETIONS,
        (fields.text("model") or "") if model is None else model,
        prompts,
        sampling,
        choices,
        echo=fields.truth("echo"),
        stream=fields.truth("stream"),
        usage=options.truth("include_usage") if options else False,
    )


def inputs_of(fields: Fields, name: str, most: int) -> tuple[str | tuple[int, ...], ...]:
    """A text, its tokens, or a list of either. Raises `ParameterError`."""
    given = fields.get(name)
    if given is None:
        raise fields.wrong(name, "is missing")
    if isinstance(given, str):
        return (given,)
    items = fields.items(name)
    if not items:
        raise fields.wrong(name, "must not be empty")
    if _is_token(items[0]):
        return (_tokens(fields, name, items),)
    if len(items) > most:
        raise fields.wrong(name, f"may have {most} texts at most")
    return tuple(each if isinstance(each, str) else _tokens(fields, name, each) for each in items)


def _is_token(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MAX_TOKEN_ID


def _tokens(fields: Fields, name: str, given: Any) -> tuple[int, ...]:
    if not isinstance(given, list) or not given or not all(map(_is_token, given)):
        raise fields.wrong(name, "must be a text, a list of texts, tokens, or a list of tokens")
    return tuple(given)
