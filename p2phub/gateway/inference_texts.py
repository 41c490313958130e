"""Whole texts out of the pieces of an engine, and how many tokens they took."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass, field
from typing import cast

import trio

from p2phub.errors import EngineError, plain_errors
from p2phub.inference.engine import Engine
from p2phub.inference.requests import Chosen, Finished, Generate, Json, Piece

Pieces = AsyncGenerator[Piece | Finished, None]


def pieces_of(engine: Engine, request: Generate) -> AbstractAsyncContextManager[Pieces]:
    """The answer of an engine, which is given up when the block ends."""
    iterator: AsyncIterator[Piece | Finished] = engine.generate(request)
    return aclosing(cast(Pieces, iterator))


@dataclass(slots=True)
class Said:
    """One answer, as far as it has come."""

    text: str = ""
    tokens: list[Chosen] = field(default_factory=list)
    tool_calls: list[Json] = field(default_factory=list)
    end: Finished | None = None
    before: int = 0
    """Characters before the first token of which it is told how likely it was: of an echo."""

    @property
    def finished(self) -> Finished:
        """How it ended. Raises `EngineError` while it has not."""
        if self.end is None:
            raise cut_off()
        return self.end


def cut_off() -> EngineError:
    """What is wrong with an engine whose answer has no end."""
    return EngineError("the model stopped in the middle of its answer", remedy="Ask it again.")


async def whole(engine: Engine, request: Generate) -> Said:
    """The whole answer to `request`."""
    said, texts = Said(), list[str]()
    async with pieces_of(engine, request) as pieces:
        async for piece in pieces:
            if isinstance(piece, Finished):
                said.end = piece
                break
            texts.append(piece.text)
            if not piece.tokens and not said.tokens:
                said.before += len(piece.text)
            said.tokens += piece.tokens
            said.tool_calls += piece.tool_calls
    said.text = "".join(texts)
    if said.end is None:
        raise cut_off()
    return said


async def all_of(engine: Engine, requests: Sequence[Generate]) -> list[Said]:
    """The answers to all `requests`, which are worked at together."""
    if len(requests) == 1:
        return [await whole(engine, requests[0])]
    answers: dict[int, Said] = {}

    async def one(place: int) -> None:
        answers[place] = await whole(engine, requests[place])

    with plain_errors():
        async with trio.open_nursery() as nursery:
            for place in range(len(requests)):
                nursery.start_soon(one, place)
    return [answers[place] for place in range(len(requests))]


def usage_of(ends: Sequence[Finished], prompts: int = 1) -> dict[str, Json]:
    """The tokens of answers to `prompts`; choices of one prompt count its tokens once."""
    choices = max(1, len(ends) // prompts)
    asked = ends[::choices]
    prompt = sum(end.prompt_tokens for end in asked)
    written = sum(end.completion_tokens for end in ends)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": written,
        "total_tokens": prompt + written,
        "prompt_tokens_details": {"cached_tokens": sum(end.cached_tokens for end in asked)},
    }
