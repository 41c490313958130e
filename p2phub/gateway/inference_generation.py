"""Text generation as Text Generation Inference answers it, whole or streamed.

An event of a stream is one token where details are asked for, as there; else it is a piece, which
may be more than one. As there, the most likely token is taken unless a parameter says that one is
drawn. A parameter that cannot be obeyed is refused, and so is one that is not known.

>>> asked_of(Fields({"inputs": "Hi", "parameters": {"max_new_tokens": 3}})).sampling.greedy
True
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from p2phub.gateway.dialects import HUGGING_FACE, event
from p2phub.gateway.inference_answers import (
    EventStream,
    Outbox,
    pedigree,
    pedigree_headers,
    while_there,
)
from p2phub.gateway.inference_body import Fields
from p2phub.gateway.inference_desk import TEXT, Desk
from p2phub.gateway.inference_texts import Said, cut_off, pieces_of, whole
from p2phub.gateway.openai_chunks import logprob_of
from p2phub.gateway.openai_sampling import check_length, sampling_of
from p2phub.inference.requests import (
    MAX_LOGPROBS,
    Chosen,
    Finished,
    Generate,
    Json,
    Piece,
    Sampling,
)
from p2phub.node.served import Served

DEFAULT_TOKENS: Final = 100
"""New tokens at most where a client does not say: as those servers have it."""
_DRAWN: Final = ("temperature", "top_k", "top_p")
"""Parameters that make it draw tokens even where `do_sample` does not."""
BESIDE: Final = ("inputs", "parameters", "options", "model")
"""What stands in a request to a task; `options` are about queues and caches that are not here."""
_REFUSED: Final = {
    "adapter_id": "is not how adapters are chosen here",
    "decoder_input_details": "cannot be told",
    "typical_p": "cannot be used",
    "watermark": "cannot be used",
}
_KNOWN: Final = frozenset(
    (
        *_DRAWN,
        "best_of",
        "details",
        "do_sample",
        "frequency_penalty",
        "grammar",
        "logit_bias",
        "max_new_tokens",
        "presence_penalty",
        "repetition_penalty",
        "response_format",
        "return_full_text",
        "seed",
        "stop",
        "stop_sequences",
        "top_n_tokens",
        "truncate",
    )
)


@dataclass(frozen=True, slots=True)
class AskedText:
    """A request that was read."""

    prompt: str
    sampling: Sampling
    stream: bool = False
    details: bool = False
    full_text: bool = False
    """Whether the prompt is part of the answer."""
    truncate: int = 0
    """So many of the last tokens of the prompt are kept; 0: all."""

    def request(self, served: Served) -> Generate:
        """What the engine is asked. Raises `ContextError`."""
        if not self.truncate:
            check_length(self.prompt, served.engine.info.context)
        return Generate(self.prompt, self.sampling, served.adapter, truncate=self.truncate)

    def text(self, said: str) -> str:
        """The answer, with the prompt before it if that is wanted."""
        return self.prompt + said if self.full_text else said


def asked_of(fields: Fields) -> AskedText:
    """What the client wants. Raises `ParameterError`."""
    fields.only((*BESIDE, "stream"), TEXT)
    given = fields.part("parameters") or Fields({}, "parameters")
    _refuse(given)
    details = given.truth("details")
    alternatives = given.whole("top_n_tokens", 0, MAX_LOGPROBS) or 0
    more: dict[str, Any] = {
        "max_tokens": given.whole("max_new_tokens", 1) or DEFAULT_TOKENS,
        "logprobs": alternatives if details or alternatives else None,
        "schema": _grammar(given),
    }
    if given.get("stop") is None:
        more["stop"] = given.texts("stop_sequences")
    if not given.truth("do_sample") and not any(given.get(name) for name in _DRAWN):
        more["temperature"] = 0.0
    return AskedText(
        fields.needed_text("inputs"),
        sampling_of(given, **more),
        fields.truth("stream"),
        details or alternatives > 0,
        given.truth("return_full_text"),
        given.whole("truncate", 1) or 0,
    )


def _refuse(given: Fields) -> None:
    """Raise `ParameterError` for the first parameter that would not be obeyed."""
    for name, why in _REFUSED.items():
        given.refuse((name,), why)
    given.only((*_KNOWN, *(_REFUSED.keys() & given.data.keys())), TEXT)
    if (given.whole("best_of", 1) or 1) > 1:
        raise given.wrong("best_of", "must be 1", remedy="Ask several times instead.")


def _grammar(given: Fields) -> Json:
    grammar = given.part("grammar") or given.part("response_format")
    if grammar is None:
        return None
    kind = grammar.choice("type", ("json", "json_object", "json_schema", "regex"))
    if kind == "regex":
        raise grammar.wrong("type", "must be json", remedy="A regex cannot be kept to here.")
    schema = grammar.part("value") or grammar.part("json_schema")
    if schema and kind == "json_schema":
        schema = schema.part("schema")
    return dict(schema.data) if schema else {}


def _reason(end: Finished) -> str:
    if end.reason == "length":
        return "length"
    return "stop_sequence" if end.stopped_by else "eos_token"


def _ending(asked: AskedText, end: Finished) -> dict[str, Json]:
    return {
        "finish_reason": _reason(end),
        "generated_tokens": end.completion_tokens,
        "input_length": end.prompt_tokens,
        "seed": asked.sampling.seed,
    }


def _token(told: Chosen) -> dict[str, Json]:
    return {"id": told.id, "text": told.text, "logprob": logprob_of(told), "special": False}


def _top(tokens: Sequence[Chosen]) -> Json:
    """The most likely ones in the place of each token; None if they were not asked for."""
    found = [[_token(other) for other in each.others] for each in tokens]
    return found if any(found) else None


async def generation(desk: Desk, request: Request, model: str, asked: AskedText) -> Any:
    """The answer to `asked`, in the way it was asked for."""
    if asked.stream:
        return EventStream(
            lambda out: _stream(desk, request, model, asked, out), HUGGING_FACE, desk.stopping
        )

    async def work() -> Response:
        async with desk.hold(request, model, TEXT) as served:
            said = await whole(served.engine, asked.request(served))
            return JSONResponse([_answer(asked, said)], headers=pedigree_headers(served))

    return await while_there(request, desk.stopping, work)


def _answer(asked: AskedText, said: Said) -> dict[str, Json]:
    answer: dict[str, Json] = {"generated_text": asked.text(said.text)}
    if asked.details:
        tokens: list[Json] = [_token(each) for each in said.tokens]
        details = _ending(asked, said.finished) | {"prefill": [], "tokens": tokens}
        top = _top(said.tokens)
        answer["details"] = details if top is None else details | {"top_tokens": top}
    return answer


async def _stream(desk: Desk, request: Request, model: str, asked: AskedText, out: Outbox) -> None:
    async with desk.hold(request, model, TEXT) as served:
        out.headers = pedigree_headers(served)
        texts: list[str] = []
        index = 0
        async with pieces_of(served.engine, asked.request(served)) as pieces:
            async for piece in pieces:
                if isinstance(piece, Finished):
                    text = asked.text("".join(texts))
                    last = _last(asked, piece, index, text)
                    await out.put(event(last | {"p2phub": pedigree(served)}))
                    return
                texts.append(piece.text)
                for token in _tokens_of(piece):
                    await out.put(_next(token, index))
                    index += 1
        raise cut_off()


def _tokens_of(piece: Piece) -> list[dict[str, Json]]:
    """The events of a piece: tokens, whose texts together are its text.

    What several tokens make only together stands with the last of them.
    """
    if not piece.tokens:
        told = {"id": None, "text": piece.text, "logprob": None, "special": False}
        return [{"token": told}] if piece.text else []
    made: list[dict[str, Json]] = [{"token": _token(each)} for each in piece.tokens]
    if "".join(each.text for each in piece.tokens) != piece.text:
        for each in made:
            each["token"]["text"] = ""
        made[-1]["token"]["text"] = piece.text
    for each, chosen in zip(made, piece.tokens, strict=True):
        if chosen.others:
            each["top_tokens"] = [_token(other) for other in chosen.others]
    return made


def _next(told: dict[str, Json], index: int) -> bytes:
    return event({"index": index, **told, "generated_text": None, "details": None})


def _last(asked: AskedText, end: Finished, index: int, text: str) -> dict[str, Json]:
    token = {"id": None, "text": "", "logprob": None, "special": True}
    told = {"generated_text": text, "details": _ending(asked, end)}
    return {"index": index, "token": token, **told}
