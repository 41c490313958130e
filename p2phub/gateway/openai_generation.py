"""Text from a model, as the chat and the completions API of OpenAI answer it: whole or streamed.

What the two have in common is here. `openai_chat` and `openai_completions` read their requests
into `Asked`, and say how a choice looks.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import trio
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from p2phub.errors import UnsupportedError, plain_errors
from p2phub.gateway.dialects import OPENAI
from p2phub.gateway.inference_answers import (
    EventStream,
    Outbox,
    pedigree,
    pedigree_headers,
    while_there,
)
from p2phub.gateway.inference_desk import TEXT, Desk
from p2phub.gateway.inference_texts import Said, all_of, cut_off, pieces_of, usage_of
from p2phub.gateway.openai_chunks import DONE, Chunks, Head, head_of
from p2phub.gateway.openai_sampling import check_length, nth
from p2phub.inference.requests import Chat, Finished, Generate, Json, Prompt, Sampling
from p2phub.node.served import Served


@dataclass(frozen=True, slots=True)
class Form:
    """How one of the two APIs looks."""

    prefix: str
    """Of the ids of answers."""
    kind: str
    """What `object` is in a whole answer."""
    chunks: Callable[[Head, int, bool], Chunks]
    choice: Callable[["Asked", Said], dict[str, Json]]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that was read."""

    form: Form
    model: str
    prompts: tuple[Prompt, ...]
    sampling: Sampling
    choices: int = 1
    """Answers to each prompt."""
    echo: bool = False
    stream: bool = False
    usage: bool = False
    """Whether a stream ends with how many tokens it took."""
    one_call: bool = False
    """Whether the model may call one function only."""

    @property
    def answers(self) -> int:
        return len(self.prompts) * self.choices

    def requests(self, served: Served) -> list[Generate]:
        """One for each answer. Raises `ContextError`, `UnsupportedError`."""
        info = served.engine.info
        for prompt in self.prompts:
            if isinstance(prompt, Chat) and not info.chat:
                raise UnsupportedError(
                    f"{served.name} has no chat template",
                    remedy="Ask it at /v1/completions.",
                )
            check_length(prompt, info.context)
        return [
            Generate(prompt, nth(self.sampling, number), served.adapter, self.echo)
            for prompt in self.prompts
            for number in range(self.choices)
        ]

    def calls(self, calls: Sequence[Json], before: int = 0) -> tuple[Json, ...]:
        """Those of `calls` that the client wants, `before` having come already."""
        return tuple(calls[: max(0, 1 - before)]) if self.one_call else tuple(calls)


async def answer(desk: Desk, request: Request, asked: Asked) -> Any:
    """The answer to `asked`, in the way it was asked for."""
    if asked.stream:
        return EventStream(lambda out: _stream(desk, request, asked, out), OPENAI, desk.stopping)
    return await while_there(request, desk.stopping, lambda: _whole(desk, request, asked))


async def _whole(desk: Desk, request: Request, asked: Asked) -> Response:
    async with desk.hold(request, asked.model, TEXT, asked.answers) as served:
        said = await all_of(served.engine, asked.requests(served))
        head = head_of(served, asked.form.prefix, asked.form.kind)
        choices = [
            {"index": index, **asked.form.choice(asked, each)} for index, each in enumerate(said)
        ]
        usage = usage_of([each.finished for each in said], len(asked.prompts))
        content = head.fields() | {"choices": choices, "usage": usage, "p2phub": pedigree(served)}
        return JSONResponse(content, headers=pedigree_headers(served))


async def _stream(desk: Desk, request: Request, asked: Asked, out: Outbox) -> None:
    async with desk.hold(request, asked.model, TEXT, asked.answers) as served:
        out.headers = pedigree_headers(served)
        head = head_of(served, asked.form.prefix, asked.form.kind)
        told = {"p2phub": pedigree(served)}
        chunks = [asked.form.chunks(head, index, asked.usage) for index in range(asked.answers)]
        ends: dict[int, Finished] = {}

        async def one(index: int, wanted: Generate) -> None:
            ends[index] = await _pump(served, wanted, asked, chunks[index], told, out)

        requests = asked.requests(served)
        if len(requests) == 1:
            await one(0, requests[0])
        else:
            with plain_errors():
                async with trio.open_nursery() as nursery:
                    for index, wanted in enumerate(requests):
                        nursery.start_soon(one, index, wanted)
        if asked.usage:
            usage = usage_of([ends[index] for index in range(asked.answers)], len(asked.prompts))
            await out.put(chunks[0].usage(usage, told))
        await out.put(DONE)


async def _pump(
    served: Served, wanted: Generate, asked: Asked, chunks: Chunks, told: Json, out: Outbox
) -> Finished:
    """Send one choice to its end: how it ended."""
    first, calls = chunks.first(), 0
    async with pieces_of(served.engine, wanted) as pieces:
        async for piece in pieces:
            if isinstance(piece, Finished):
                await out.put(first + chunks.last(piece, told))
                return piece
            if piece.tool_calls:
                kept = asked.calls(piece.tool_calls, calls)
                calls += len(piece.tool_calls)
                piece = replace(piece, tool_calls=kept)
            told_now = first + chunks.piece(piece)
            if told_now:
                first = b""
                await out.put(told_now)
    raise cut_off()
