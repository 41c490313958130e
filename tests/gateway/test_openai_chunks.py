"""Chunks are JSON whatever is in them, and made of what stands around their text once."""

import json

import pytest

from p2phub.gateway.openai_chunks import (
    LEAST_LOGPROB,
    ChatChunks,
    Head,
    TextChunks,
    chat_logprobs,
    legacy_logprobs,
    logprob_of,
    new_id,
)
from p2phub.inference.requests import Chosen, Finished, Piece

HEAD = Head("chatcmpl-1", "chat.completion", 7, 'lab/"smol"', "ab" * 32)
ODD = ['"', "\\", "\n\n", "\0", "\u2028", "é", "👩", "\ud83d", "data: [DONE]\n\n", ""]


def told(chunk):
    """The one event in a chunk."""
    text = chunk.decode("ascii")
    assert text.startswith("data: ")
    assert text.endswith("\n\n")
    assert text.count("\n") == 2
    return json.loads(text[6:])


@pytest.mark.parametrize("text", ODD)
@pytest.mark.parametrize("kind", [ChatChunks, TextChunks])
def test_no_text_breaks_out_of_its_chunk(kind, text):
    piece = Piece(text, (Chosen(text, -1.0),))
    choice = told(kind(HEAD, 2).piece(piece))["choices"][0]
    assert choice["index"] == 2
    assert choice.get("text", choice.get("delta", {}).get("content")) == text


def test_every_chunk_begins_alike():
    chunks = ChatChunks(HEAD, 0, usage=True)
    end = Finished("length", 1, 2)
    all_told = [
        told(chunks.first()),
        told(chunks.piece(Piece("a"))),
        told(chunks.last(end, {"p2phub": {}})),
        told(chunks.usage({"total_tokens": 3}, {"p2phub": {}})),
    ]
    for each in all_told:
        assert each["model"] == 'lab/"smol"'
        assert each["object"] == "chat.completion.chunk"
        assert each["system_fingerprint"] == "fp_" + "ab" * 8
    assert [each["usage"] for each in all_told] == [None, None, None, {"total_tokens": 3}]
    assert all_told[2]["choices"][0]["finish_reason"] == "length"
    assert all_told[3]["choices"] == []


def test_what_nobody_signed_has_no_fingerprint():
    nameless = Head("1", "chat.completion", 7, "gpt", "")
    assert told(ChatChunks(nameless, 0).first())["system_fingerprint"] is None


def test_a_piece_without_anything_new_is_no_chunk():
    assert ChatChunks(HEAD, 0).piece(Piece("")) == b""


def test_calls_and_text_may_come_together():
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    chunks = ChatChunks(HEAD, 0)
    delta = told(chunks.piece(Piece("a", tool_calls=(call, call))))["choices"][0]["delta"]
    assert delta["content"] == "a"
    assert [each["index"] for each in delta["tool_calls"]] == [0, 1]
    delta = told(chunks.piece(Piece("", tool_calls=(call,))))["choices"][0]["delta"]
    assert [each["index"] for each in delta["tool_calls"]] == [2]


@pytest.mark.parametrize("logprob", [float("-inf"), float("nan"), -1e9])
def test_an_impossible_token_has_a_number_that_json_can_hold(logprob):
    assert logprob_of(Chosen("a", logprob)) == LEAST_LOGPROB


def test_half_a_character_is_told_as_its_bytes():
    (entry,) = chat_logprobs([Chosen("", -1.0, b"\xf0\x9f")])["content"]
    assert entry["bytes"] == [0xF0, 0x9F]
    assert entry["top_logprobs"] == []


def test_offsets_count_characters():
    assert legacy_logprobs([Chosen("é", -1), Chosen("ab", -1)], 5)["text_offset"] == [5, 6]


def test_no_two_ids_are_alike():
    assert len({new_id("x-") for _ in range(1000)}) == 1000
