"""The Responses API, asked by OpenAI's own client over a real socket."""

import json

import openai
import pytest
import trio

from p2phub.errors import BusyError, EngineError
from p2phub.gateway.responses_events import GrowingResponse
from p2phub.gateway.responses_store import ResponseStore
from p2phub.inference.requests import Finished, Piece
from p2phub.testing.inference import PUBLISHER, RELEASE, SCRIPT, TEXT, VECTORS

WHOLE = "".join(SCRIPT)
CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city": "Paris"}'},
}
TOOL = {"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": True}
PEDIGREE = {"release": RELEASE, "publisher": PUBLISHER, "verdict": "verified"}


@pytest.fixture
def ask(served):
    """What its own client makes of an answer, which must be shaped as that says."""

    async def asked(use):
        def in_a_thread():
            url, strict = f"{served.gateway.url}/v1", {"_strict_response_validation": True}
            with openai.OpenAI(base_url=url, api_key="any", max_retries=0, **strict) as client:
                return use(client)

        return await trio.to_thread.run_sync(in_a_thread)

    return asked


def respond(**more):
    return lambda client: client.responses.create(**{"model": TEXT, "input": "Hi", **more})


def streamed(**more):
    return lambda client: list(respond(stream=True, **more)(client))


def prompt_of(served):
    return served.node.inference.text.asked[-1].prompt


async def test_an_answer_is_whole(ask):
    answer = await ask(respond())
    assert (answer.object, answer.status, answer.model) == ("response", "completed", TEXT)
    assert answer.output_text == WHOLE
    (item,) = answer.output
    assert (item.type, item.role, item.status) == ("message", "assistant", "completed")
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (1, 7)
    assert answer.usage.total_tokens == 8
    assert answer.error is None
    assert answer.model_extra["p2phub"] == PEDIGREE


async def test_its_headers_tell_which_bytes_answered(served):
    for stream in (False, True):
        answer = await served.stranger.post("/v1/responses", json={"input": "Hi", "stream": stream})
        assert {name: answer.headers[f"p2phub-{name}"] for name in PEDIGREE} == PEDIGREE


async def test_events_come_in_their_order_and_numbered(ask):
    events = await ask(streamed())
    assert [event.sequence_number for event in events] == list(range(len(events)))
    names = [event.type.removeprefix("response.") for event in events]
    assert names == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        *["output_text.delta"] * len(SCRIPT),
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert [event.delta for event in events if event.type.endswith("delta")] == list(SCRIPT)
    last = events[-1].response
    assert last.output_text == WHOLE
    assert last.id == events[0].response.id
    assert events[0].response.output == []
    assert last.model_extra["p2phub"] == PEDIGREE
    assert {event.item_id for event in events[3:12]} == {last.output[0].id}


async def test_the_stream_helper_of_the_client_understands_it(ask):
    def use(client):
        with client.responses.stream(model=TEXT, input="Hi") as stream:
            for _ in stream:
                pass
            return stream.get_final_response()

    assert (await ask(use)).output_text == WHOLE


async def test_an_answer_that_is_cut_is_incomplete(ask):
    answer = await ask(respond(max_output_tokens=2))
    assert (answer.status, answer.output_text) == ("incomplete", "The capital")
    assert answer.incomplete_details.reason == "max_output_tokens"
    assert (await ask(streamed(max_output_tokens=2)))[-1].type == "response.incomplete"


async def test_what_was_asked_is_told_back(ask):
    answer = await ask(
        respond(instructions="Be brief.", temperature=0.5, metadata={"a": "b"}, top_p=0.9)
    )
    assert (answer.instructions, answer.temperature, answer.top_p) == ("Be brief.", 0.5, 0.9)
    assert answer.metadata == {"a": "b"}
    assert answer.parallel_tool_calls is True


async def test_instructions_stand_before_the_input(served, ask):
    items = [
        {"role": "developer", "content": "Be kind."},
        {"role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "?"}]},
        {"type": "reasoning", "summary": []},
        {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"},
        {"type": "function_call", "call_id": "c2", "name": "weather"},
        {"type": "function_call_output", "call_id": "c1", "output": "Sunny."},
    ]
    await ask(respond(instructions="Be brief.", input=items))
    calls = [
        {"id": name, "type": "function", "function": {"name": "weather", "arguments": "{}"}}
        for name in ("c1", "c2")
    ]
    assert list(prompt_of(served).messages) == [
        {"role": "system", "content": "Be brief."},
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "?"},
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "tool_call_id": "c1", "content": "Sunny."},
    ]


async def test_functions_are_called(served, ask):
    served.node.inference.text.tool_calls = (CALL, CALL | {"id": "call_2"})
    choice = {"type": "function", "name": "weather"}
    answer = await ask(respond(tools=[TOOL], tool_choice=choice))
    assert [item.type for item in answer.output] == ["message", "function_call", "function_call"]
    assert (answer.output[1].call_id, answer.output[1].name) == ("call_1", "weather")
    assert json.loads(answer.output[1].arguments) == {"city": "Paris"}
    function = {"name": "weather", "parameters": {"type": "object"}, "strict": True}
    assert prompt_of(served).tools == ({"type": "function", "function": function},)
    assert prompt_of(served).tool_choice["function"] == {"name": "weather"}


async def test_functions_are_called_in_events(served, ask):
    served.node.inference.text.tool_calls = (CALL, CALL | {"id": "call_2"})
    events = await ask(streamed(tools=[TOOL], parallel_tool_calls=False))
    (done,) = [each for each in events if each.type == "response.function_call_arguments.done"]
    assert (done.name, done.arguments, done.output_index) == ("weather", '{"city": "Paris"}', 1)
    assert [event.sequence_number for event in events] == list(range(len(events)))


async def test_json_is_asked_for(served, ask):
    form = {"type": "json_schema", "name": "x", "schema": {"type": "array"}}
    await ask(respond(text={"format": form}))
    assert served.node.inference.text.asked[-1].sampling.schema == {"type": "array"}
    await ask(respond(text={"format": {"type": "json_object"}}))
    assert served.node.inference.text.asked[-1].sampling.schema == {}


async def test_how_likely_tokens_were_is_told_if_asked(ask):
    answer = await ask(respond(include=["message.output_text.logprobs"], top_logprobs=1))
    first = answer.output[0].content[0].logprobs[0]
    assert (first.token, first.logprob, first.top_logprobs[0].token) == ("The", -0.5, "The")


class TestGoingOn:
    async def test_takes_up_the_conversation(self, served, ask):
        first = await ask(respond(instructions="Be brief."))
        await ask(respond(input="More.", previous_response_id=first.id))
        assert list(prompt_of(served).messages) == [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": WHOLE},
            {"role": "user", "content": "More."},
        ]

    async def test_takes_up_calls(self, served, ask):
        served.node.inference.text.tool_calls = (CALL,)
        first = (await ask(streamed(tools=[TOOL])))[-1].response
        output = {"type": "function_call_output", "call_id": "call_1", "output": "Sunny."}
        await ask(respond(input=[output], previous_response_id=first.id))
        turns = prompt_of(served).messages
        assert turns[1]["tool_calls"] == [CALL]
        assert turns[2] == {"role": "tool", "tool_call_id": "call_1", "content": "Sunny."}

    async def test_needs_an_answer_that_was_kept(self, ask):
        first = await ask(respond(store=False))
        for name in (first.id, "resp_nothing"):
            with pytest.raises(openai.BadRequestError) as caught:
                await ask(respond(previous_response_id=name))
            assert caught.value.param == "previous_response_id"

    async def test_answers_can_be_read_and_forgotten(self, ask):
        first = await ask(respond())
        assert (await ask(lambda c: c.responses.retrieve(first.id))).output_text == WHOLE
        await ask(lambda client: client.responses.delete(first.id))
        for use in (
            lambda client: client.responses.retrieve(first.id),
            lambda client: client.responses.delete(first.id),
        ):
            with pytest.raises(openai.NotFoundError):
                await ask(use)

    def test_the_oldest_are_forgotten_first(self):
        store = ResponseStore(most=2)
        for name in "ab":
            store.put(name, (), {})
        store.get("a")
        store.put("c", (), {})
        assert [name for name in "abc" if store.get(name)] == ["a", "c"]

    def test_all_together_stay_within_their_bytes(self):
        store = ResponseStore(most_bytes=100)
        for name in "abc":
            store.put(name, (), {"text": "x" * 30})
        assert [name for name in "abc" if store.get(name)] == ["b", "c"]
        store.put("d", (), {"text": "x" * 100})
        assert store.get("d") is None
        assert store.drop("b")
        store.put("e", (), {"text": "x" * 30})
        assert store.get("c")


class TestWhatCannotBe:
    @pytest.mark.parametrize(
        ("more", "param"),
        [
            ({"input": None}, "input"),
            ({"input": []}, "input"),
            ({"input": ["x"]}, "input[0]"),
            ({"input": [{"role": "king", "content": "x"}]}, "input[0].role"),
            ({"input": [{"role": "user"}]}, "input[0].content"),
            ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0].type"),
            ({"input": [{"type": "function_call", "name": "x"}]}, "input[0].call_id"),
            (
                {"input": [{"type": "function_call_output", "call_id": "x"}]},
                "input[0].output",
            ),
            ({"max_output_tokens": 0}, "max_output_tokens"),
            ({"temperature": 9}, "temperature"),
            ({"background": True}, "background"),
            ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
            ({"tools": [TOOL], "tool_choice": {"type": "function", "name": "x"}}, "tool_choice"),
            ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format.schema"),
            ({"metadata": {str(each): "" for each in range(17)}}, "metadata"),
        ],
    )
    async def test_is_a_400_that_names_the_parameter(self, served, ask, more, param):
        with pytest.raises(openai.BadRequestError) as caught:
            await ask(respond(**more))
        assert caught.value.param == param
        assert served.node.inference.text.asked == []

    @pytest.mark.parametrize("stream", [False, True])
    async def test_is_told_before_a_stream_begins(self, served, ask, stream):
        with pytest.raises(openai.BadRequestError, match="chat template"):
            await ask(respond(model=VECTORS, stream=stream))
        with pytest.raises(openai.BadRequestError) as caught:
            await ask(respond(input="word " * 65, stream=stream))
        assert caught.value.code == "context_length_exceeded"
        served.node.inference.fails = BusyError("full", retry_after=4)
        with pytest.raises(openai.RateLimitError) as caught:
            await ask(respond(stream=stream))
        assert caught.value.response.headers["retry-after"] == "4"


async def test_an_error_ends_a_stream_that_has_begun(served, ask):
    engine = served.node.inference.text
    engine.hold = trio.Event()
    token = trio.lowlevel.current_trio_token()

    def use(client):
        stream = respond(stream=True)(client)
        while next(stream).type != "response.output_text.delta":
            pass
        engine.fails = EngineError("it broke")
        token.run_sync_soon(engine.hold.set)
        with pytest.raises(openai.APIError, match="it broke"):
            list(stream)

    await ask(use)


def test_an_answer_without_a_word_has_a_message_all_the_same():
    answer = GrowingResponse({"id": "resp_1"})
    answer.begin()
    answer.end(Finished("stop", 1, 0), {})
    assert answer.response["output"][0]["content"][0]["text"] == ""
    assert answer.turn() == {"role": "assistant", "content": ""}


def test_text_after_a_call_is_a_message_of_its_own():
    answer = GrowingResponse({"id": "resp_1"})
    for piece in (Piece("a", tool_calls=(CALL,)), Piece("b")):
        answer.piece(piece)
    answer.end(Finished("stop", 1, 2), {})
    kinds = [item["type"] for item in answer.response["output"]]
    assert kinds == ["message", "function_call", "message"]
    assert answer.turn()["content"] == "ab"
