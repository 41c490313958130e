"""The events of llama.cpp, as answers of ours, and requests of ours in its words."""

import pytest

from p2phub.inference.requests import Sampling
from p2phub.inference.worker.llama_answer import Answer, completion


def event(text, finish=None, logprobs=None, **timings):
    choice = {"text": text, "finish_reason": finish, "logprobs": logprobs}
    return {"choices": [choice], "timings": timings}


def token(text):
    one = {"token": text, "logprob": -0.5, "bytes": list(text.encode())}
    return {"content": [one | {"top_logprobs": [one, one]}]}


@pytest.mark.parametrize(
    ("sampling", "temperature"),
    [
        (Sampling(), 0.6),
        (Sampling(temperature=1.0), 1.0),
        (Sampling(temperature=0), 0.0),
        (Sampling(top_k=1), 0.0),
    ],
)
def test_what_a_request_leaves_out_is_what_the_model_says(sampling, temperature):
    body = completion(sampling, "x", {"temperature": 0.6, "top_p": None})
    assert body["temperature"] == temperature
    assert "top_p" not in body


def test_a_model_that_does_not_sample_is_greedy_unless_asked():
    assert completion(Sampling(), "x", {"do_sample": False})["temperature"] == 0
    assert completion(Sampling(temperature=0.5), "x", {"do_sample": False})["temperature"] == 0.5


def test_an_empty_schema_is_any_object():
    assert completion(Sampling(schema={}), "x", {})["json_schema"] == {"type": "object"}


def test_a_token_waits_for_the_text_that_it_is_part_of():
    answer = Answer(Sampling(stop=("END",), logprobs=1))
    assert answer.feed(event("E", logprobs=token("E"))) is None
    piece = answer.feed(event("at", logprobs=token("at")))
    assert piece.text == "Eat"
    assert [each.text for each in piece.tokens] == ["E", "at"]
    assert all(len(each.others) == 1 for each in piece.tokens)


def test_a_stop_text_across_events_ends_it_and_is_named():
    answer = Answer(Sampling(stop=("END",)))
    assert answer.feed(event("a EN")).text == "a "
    assert answer.feed(event("D b", prompt_n=3, cache_n=2, predicted_n=4)) is None
    assert answer.stopped
    piece, end = answer.finish()
    assert piece is None
    assert (end.reason, end.stopped_by, end.prompt_tokens, end.cached_tokens) == (
        "stop",
        "END",
        5,
        2,
    )


def test_what_was_held_back_comes_at_the_end():
    answer = Answer(Sampling(stop=("END",)))
    answer.feed(event("E", finish="length"))
    piece, end = answer.finish()
    assert (piece.text, end.reason) == ("E", "length")


def test_a_call_of_a_tool_is_no_text():
    answer = Answer(Sampling(), tools=True)
    pieces = [
        answer.feed(event(text)) for text in ('<tool_call>{"name": "a", "argu', 'ments": {}}')
    ]
    assert pieces == [None, None]
    piece, end = answer.finish()
    assert (piece.text, end.reason) == ("", "tool_calls")
    assert piece.tool_calls[0]["function"] == {"name": "a", "arguments": "{}"}


def test_progress_of_a_prompt_is_no_piece():
    answer = Answer(Sampling())
    assert answer.feed(event("", prompt_n=256)) is None
    assert answer.feed({"prompt_progress": {"total": 9}}) is None
