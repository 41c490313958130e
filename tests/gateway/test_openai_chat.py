"""The chat and the completions API, asked by OpenAI's own client over a real socket."""

import json
from contextlib import contextmanager

import openai
import pytest
import trio

from p2phub.errors import (
    BusyError,
    EngineError,
    NoMemoryError,
    RevokedError,
    UntrustedError,
)
from p2phub.gateway import inference_answers
from p2phub.inference.requests import Chat, Generate, Sampling
from p2phub.testing.inference import ADAPTER_RELEASE, PUBLISHER, RELEASE, SCRIPT, TEXT, VECTORS

WHOLE = "".join(SCRIPT)
HELLO = [{"role": "user", "content": "Where am I?"}]
CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city": "Paris"}'},
}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


@pytest.fixture
def ask(served):
    """Run something with OpenAI's client in a thread, because it blocks."""

    async def asked(use, **more):
        url = f"{served.gateway.url}/v1"
        settings = {"base_url": url, "api_key": "sk-any", "max_retries": 0, **more}

        def in_a_thread():
            with openai.OpenAI(**settings) as client:
                return use(client)

        return await trio.to_thread.run_sync(in_a_thread)

    return asked


def chat(**more):
    return lambda client: client.chat.completions.create(
        **{"model": TEXT, "messages": HELLO, **more}
    )


def streamed(**more):
    return lambda client: list(chat(stream=True, **more)(client))


def completion(**more):
    return lambda client: client.completions.create(**{"model": TEXT, "prompt": "Hi", **more})


def asked_of(served):
    """What the engine was asked last."""
    return served.node.inference.text.asked[-1]


@contextmanager
def refused(kind, code=None, param=None):
    with pytest.raises(kind) as caught:
        yield caught
    assert (caught.value.code, caught.value.param) == (code, param)


class TestAnAdapter:
    async def test_answers_with_its_own_pedigree_and_that_of_its_base(self, served, ask):
        served.node.inference.adapt("poet/sonnet", TEXT)
        raw = await ask(
            lambda client: client.chat.completions.with_raw_response.create(
                model="poet/sonnet", messages=HELLO
            )
        )
        told = {"release": ADAPTER_RELEASE, "base-release": RELEASE, "base-publisher": PUBLISHER}
        assert {name: raw.headers[f"p2phub-{name}"] for name in told} == told
        assert asked_of(served).adapter == "poet/sonnet"
        *_, last = await ask(streamed(model="poet/sonnet"))
        assert last.p2phub["release"] == ADAPTER_RELEASE
        assert last.p2phub["base_release"] == RELEASE
        plain = await ask(
            lambda client: client.chat.completions.with_raw_response.create(
                model=TEXT, messages=HELLO
            )
        )
        assert "p2phub-base-release" not in plain.headers
        assert asked_of(served).adapter == ""

    async def test_is_listed_with_its_parent_and_never_meant_by_chance(self, served, ask):
        served.node.inference.adapt("poet/sonnet", TEXT)
        served.node.inference.in_memory.add("poet/sonnet")
        listed = {each.id: each for each in await ask(lambda client: client.models.list().data)}
        assert listed["poet/sonnet"].parent == TEXT
        assert listed[TEXT].parent is None
        assert (await ask(chat(model="default"))).model == TEXT


class TestChat:
    async def test_is_answered(self, served, ask):
        answer = await ask(chat())
        assert answer.object == "chat.completion"
        assert answer.model == TEXT
        choice = answer.choices[0]
        assert (choice.message.role, choice.message.content) == ("assistant", WHOLE)
        assert (choice.finish_reason, choice.logprobs) == ("stop", None)
        usage = answer.usage
        assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (3, 7, 10)
        assert asked_of(served) == Generate(Chat(tuple(HELLO)))

    async def test_tells_which_bytes_answered_and_who_signed_them(self, ask):
        told = {"release": RELEASE, "publisher": PUBLISHER, "verdict": "verified"}
        raw = await ask(
            lambda c: c.chat.completions.with_raw_response.create(model=TEXT, messages=HELLO)
        )
        assert {name: raw.headers[f"p2phub-{name}"] for name in told} == told
        assert raw.parse().model_extra["p2phub"] == told

    async def test_says_it_in_the_headers_and_the_last_event_of_a_stream_too(self, served, ask):
        told = {"release": RELEASE, "publisher": PUBLISHER, "verdict": "verified"}
        last = (await ask(streamed()))[-1]
        assert last.model_extra["p2phub"] == told
        last = (await ask(streamed(stream_options={"include_usage": True})))[-1]
        assert last.model_extra["p2phub"] == told
        body = {"messages": HELLO, "stream": True}
        answer = await served.stranger.post("/v1/chat/completions", json=body)
        assert {name: answer.headers[f"p2phub-{name}"] for name in told} == told
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.text.endswith("data: [DONE]\n\n")

    async def test_streams_its_pieces(self, ask):
        chunks = await ask(streamed())
        assert chunks[0].choices[0].delta.role == "assistant"
        assert [chunk.choices[0].delta.content for chunk in chunks[1:-1]] == list(SCRIPT)
        assert chunks[-1].choices[0].finish_reason == "stop"
        assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
        assert len({chunk.id for chunk in chunks}) == 1

    async def test_tells_the_tokens_of_a_stream_if_asked(self, ask):
        chunks = await ask(streamed(stream_options={"include_usage": True}))
        assert chunks[-1].choices == []
        assert chunks[-1].usage.total_tokens == 10
        assert {chunk.usage for chunk in chunks[:-1]} == {None}

    async def test_gives_several_choices(self, served, ask):
        answer = await ask(chat(n=3, seed=5))
        assert [choice.message.content for choice in answer.choices] == [WHOLE] * 3
        assert [choice.index for choice in answer.choices] == [0, 1, 2]
        assert answer.usage.prompt_tokens == 3
        assert answer.usage.completion_tokens == 21
        seeds = [each.sampling.seed for each in served.node.inference.text.asked]
        assert sorted(seeds) == [5, 6, 7]

    async def test_streams_several_choices(self, ask):
        chunks = await ask(streamed(n=2, stream_options={"include_usage": True}))
        texts = ["", ""]
        for chunk in chunks[:-1]:
            texts[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
        assert texts == [WHOLE, WHOLE]
        assert chunks[-1].usage.completion_tokens == 14

    async def test_stops(self, ask):
        answer = await ask(chat(stop=[" is"], max_completion_tokens=50))
        assert answer.choices[0].message.content == "The capital of France"
        answer = await ask(chat(max_tokens=2))
        assert answer.choices[0].message.content == "The capital"
        assert answer.choices[0].finish_reason == "length"

    async def test_tells_how_likely_tokens_were(self, ask):
        answer = await ask(chat(logprobs=True, top_logprobs=2, max_tokens=1))
        token = answer.choices[0].logprobs.content[0]
        assert (token.token, token.logprob, bytes(token.bytes)) == ("The", -0.5, b"The")
        assert [each.token for each in token.top_logprobs] == ["The", " other1"]
        chunks = await ask(streamed(logprobs=True, max_tokens=1))
        assert chunks[1].choices[0].logprobs.content[0].token == "The"
        assert chunks[1].choices[0].logprobs.content[0].top_logprobs == []

    async def test_hands_on_how_to_sample(self, served, ask):
        more = {"top_k": -1, "repetition_penalty": 1.1, "chat_template_kwargs": {"think": False}}
        await ask(
            chat(
                temperature=0.5,
                top_p=0.9,
                seed=3,
                presence_penalty=1,
                frequency_penalty=-1,
                logit_bias={"7": -100},
                stop="x",
                max_tokens=4,
                user="me",
                extra_body=more,
            )
        )
        expected = Sampling(4, 0.5, 0.9, 0, 3, ("x",), 1.0, -1.0, 1.1, {7: -100.0})
        assert asked_of(served).sampling == expected
        assert asked_of(served).prompt.template_arguments == {"think": False}

    @pytest.mark.parametrize(
        ("form", "schema"),
        [
            ({"type": "text"}, None),
            ({"type": "json_object"}, {}),
            ({"type": "json_object", "value": {"type": "object"}}, {"type": "object"}),
            (
                {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "array"}}},
                {"type": "array"},
            ),
        ],
    )
    async def test_asks_for_json(self, served, ask, form, schema):
        await ask(chat(response_format=form))
        assert asked_of(served).sampling.schema == schema

    async def test_calls_functions(self, served, ask):
        served.node.inference.text.tool_calls = (CALL, CALL | {"id": "call_2"})
        choice = {"type": "function", "function": {"name": "weather"}}
        answer = await ask(chat(tools=[TOOL], tool_choice=choice))
        assert answer.choices[0].finish_reason == "tool_calls"
        calls = answer.choices[0].message.tool_calls
        assert [call.id for call in calls] == ["call_1", "call_2"]
        assert json.loads(calls[0].function.arguments) == {"city": "Paris"}
        assert asked_of(served).prompt.tools == (TOOL,)
        assert asked_of(served).prompt.tool_choice == choice

    async def test_streams_calls_of_functions(self, served, ask):
        served.node.inference.text.tool_calls = (CALL, CALL | {"id": "call_2"})
        chunks = await ask(streamed(tools=[TOOL]))
        calls = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or ()]
        assert [(call.index, call.id) for call in calls] == [(0, "call_1"), (1, "call_2")]
        assert chunks[-1].choices[0].finish_reason == "tool_calls"

    async def test_calls_one_function_only_if_asked(self, served, ask):
        served.node.inference.text.tool_calls = (CALL, CALL | {"id": "call_2"})
        answer = await ask(chat(tools=[TOOL], parallel_tool_calls=False))
        assert [call.id for call in answer.choices[0].message.tool_calls] == ["call_1"]
        chunks = await ask(streamed(tools=[TOOL], parallel_tool_calls=False))
        calls = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or ()]
        assert [call.id for call in calls] == ["call_1"]

    async def test_takes_the_answer_of_a_function(self, served, ask):
        turns = [
            *HELLO,
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "call_1", "content": "Sunny."},
        ]
        await ask(chat(messages=turns))
        assert list(asked_of(served).prompt.messages) == turns

    async def test_makes_one_text_of_parts_that_are_text(self, served, ask):
        parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
        await ask(chat(messages=[{"role": "developer", "content": parts}]))
        assert asked_of(served).prompt.messages == ({"role": "system", "content": "ab"},)

    async def test_carries_an_image_and_fetches_none(self, served, ask):
        def image(url):
            return [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]

        await ask(chat(messages=image("data:image/png;base64,AAAA")))
        assert asked_of(served).prompt.messages[0]["content"][0]["type"] == "image_url"
        where = "messages[0].content[0].image_url.url"
        with refused(openai.BadRequestError, "usage", where):
            await ask(chat(messages=image("http://10.0.0.1/secret")))


class TestWhichModel:
    @pytest.mark.parametrize("name", ["dummy", ""])
    async def test_is_the_loaded_one_if_none_is_named(self, served, ask, name):
        assert (await ask(chat(model=name))).model == TEXT
        assert served.node.inference.asked == [(TEXT, "text-generation")]

    async def test_is_the_only_one_that_can_do_it(self, served, ask):
        served.node.inference.in_memory.clear()
        assert (await ask(chat(model="dummy"))).model == TEXT

    async def test_is_asked_back_where_there_are_several(self, served, ask):
        served.node.inference.engines["lab/other"] = served.node.inference.text
        served.node.inference.in_memory.add("lab/other")
        with refused(openai.BadRequestError, "usage", "model") as caught:
            await ask(chat(model="dummy"))
        assert "lab/smol, lab/other" in caught.value.message

    async def test_is_nowhere(self, served, ask):
        served.node.inference.engines.clear()
        with refused(openai.NotFoundError, "model_not_found", "model") as caught:
            await ask(chat(model="dummy"))
        assert "p2phub serve" in caught.value.message

    async def test_is_told_the_nearest_names(self, ask):
        with refused(openai.NotFoundError, "model_not_found", "model") as caught:
            await ask(chat(model="lab/smoll"))
        assert TEXT in caught.value.message

    async def test_is_in_the_path(self, served, ask):
        url = f"{served.gateway.url}/models/{TEXT}/v1"
        assert (await ask(chat(model="dummy"), base_url=url)).model == TEXT
        assert served.node.inference.asked == [(TEXT, "text-generation")]

    async def test_has_a_chat_template_or_says_so(self, served, ask):
        with refused(openai.BadRequestError, "unsupported"):
            await ask(chat(model=VECTORS))


class TestWhatCannotBe:
    @pytest.mark.parametrize(
        ("more", "param"),
        [
            ({"temperature": 3}, "temperature"),
            ({"temperature": "warm"}, "temperature"),
            ({"top_p": -1}, "top_p"),
            ({"max_tokens": 0}, "max_tokens"),
            ({"max_tokens": 1.5}, "max_tokens"),
            ({"max_completion_tokens": 0}, "max_completion_tokens"),
            ({"max_completion_tokens": 10**30}, "max_completion_tokens"),
            ({"n": 0}, "n"),
            ({"n": 10**6}, "n"),
            ({"n": True}, "n"),
            ({"stop": [1]}, "stop"),
            ({"stop": ["a"] * 17}, "stop"),
            ({"stop": ""}, "stop"),
            ({"seed": 2**63}, "seed"),
            ({"top_logprobs": 2}, "top_logprobs"),
            ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
            ({"logit_bias": {"the": 1}}, "logit_bias"),
            ({"logit_bias": {"7": 101}}, "logit_bias"),
            ({"logit_bias": {str(each): 1 for each in range(1025)}}, "logit_bias"),
            ({"response_format": {"type": "regex"}}, "response_format.type"),
            ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
            ({"messages": []}, "messages"),
            ({"messages": ["x"]}, "messages[0]"),
            ({"messages": [{"role": "king", "content": "x"}]}, "messages[0].role"),
            ({"messages": [{"role": "user"}]}, "messages[0].content"),
            ({"messages": [{"role": "assistant"}]}, "messages[0].content"),
            (
                {"messages": [{"role": "user", "content": [{"type": "file"}]}]},
                "messages[0].content[0].type",
            ),
            ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
            ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
            ({"tools": [TOOL] * 257}, "tools"),
            ({"tools": [TOOL], "tool_choice": "maybe"}, "tool_choice"),
            (
                {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "x"}}},
                "tool_choice",
            ),
            ({"stream": "yes"}, "stream"),
            ({"model": 7}, "model"),
        ],
    )
    async def test_is_a_400_that_names_the_parameter(self, served, ask, more, param):
        with refused(openai.BadRequestError, "usage", param) as caught:
            await ask(chat(**more))
        assert caught.value.type == "invalid_request_error"
        assert served.node.inference.text.asked == []

    @pytest.mark.parametrize(
        "body", [b"", b"{", b"[]", b'"x"', b"\xff", b'{"temperature": NaN}', b"[" * 100_000]
    )
    async def test_is_a_400_if_it_is_not_json(self, served, body):
        answer = await served.stranger.post("/v1/chat/completions", content=body)
        assert answer.status_code == 400
        assert answer.json()["error"]["type"] == "invalid_request_error"

    async def test_is_half_a_character(self, served):
        body = b'{"messages": [{"role": "user", "content": "\\ud800"}]}'
        answer = await served.stranger.post("/v1/chat/completions", content=body)
        assert answer.status_code == 400

    @pytest.mark.parametrize("stream", [False, True])
    async def test_is_a_prompt_that_does_not_fit(self, served, ask, stream):
        for content in ("word " * 65, "x" * (64 * 256 + 1)):
            turns = [{"role": "user", "content": content}]
            with refused(openai.BadRequestError, "context_length_exceeded"):
                await ask(chat(messages=turns, stream=stream))

    async def test_is_an_unknown_path(self, served):
        answer = await served.stranger.post("/v1/nothing", json={})
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_url")
        answer = await served.stranger.get("/v1/chat/completions")
        assert (answer.status_code, answer.json()["error"]["code"]) == (405, "usage")

    async def test_is_not_what_is_merely_unknown(self, ask):
        extra = {"service_tier": "auto", "whatever": [1, {"a": None}], "temperature": None}
        assert (await ask(chat(extra_body=extra))).choices


class TestErrors:
    @pytest.mark.parametrize(
        ("error", "kind", "status", "code", "again"),
        [
            (
                BusyError("full", retry_after=2.5),
                openai.RateLimitError,
                429,
                "rate_limit_exceeded",
                "3",
            ),
            (EngineError("it broke"), openai.InternalServerError, 503, "engine", "1"),
            (NoMemoryError("too large"), openai.InternalServerError, 507, "no_memory", None),
            (RevokedError("taken back"), openai.APIStatusError, 410, "revoked", None),
            (UntrustedError("not trusted"), openai.PermissionDeniedError, 403, "untrusted", None),
        ],
    )
    async def test_say_what_happened_and_when_to_come_again(
        self, served, ask, error, kind, status, code, again
    ):
        for place in (served.node.inference, served.node.inference.text):
            place.fails = error
            for stream in (False, True):
                with refused(kind, code) as caught:
                    await ask(chat(stream=stream))
                answer = caught.value.response
                assert (answer.status_code, answer.headers.get("retry-after")) == (status, again)
                assert error.message in caught.value.message
            place.fails = None

    async def test_are_tried_again_where_that_is_of_use(self, served, ask):
        served.node.inference.fails = BusyError("full", retry_after=0)
        with pytest.raises(openai.RateLimitError):
            await ask(chat(), max_retries=1)
        assert len(served.node.inference.asked) == 2
        served.node.inference.fails = NoMemoryError("too large")
        with pytest.raises(openai.InternalServerError):
            await ask(chat(), max_retries=1)
        assert len(served.node.inference.asked) == 3

    async def test_end_a_stream_that_has_begun(self, served, ask):
        engine = served.node.inference.text
        engine.hold = trio.Event()

        def use(client):
            stream = chat(stream=True)(client)
            next(stream)
            first = next(stream).choices[0].delta.content
            engine.fails = EngineError("it broke")
            token.run_sync_soon(engine.hold.set)
            with pytest.raises(openai.APIError, match="it broke"):
                list(stream)
            return first

        token = trio.lowlevel.current_trio_token()
        assert await ask(use) == "The"

    async def test_of_a_bug_tell_nothing_more(self, served):
        served.node.inference.text.fails = ValueError("secret")
        answer = await served.stranger.post("/v1/chat/completions", json={"messages": HELLO})
        assert answer.status_code == 500
        assert answer.json()["error"]["type"] == "server_error"
        assert "secret" not in answer.text
        served.bugs.clear()


class TestCompletions:
    async def test_are_answered(self, served, ask):
        answer = await ask(completion())
        assert (answer.object, answer.choices[0].text) == ("text_completion", WHOLE)
        assert asked_of(served) == Generate("Hi", Sampling(max_tokens=16))

    async def test_take_several_prompts(self, ask):
        answer = await ask(completion(prompt=["a", "b c"], n=2, max_tokens=1))
        assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
        assert answer.usage.prompt_tokens == 3
        assert answer.usage.completion_tokens == 4

    async def test_take_tokens(self, served, ask):
        await ask(completion(prompt=[1, 2, 3]))
        assert asked_of(served).prompt == (1, 2, 3)
        await ask(completion(prompt=[[1, 2, 3]]))
        assert asked_of(served).prompt == (1, 2, 3)

    async def test_stream(self, ask):
        chunks = await ask(lambda client: list(completion(stream=True, echo=True)(client)))
        texts = [chunk.choices[0].text for chunk in chunks]
        assert texts == ["Hi", *SCRIPT, ""]
        assert chunks[-1].choices[0].finish_reason == "stop"

    async def test_tell_how_likely_tokens_were(self, ask):
        answer = await ask(completion(logprobs=2, max_tokens=2))
        told = answer.choices[0].logprobs
        assert told.tokens == ["The", " capital"]
        assert told.token_logprobs == [-0.5, -0.5]
        assert told.top_logprobs[1] == {" capital": -0.5, " other1": -1.5}
        assert told.text_offset == [0, 3]
        chunks = await ask(
            lambda client: list(completion(logprobs=1, max_tokens=2, stream=True)(client))
        )
        assert [chunk.choices[0].logprobs.text_offset for chunk in chunks[:2]] == [[0], [3]]

    async def test_count_an_echo_where_they_tell_tokens(self, ask):
        more = {"logprobs": 0, "max_tokens": 2, "echo": True}
        answer = await ask(completion(**more))
        assert answer.choices[0].text == "HiThe capital"
        assert answer.choices[0].logprobs.text_offset == [2, 5]
        chunks = await ask(lambda client: list(completion(stream=True, **more)(client)))
        told = [chunk.choices[0].logprobs for chunk in chunks]
        assert [each.text_offset for each in told if each] == [[2], [5]]

    @pytest.mark.parametrize(
        ("more", "param"),
        [
            ({"suffix": "end"}, "suffix"),
            ({"best_of": 3}, "best_of"),
            ({"prompt": []}, "prompt"),
            ({"prompt": [1, "a"]}, "prompt"),
            ({"prompt": [["a"]]}, "prompt"),
            ({"prompt": {}}, "prompt"),
            ({"prompt": None}, "prompt"),
            ({"prompt": [-1]}, "prompt"),
            ({"prompt": ["a"] * 33}, "prompt"),
            ({"prompt": ["a"] * 17, "n": 2}, "n"),
        ],
    )
    async def test_refuse_what_cannot_be(self, ask, more, param):
        with refused(openai.BadRequestError, "usage", param):
            await ask(completion(**more))


async def test_a_stream_begins_while_its_model_loads(served, ask, monkeypatch):
    monkeypatch.setattr(inference_answers, "STATUS_AFTER", 0.01)
    monkeypatch.setattr(inference_answers, "COMMENT_EVERY", 0.01)
    served.node.inference.loading = trio.Event()
    body = {"messages": HELLO, "stream": True}
    async with served.stranger.stream("POST", "/v1/chat/completions", json=body) as answer:
        assert answer.status_code == 200
        lines = answer.aiter_lines()
        for _ in range(3):
            assert (await anext(lines)).startswith(":")
            assert await anext(lines) == ""
        served.node.inference.loading.set()
        rest = [line async for line in lines]
        assert rest[-2] == "data: [DONE]"
        told = json.loads(rest[-4].removeprefix("data: "))
        assert told["p2phub"]["release"] == RELEASE


async def test_comments_disturb_no_client(served, ask, monkeypatch):
    monkeypatch.setattr(inference_answers, "STATUS_AFTER", 0.001)
    monkeypatch.setattr(inference_answers, "COMMENT_EVERY", 0.001)
    served.node.inference.text.pause = 0.01
    chunks = await ask(streamed())
    assert [chunk.choices[0].delta.content for chunk in chunks[1:-1]] == list(SCRIPT)
