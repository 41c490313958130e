"""Another server as an engine: what it says wrongly, when it leaves, and when we do."""

import socket
import struct
from contextlib import aclosing, asynccontextmanager

import pytest
import trio

from p2phub.errors import (
    BusyError,
    ContextError,
    EngineError,
    GarbageError,
    NotFoundError,
    RefusedError,
    UnsupportedError,
    UsageError,
)
from p2phub.inference.proxy_engine import MAX_LINE, attach, models_of
from p2phub.inference.requests import Chat, Embed, Finished, Generate, Sampling, TaskRequest
from tests.inference.scripted_server import event, scripted_server

USAGE = {"prompt_tokens": 7, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 3}}
CHAT = Chat(({"role": "user", "content": "Hi"},))


@pytest.fixture
def server():
    with scripted_server() as made:
        yield made


@asynccontextmanager
async def attached(url, **words):
    engine = await attach(url, **words)
    try:
        yield engine
    finally:
        await engine.close()


def completion(text="", reason=None, **more):
    return event({"choices": [{"text": text, "finish_reason": reason, **more}]})


def chat_delta(delta, reason=None):
    return event({"choices": [{"delta": delta, "finish_reason": reason}]})


async def answered(engine, request):
    pieces, end = [], None
    async with aclosing(engine.generate(request)) as stream:
        async for each in stream:
            assert end is None, "nothing comes after the end"
            if isinstance(each, Finished):
                end = each
            else:
                pieces.append(each)
    return pieces, end


async def test_a_stream_is_passed_on_piece_by_piece(server):
    script, url = server
    usage = event({"choices": [], "usage": USAGE})
    script.lines = [completion("Hel"), completion("lo", "length"), usage, event("[DONE]")]
    async with attached(url, token="secret") as engine:
        pieces, end = await answered(engine, Generate("Hi", Sampling(max_tokens=2, stop=("x",))))
        assert engine.info.context == 512
    assert [piece.text for piece in pieces] == ["Hel", "lo"]
    assert end == Finished("length", 7, 2, 3)
    path, body, headers = script.asked[0]
    assert (path, body["model"], body["prompt"]) == ("/v1/completions", "m", "Hi")
    assert (body["max_tokens"], body["stop"], body["stream"]) == (2, ["x"], True)
    assert headers["authorization"] == "Bearer secret"


async def test_calls_of_tools_are_told_once_they_are_whole(server):
    script, url = server
    tool = {"type": "function", "function": {"name": "look", "parameters": {}}}
    part = {"index": 0, "id": "c1", "function": {"name": "look", "arguments": '{"a"'}}
    script.lines = [
        chat_delta({"role": "assistant", "content": ""}),
        chat_delta({"tool_calls": [part]}),
        chat_delta({"tool_calls": [{"index": 0, "function": {"arguments": ": 1}"}}]}),
        chat_delta({}, "tool_calls"),
    ]
    async with attached(url) as engine:
        pieces, end = await answered(engine, Generate(Chat(CHAT.messages, (tool,))))
    (piece,) = pieces
    assert piece.tool_calls == (
        {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"a": 1}'}},
    )
    assert end.reason == "tool_calls"
    assert script.asked[0][1]["tools"] == [tool]


async def test_log_probabilities_come_in_both_spellings(server):
    script, url = server
    told = {"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}
    logprobs = {"content": [told | {"top_logprobs": [told, told | {"token": "b"}]}]}
    script.lines = [event({"choices": [{"delta": {"content": "a"}, "logprobs": logprobs}]})]
    script.lines.append(chat_delta({}, "stop"))
    asked = Sampling(logprobs=2)
    async with attached(url) as engine:
        (piece,), _ = await answered(engine, Generate(CHAT, asked))
        assert [each.text for each in piece.tokens[0].others] == ["a", "b"]
        old = {"tokens": ["a"], "token_logprobs": [-0.5], "top_logprobs": [{"a": -0.5, "b": -2}]}
        script.lines = [completion("a", "stop", logprobs=old)]
        (piece,), _ = await answered(engine, Generate("x", asked))
    assert (piece.tokens[0].logprob, piece.tokens[0].token) == (-0.5, b"a")
    assert [each.logprob for each in piece.tokens[0].others] == [-0.5, -2.0]
    assert script.asked[0][1]["top_logprobs"] == 2
    assert script.asked[1][1]["logprobs"] == 2


async def test_a_server_that_breaks_off_ends_with_an_error_and_not_with_a_short_answer(server):
    script, url = server
    script.lines = [completion("half")]
    async with attached(url) as engine:
        with pytest.raises(EngineError, match="broke off"):
            await answered(engine, Generate("x"))


@pytest.mark.parametrize(
    "line",
    [
        event("{"),
        event("[]"),
        event({}),
        event({"choices": [7]}),
        event({"choices": [{"text": 7}]}),
        completion() + b"x" * (MAX_LINE + 2),
        event("[" * 100_000),
    ],
)
async def test_nonsense_in_a_stream_is_an_error(server, line):
    script, url = server
    script.lines = [line]
    async with attached(url) as engine:
        with pytest.raises(GarbageError):
            await answered(engine, Generate("x"))
        script.lines = [completion("fine", "stop")]
        assert (await answered(engine, Generate("x")))[1].reason == "stop"


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, {"error": {"message": "bad", "code": "x"}}, UsageError),
        (400, {"error": {"message": "m", "code": "context_length_exceeded"}}, ContextError),
        (400, {"error": {"message": "maximum context length is 5"}}, ContextError),
        (404, {"error": {"message": "gone"}}, NotFoundError),
        (401, {"error": "who are you"}, RefusedError),
        (429, {}, BusyError),
        (500, b"<html>", EngineError),
        (503, [], EngineError),
    ],
)
async def test_a_refusal_becomes_the_error_it_is(server, status, body, kind):
    script, url = server
    script.status, script.body, script.headers = status, body, {"retry-after": "7"}
    async with attached(url) as engine:
        for ask in (
            lambda: answered(engine, Generate("x")),
            lambda: engine.embed(Embed(("x",))),
        ):
            with pytest.raises(kind) as refused:
                await ask()
            assert type(refused.value) is kind
        assert not engine.lost.is_set(), "it answers still"
    if kind is BusyError:
        assert refused.value.retry_after == 7


async def test_an_error_in_the_middle_of_a_stream_is_told(server):
    script, url = server
    script.lines = [completion("half"), event({"error": {"message": "out of memory"}})]
    async with attached(url) as engine:
        with pytest.raises(EngineError, match="out of memory"):
            await answered(engine, Generate("x"))


async def test_who_closes_the_stream_closes_the_connection(server):
    script, url = server
    script.lines = [completion("one"), completion("two", "stop")]
    script.hold.clear()
    async with attached(url) as engine:
        async with aclosing(engine.generate(Generate("x"))) as stream:
            async for each in stream:
                assert each.text == "one"
                break
        assert await trio.to_thread.run_sync(script.gone.wait, 5)


async def test_a_request_whose_task_is_cancelled_leaves_the_server(server):
    script, url = server
    script.lines = [completion("one"), completion("two", "stop")]
    script.hold.clear()
    async with attached(url) as engine:
        with trio.move_on_after(0.2):
            await answered(engine, Generate("x"))
        assert await trio.to_thread.run_sync(script.gone.wait, 5)


@pytest.mark.parametrize("base64", [False, True])
async def test_vectors_come_as_floats_or_as_base64_in_any_order(server, base64):
    import base64 as codec

    script, url = server
    vectors = [[1.0, 2.0], [3.0, 4.0]]
    rows = [
        {
            "index": number,
            "embedding": codec.b64encode(struct.pack("<2f", *vector)).decode()
            if base64
            else vector,
        }
        for number, vector in enumerate(vectors)
    ]
    script.body = {"data": rows[::-1], "usage": {"prompt_tokens": 4}}
    async with attached(url) as engine:
        made = await engine.embed(Embed(("a", (1, 2)), dimensions=2))
    assert struct.unpack("<4f", made.data) == (1.0, 2.0, 3.0, 4.0)
    assert (made.width, made.prompt_tokens) == (2, 4)
    assert script.asked[0][1]["input"] == ["a", [1, 2]]


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [{"embedding": []}],
        [{"embedding": ["x"]}],
        [{"embedding": [1.0]}, {"embedding": [1.0, 2.0]}],
        [{"embedding": [1.0]}],
        [{"embedding": "%%"}],
        [7, 8],
        None,
    ],
)
async def test_vectors_that_are_none_are_refused(server, rows):
    script, url = server
    script.body = {"data": rows}
    async with attached(url) as engine:
        with pytest.raises(GarbageError):
            await engine.embed(Embed(("a", "b")))


async def test_nobody_at_the_address_is_an_error_that_says_where_it_stands():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(EngineError, match="does not answer"):
        await attach(f"http://127.0.0.1:{port}/v1")


async def test_an_engine_that_was_closed_answers_nothing(server):
    _, url = server
    engine = await attach(url)
    await engine.close()
    with pytest.raises(EngineError, match="not attached"):
        await answered(engine, Generate("x"))


async def test_the_model_that_is_meant_is_named_or_the_only_one(server):
    script, url = server
    script.models = {"data": [{"id": "a"}, {"id": "b", "max_model_len": "x"}]}
    assert await models_of(url) == ("a", "b")
    async with attached(url, model="b") as engine:
        assert engine.info.context == 0
    for words in ({}, {"model": "c"}):
        with pytest.raises(NotFoundError) as refused:
            await attach(url, **words)
        assert "a, b" in refused.value.remedy


@pytest.mark.parametrize("models", [{}, [], {"data": 7}, {"data": ["m"]}, b"<html>"])
async def test_what_lists_no_models_is_no_such_server(server, models):
    script, url = server
    script.models = models
    with pytest.raises(GarbageError):
        await attach(url)


async def test_tasks_and_counts_are_not_passed_on(server):
    _, url = server
    async with attached(url) as engine:
        with pytest.raises(UnsupportedError):
            await engine.run(TaskRequest("fill-mask", "x"))
        with pytest.raises(UnsupportedError):
            await engine.count(Generate("x"))
