"""Whole texts, from engines that do not keep to their port and from several answers at once."""

import pytest
import trio

from p2phub.errors import EngineError, UsageError
from p2phub.gateway.inference_texts import Said, all_of, pieces_of, usage_of, whole
from p2phub.inference.requests import Finished, Generate, Piece, Sampling
from p2phub.testing.inference import SCRIPT, text_engine

ASK = Generate("Hi")


class Cut:
    """An engine whose answers have no end."""

    async def generate(self, request):
        yield Piece("a")


async def test_an_answer_without_an_end_is_an_error():
    with pytest.raises(EngineError, match="in the middle"):
        await whole(Cut(), ASK)
    with pytest.raises(EngineError):
        _ = Said().finished


async def test_answers_come_in_the_order_of_their_requests():
    asked = [Generate("Hi", Sampling(max_tokens=most)) for most in (3, 1, 2)]
    texts = [said.text for said in await all_of(text_engine(), asked)]
    assert texts == ["The capital of", "The", "The capital"]


async def test_one_that_fails_ends_the_others():
    engine = text_engine()
    engine.hold = trio.Event()
    bad = Generate("word " * 100)
    with pytest.raises(UsageError):
        await all_of(engine, [ASK, bad, ASK])
    assert engine.under_way == 0


async def test_leaving_early_cancels():
    engine = text_engine()
    async with pieces_of(engine, ASK) as pieces:
        assert (await anext(pieces)).text == SCRIPT[0]
    assert (engine.cancelled, engine.under_way) == (1, 0)


def test_choices_of_one_prompt_count_its_tokens_once():
    ends = [Finished("stop", 5, 2, cached_tokens=4), Finished("stop", 5, 3, cached_tokens=5)]
    assert usage_of(ends)["prompt_tokens"] == 5
    assert usage_of(ends)["completion_tokens"] == 5
    assert usage_of(ends)["prompt_tokens_details"] == {"cached_tokens": 4}
    assert usage_of(ends, prompts=2)["prompt_tokens"] == 10
