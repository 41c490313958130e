"""Our requests as JSON of the OpenAI API: nothing that was asked for is left out."""

from dataclasses import fields

import pytest

from p2phub.errors import GarbageError
from p2phub.inference.openai_shapes import MAX_ARGUMENTS, MAX_CALLS, StreamReader, request_body
from p2phub.inference.requests import Chat, Generate, Sampling

CHAT = Chat(({"role": "user", "content": "Hi"},), template_arguments={"enable_thinking": False})
FULL = Sampling(
    max_tokens=5,
    temperature=0.5,
    top_p=0.9,
    top_k=3,
    seed=7,
    stop=("a", "b"),
    presence_penalty=0.1,
    frequency_penalty=0.2,
    repetition_penalty=1.1,
    logit_bias={5: -100},
    logprobs=2,
    schema={"type": "object"},
)
SPELLED = {"schema": "response_format"}


@pytest.mark.parametrize("prompt", ["text", CHAT])
def test_every_wish_about_sampling_is_in_the_body(prompt):
    body = request_body("m", Generate(prompt, FULL))
    for each in fields(Sampling):
        assert SPELLED.get(each.name, each.name) in body, each.name
    assert body["response_format"]["json_schema"]["schema"] == {"type": "object"}
    assert body["logit_bias"] == {"5": -100}


def test_what_was_not_wished_is_left_to_the_server():
    assert set(request_body("m", Generate("x"))) == {"model", "stream", "stream_options", "prompt"}


def test_any_json_is_not_a_schema():
    body = request_body("m", Generate("x", Sampling(schema={})))
    assert body["response_format"] == {"type": "json_object"}


def test_a_conversation_an_adapter_and_an_echo_are_passed_on():
    body = request_body("m", Generate(CHAT, adapter="poet"))
    assert (body["model"], body["messages"]) == ("poet", list(CHAT.messages))
    assert body["chat_template_kwargs"] == {"enable_thinking": False}
    assert request_body("m", Generate((1, 2), echo=True))["echo"] is True


def call(index, arguments=""):
    delta = {"tool_calls": [{"index": index, "function": {"name": "f", "arguments": arguments}}]}
    return {"choices": [{"delta": delta}]}


@pytest.mark.parametrize(
    ("index", "good"), [(MAX_CALLS - 1, True), (MAX_CALLS, False), (-1, False)]
)
def test_so_many_calls_of_tools_and_no_more(index, good):
    reader = StreamReader(chat=True)
    if good:
        assert reader.read(call(index)) == []
    else:
        with pytest.raises(GarbageError):
            reader.read(call(index))


def test_arguments_without_end_are_refused():
    reader = StreamReader(chat=True)
    reader.read(call(0, "x" * MAX_ARGUMENTS))
    with pytest.raises(GarbageError, match="without end"):
        reader.read(call(0, "x"))


def test_tokens_are_counted_where_the_server_does_not():
    reader = StreamReader(chat=False)
    for reason in (None, "stop"):
        reader.read({"choices": [{"text": "a", "finish_reason": reason}]})
    assert reader.finish().completion_tokens == 2
