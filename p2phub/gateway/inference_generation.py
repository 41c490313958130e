"""Text generation as Text Generation Inference answers it, whole or streamed.

An event of a stream is one token in theirs; here it is a piece, which may be more than one. As
there, the most likely token is taken unless a parameter says that one is drawn.

>>> asked_of(Fields({"inputs": "Hi", "parameters": {"max_new_tokens": 3}})).sampling.greedy
True
"""

from dataclasses import dataclass
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from p2phub.gateway.inference_answers import (
    EventStream,
    Outbox,
    pedigree,
    pedigree_headers,
    while_there,
)
from p2phub.gateway.inference_body import Fields
from p2phub.gateway.inference_desk import TEXT, Desk
from p2phub.gateway.inference_errors import HUGGING_FACE, event
from p2phub.gateway.inference_texts import Said, cut_off, pieces_of, whole
from p2phub.gateway.openai_chunks import logprob_of, quoted
from p2phub.gateway.openai_sampling import check_length, sampling_of
from p2phub.inference.requests import Chosen, Finished, Generate, Json, Piece, Sampling
from p2phub.node.served import Served

DEFAULT_TOKENS: Final = 100
"""New tokens at most where a client does not say: as those servers have it."""
_DRAWN: Final = ("temperature", "top_k", "top_p")
"""Parameters that make it draw tokens even where `do_sample` does not."""


@dataclass(frozen=True, slots=True)
class AskedText:
    """A request that was read."""

    prompt: str
    sampling: Sampling
    stream: bool = False
    details: bool = False
    full_text: bool = False
    """Whether the prompt is part of the answer."""

    def request(self, served: Served) -> Generate:
        """What the engine is asked. Raises `ContextError`."""
        check_length(self.prompt, served.engine.info.context)
        return Generate(self.prompt, self.sampling, served.adapter)

    def text(self, said: str) -> str:
        """The answer, with the prompt before it if that is wanted."""
        return self.prompt + said if self.full_text else said


def asked_of(fields: Fields) -> AskedText:
    """What the client wants. Raises `ParameterError`."""
    given = fields.part("parameters") or Fields({}, "parameters")
    given.refuse(("best_of",), "cannot be used")
    details = given.truth("details")
    more: dict[str, Any] = {
        "max_tokens": given.whole("max_new_tokens", 1) or DEFAULT_TOKENS,
        "logprobs": 0 if details else None,
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
        details,
        given.truth("return_full_text"),
    )


def _grammar(given: Fields) -> Json:
    grammar = given.part("grammar") or given.part("response_format")
    if grammar is None:
        return None
    if grammar.choice("type", ("json", "json_object", "regex")) == "regex":
        raise grammar.wrong("type", "must be json", remedy="A regex cannot be kept to here.")
    schema = grammar.part("value")
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


def _token(text: str, chosen: tuple[Chosen, ...] = (), special: bool = False) -> Json:
    logprob = sum(logprob_of(each) for each in chosen) if chosen else None
    return {"id": None, "text": text, "logprob": logprob, "special": special}


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
        tokens = [_token(each.text, (each,)) for each in said.tokens]
        answer["details"] = _ending(asked, said.finished) | {"prefill": [], "tokens": tokens}
    return answer


async def _stream(desk: Desk, request: Request, model: str, asked: AskedText, out: Outbox) -> None:
    async with desk.hold(request, model, TEXT) as served:
        out.headers = pedigree_headers(served)
        texts: list[str] = []
        async with pieces_of(served.engine, asked.request(served)) as pieces:
            async for piece in pieces:
                if isinstance(piece, Finished):
                    text = asked.text("".join(texts))
                    last = _last(asked, piece, len(texts), text)
                    await out.put(event(last | {"p2phub": pedigree(served)}))
                    return
                if piece.text or piece.tokens:
                    texts.append(piece.text)
                    await out.put(_next(piece, len(texts) - 1))
        raise cut_off()


def _next(piece: Piece, index: int) -> bytes:
    logprob = sum(map(logprob_of, piece.tokens)) if piece.tokens else "null"
    token = f'{{"id":null,"text":{quoted(piece.text)},"logprob":{logprob},"special":false}}'
    rest = '"generated_text":null,"details":null'
    return f'data: {{"index":{index},"token":{token},{rest}}}\n\n'.encode()


def _last(asked: AskedText, end: Finished, index: int, text: str) -> dict[str, Json]:
    token = _token("", special=True)
    told = {"generated_text": text, "details": _ending(asked, end)}
    return {"index": index, "token": token, **told}
