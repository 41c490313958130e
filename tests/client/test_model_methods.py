"""Models through `Hub` and `AsyncHub`: the same answers, errors and streams."""

import sys

import pytest

from p2phub.client import AsyncHub, Hub
from p2phub.client.chat import answer_from, api_error, piece_of, vectors_from
from p2phub.errors import (
    BusyError,
    ContextError,
    EngineError,
    GarbageError,
    NotFoundError,
    RevokedError,
)
from p2phub.testing.inference import PUBLISHER, RELEASE, SCRIPT, TEXT, VECTORS

SAID = "".join(SCRIPT)
QUESTION = [{"role": "user", "content": "What is the capital of France?"}]


@pytest.fixture
def hub(running):
    with Hub(running.home) as hub:
        yield hub


def test_an_answer_names_its_pedigree(hub):
    answer = hub.chat(TEXT, QUESTION)
    assert (str(answer), answer.finish_reason) == (SAID, "stop")
    assert (answer.release, answer.publisher, answer.verdict) == (RELEASE, PUBLISHER, "verified")
    assert (answer.prompt_tokens, answer.completion_tokens) == (6, 7)


def test_options_reach_the_model(hub, running):
    assert hub.chat(TEXT, QUESTION, max_tokens=1, seed=None).finish_reason == "length"
    assert running.node.inference.text.asked[-1].sampling.max_tokens == 1


def test_a_stream_comes_in_pieces_and_is_ended_by_whoever_closes_it(hub, running):
    assert "".join(hub.chat_stream(TEXT, QUESTION)) == SAID
    running.node.inference.text.pause = 0.02
    pieces = hub.chat_stream(TEXT, QUESTION)
    assert next(pieces)
    pieces.close()
    assert hub.chat(TEXT, QUESTION).text == SAID
    assert running.node.inference.text.cancelled == 1


def test_vectors_come_in_the_order_of_the_texts(hub):
    assert [row[0] for row in hub.embed(VECTORS, ["a b", "c"])] == [2.0, 1.0]


def test_adapters_are_loaded_with_the_base_that_they_are_for(hub, running):
    assert hub.serve(TEXT, adapters=["poet/sonnet", "poet/haiku"]).adapters == (
        "poet/sonnet",
        "poet/haiku",
    )
    running.node.inference.adapt("poet/sonnet", TEXT)
    answer = hub.chat("poet/sonnet", QUESTION)
    assert (answer.release, answer.base_release) == ("cd" * 32, RELEASE)
    assert (answer.base_publisher, hub.chat(TEXT, QUESTION).base_release) == (PUBLISHER, "")
    assert {row.id: row.base for row in hub.models()}["poet/sonnet"] == TEXT


def test_a_model_is_loaded_looked_at_and_unloaded(hub, running):
    row = hub.serve(VECTORS, keep_alive=60)
    assert (row.id, row.keep_seconds) == (VECTORS, 60)
    assert {each.id for each in hub.loaded()} == {TEXT, VECTORS}
    assert hub.unload(VECTORS).id == VECTORS
    assert {each.id for each in hub.loaded()} == {TEXT}
    assert {each.id for each in hub.models()} == {TEXT, VECTORS}
    assert hub.fit(TEXT).fits


@pytest.mark.parametrize("error", [EngineError("broke"), RevokedError("gone"), BusyError("full")])
def test_an_error_of_the_model_is_the_same_here(hub, running, error):
    running.node.inference.text.fails = error
    with pytest.raises(type(error), match=error.message):
        hub.chat(TEXT, QUESTION)
    with pytest.raises(type(error), match=error.message):
        list(hub.chat_stream(TEXT, QUESTION))


def test_a_conversation_that_is_too_long_is_told_apart(hub):
    with pytest.raises(ContextError):
        hub.chat(TEXT, [{"role": "user", "content": "word " * 100}])


def test_an_unknown_model_names_the_nearest(hub):
    with pytest.raises(NotFoundError) as caught:
        hub.chat("lab/smoll", QUESTION)
    assert TEXT in f"{caught.value.message} {caught.value.remedy}"


async def test_the_same_is_awaited(running):
    async with AsyncHub(running.home) as hub:
        assert (await hub.chat(TEXT, QUESTION)).text == SAID
        assert "".join([piece async for piece in hub.chat_stream(TEXT, QUESTION)]) == SAID
        assert (await hub.embed(VECTORS, ["a b"]))[0][0] == 2.0
        assert (await hub.serve(VECTORS, keep=True)).id == VECTORS
        assert len(await hub.loaded()) == 2
        assert (await hub.unload(VECTORS)).id == VECTORS
        assert len(await hub.models()) == 2
        assert (await hub.fit(TEXT)).fits
        with pytest.raises(NotFoundError):
            await hub.chat("lab/smoll", QUESTION)


@pytest.mark.parametrize("body", [None, [], {}, {"choices": []}, {"choices": [{"message": 1}]}])
def test_an_answer_that_is_none(body):
    with pytest.raises(GarbageError):
        answer_from(body, {})
    with pytest.raises(GarbageError):
        vectors_from(body)


@pytest.mark.parametrize("line", ["data: nonsense", 'data: {"choices": 1}', "data: []"])
def test_a_line_that_is_none(line):
    with pytest.raises(GarbageError):
        piece_of(line)


def test_an_error_that_says_nothing():
    assert isinstance(api_error({"error": "no"}), GarbageError)
    assert isinstance(api_error(None), GarbageError)


def test_asking_a_model_imports_no_torch(hub, monkeypatch):
    for name in [each for each in sys.modules if each.split(".")[0] == "torch"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)  # importing it would be an error
    assert hub.chat(TEXT, QUESTION)
