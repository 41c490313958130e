"""What crosses to a worker: equal on the other side, however it is cut, and safe whatever comes."""

import json
import math
import struct

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from p2phub import errors
from p2phub.errors import BusyError, EngineError, GarbageError, UsageError
from p2phub.formats.digest import sha256
from p2phub.formats.ids import ContentId
from p2phub.inference import wire
from p2phub.inference.engine import ModelInfo
from p2phub.inference.requests import (
    Chat,
    Chosen,
    Embed,
    Embeddings,
    Finished,
    Generate,
    Piece,
    Sampling,
    TaskAnswer,
    TaskRequest,
)
from p2phub.inference.spec import Adapter, ModelFile, ModelSpec, RunOptions
from p2phub.inference.wire_values import pack, unpack

TEXT = st.text(max_size=20) | st.just("\ud800") | st.just("\x00é😀")
COUNT = st.integers(0, 1 << 40)
NUMBER = st.floats(allow_nan=False) | st.just(-math.inf)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 70), 1 << 70) | NUMBER | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


def rows(each, most=3):
    return st.lists(each, max_size=most).map(tuple)


def maybe(each):
    return st.none() | each


ALONE = st.builds(Chosen, TEXT, NUMBER, st.binary(max_size=4))
CHOSEN = st.builds(Chosen, TEXT, NUMBER, st.binary(max_size=4), rows(ALONE))
PIECES = st.builds(Piece, TEXT, rows(CHOSEN), rows(JSON))
ENDS = st.builds(
    Finished, st.sampled_from(["stop", "length", "tool_calls"]), COUNT, COUNT, COUNT, TEXT
)
SAMPLING = st.builds(
    Sampling,
    max_tokens=maybe(st.integers(1, 1 << 30)),
    temperature=maybe(st.floats(0, 2) | st.integers(0, 2)),
    top_p=maybe(st.floats(0, 1)),
    top_k=maybe(COUNT),
    seed=maybe(st.integers(-(1 << 63), 1 << 64)),
    stop=rows(st.text(min_size=1, max_size=4)),
    repetition_penalty=maybe(st.floats(0.01, 10)),
    logit_bias=st.dictionaries(COUNT, st.floats(-100, 100), max_size=3),
    logprobs=maybe(st.integers(0, 20)),
    schema=JSON,
)
CHATS = st.builds(
    Chat,
    rows(st.dictionaries(TEXT, JSON, max_size=3)),
    rows(JSON),
    JSON,
    st.dictionaries(TEXT, JSON, max_size=2),
)
GENERATE = st.builds(Generate, TEXT | rows(COUNT) | CHATS, SAMPLING, TEXT, st.booleans())
EMBED = st.builds(
    Embed, rows(TEXT | rows(COUNT)), maybe(st.booleans()), maybe(COUNT), st.booleans()
)
TASKS = st.builds(TaskRequest, TEXT, JSON, st.binary(), st.dictionaries(TEXT, JSON, max_size=3))
ANSWERS = (
    st.builds(Embeddings, st.binary(), COUNT, COUNT)
    | st.builds(TaskAnswer, JSON, st.binary(), TEXT)
    | COUNT
)
FILES = st.builds(
    ModelFile,
    st.lists(TEXT, min_size=1, max_size=3).map(tuple),
    st.builds(ContentId, st.integers(0, 1 << 40), st.binary().map(sha256)),
    TEXT,
    st.binary(max_size=80),
    st.booleans(),
)
OPTIONS = st.builds(RunOptions, device=TEXT, threads=COUNT, compile=st.booleans(), slots=COUNT)
ADAPTERS = st.builds(Adapter, TEXT, rows(FILES), TEXT)
SPECS = st.builds(
    ModelSpec,
    release=TEXT,
    name=TEXT,
    engine=TEXT,
    task=TEXT,
    files=rows(FILES),
    options=OPTIONS,
    adapters=rows(ADAPTERS),
    settings=st.dictionaries(TEXT, TEXT, max_size=3),
)
INFOS = st.builds(
    ModelInfo, TEXT, TEXT, TEXT, rows(TEXT), COUNT, adapters=rows(TEXT), load_seconds=NUMBER
)
IDS = st.integers(0, 1 << 53)
MESSAGES = st.one_of(
    st.builds(wire.Load, SPECS),
    st.builds(wire.Loading, TEXT, COUNT, COUNT),
    st.builds(wire.Ready, INFOS),
    st.builds(wire.Arrived, TEXT, COUNT, COUNT),
    st.builds(wire.Moved, TEXT, TEXT),
    st.builds(wire.Tabled, TEXT, st.binary(max_size=100)),
    st.builds(wire.Ask, IDS, st.sampled_from(["generate", "count"]), GENERATE),
    st.builds(wire.Ask, IDS, st.just("embed"), EMBED),
    st.builds(wire.Ask, IDS, st.just("run"), TASKS),
    st.builds(wire.Ask, IDS, st.just("attach"), ADAPTERS),
    st.builds(wire.Ask, IDS, st.just("detach"), TEXT),
    st.builds(wire.Cancel, IDS),
    st.builds(wire.Part, IDS, PIECES | ENDS),
    st.builds(wire.Answer, IDS, ANSWERS | INFOS),
    st.builds(wire.Ping, COUNT),
    st.builds(wire.Pong, COUNT),
    st.just(wire.Close()),
)


def every_error(kind=errors.P2PHubError):
    return [kind, *(below for each in kind.__subclasses__() for below in every_error(each))]


OURS = [kind for kind in every_error() if kind.__module__ == "p2phub.errors"]


def read(data):
    return list(wire.Reader().feed(data))


def frame(data, blob=b""):
    return struct.pack("<II", len(data), len(blob)) + data + blob


@given(st.lists(MESSAGES, max_size=4), st.lists(st.integers(1, 60), max_size=30))
@settings(max_examples=300)
def test_what_is_sent_comes_out_equal_however_it_is_cut(messages, cuts):
    sent, reader, got = b"".join(map(wire.encode, messages)), wire.Reader(), []
    for size in [*cuts, len(sent)]:
        part, sent = sent[:size], sent[size:]
        got += reader.feed(part)
    assert (got, reader.between) == (messages, True)
    assert repr(got) == repr(messages)


@pytest.mark.parametrize("kind", OURS, ids=lambda kind: kind.code)
def test_an_error_crosses_by_its_code(kind):
    [failed] = read(wire.encode(wire.Failed(3, kind("it broke", remedy="mend it"))))
    assert (failed.id, type(failed.error)) == (3, kind)
    assert (failed.error.message, failed.error.remedy) == ("it broke", "mend it")


def test_busy_says_when_to_come_again():
    [failed] = read(wire.encode(wire.Failed(3, BusyError("full", retry_after=2.5))))
    assert failed.error.retry_after == 2.5


def test_an_unknown_code_is_an_engine_error():
    [failed] = read(frame(b'["failed",1,{"code":"surprise","message":"oh"}]'))
    assert type(failed.error) is EngineError


def test_an_endless_sentence_of_an_error_is_cut():
    [failed] = read(wire.encode(wire.Failed(3, EngineError("x" * (wire.MAX_MESSAGE + 1)))))
    assert len(failed.error.message) == wire.MAX_MESSAGE


@pytest.mark.parametrize(
    "head", [(wire.MAX_JSON + 1, 0), (0, wire.MAX_BLOB + 1), (0xFFFFFFFF, 0xFFFFFFFF)]
)
def test_a_frame_that_says_it_is_too_large_is_refused_at_its_head(head):
    with pytest.raises(GarbageError, match="too large"):
        read(struct.pack("<II", *head))


def test_a_message_that_is_too_large_is_not_sent(monkeypatch):
    monkeypatch.setattr(wire, "MAX_JSON", 100)
    monkeypatch.setattr(wire, "MAX_BLOB", 10)
    fits = TaskRequest("t", data=bytes(10))
    assert read(wire.encode(wire.Ask(1, "run", fits)))
    for value in (TaskRequest("t", "x" * 100), TaskRequest("t", data=bytes(11))):
        with pytest.raises(UsageError, match="more than a model is given"):
            wire.encode(wire.Ask(1, "run", value))


def test_what_is_nested_too_deeply_is_not_sent():
    deep = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(UsageError, match="too deeply"):
        wire.encode(wire.Ask(1, "run", TaskRequest("t", deep)))
    with pytest.raises(GarbageError):
        read(frame(b"[" * 100_000))


@pytest.mark.parametrize(
    "row",
    [
        [],
        {},
        None,
        ["no such message"],
        ["p"],
        ["p", "1", "text"],
        ["p", 1, True, {"text": 5}],
        ["p", 1, True, {"text": "a", "tokens": [{"text": "a", "logprob": "b"}]}],
        ["p", 1, True, {"text": "a", "tokens": [{"text": "a", "logprob": 0.5, "token": 9}]}],
        ["p", 1, True, {"text": "a", "more": 1}],
        ["p", 1, False, {"reason": "tired", "prompt_tokens": 1, "completion_tokens": 1}],
        ["p", 1, False, {"reason": ["stop"], "prompt_tokens": 1, "completion_tokens": 1}],
        ["p", 1, False, {"reason": "stop", "prompt_tokens": True, "completion_tokens": 1}],
        ["p", 1, False, {"reason": "stop"}],
        ["answer", 1, "nothing", 5],
        ["answer", 1, "vectors", {"data": -1, "width": 1, "prompt_tokens": 1}],
        ["answer", 1, "number", "5"],
        ["ask", 1, "close", {}],
        ["ask", 1, "generate", {"prompt": "a", "sampling": {"temperature": 3}}],
        ["ask", 1, "generate", {"prompt": "a", "sampling": {"logit_bias": [[1, 2, 3]]}}],
        ["ask", 1, "generate", {"prompt": 5}],
        ["ready", {"engine": "x"}],
        ["loading", "a", 1],
        ["load", {"files": [{"path": ["a"], "content": "5-xx", "where": ""}]}],
        ["failed", 1, {"message": "without a code"}],
    ],
    ids=repr,
)
def test_a_message_of_the_wrong_shape_is_garbage(row):
    with pytest.raises(GarbageError):
        read(frame(json.dumps(row).encode()))


def test_bytes_that_nobody_named_are_garbage():
    ok = wire.encode(wire.Answer(1, Embeddings(b"12345678", 2, 1)))
    assert read(ok)
    size, beside = struct.unpack_from("<II", ok)
    assert beside == 8
    for blob in (b"1234567", b"123456789"):
        with pytest.raises(GarbageError):
            read(frame(ok[8 : 8 + size], blob))


@given(st.binary(max_size=60) | st.builds(frame, st.binary(max_size=40), st.binary(max_size=9)))
def test_garbage_is_told_as_garbage(data):
    reader = wire.Reader()
    try:
        list(reader.feed(data))
    except GarbageError:
        return
    assert len(data) < 8 or not reader.between


@given(JSON)
def test_json_of_any_shape_is_a_message_or_garbage(row):
    for name in ("p", "ask", "answer", "failed", "load", "ready", "loading"):
        try:
            [message] = read(frame(json.dumps([name, 1, row]).encode()))
        except GarbageError:
            continue
        assert isinstance(message, wire.Part | wire.Failed)


def test_types_that_look_the_same_as_json_are_refused():
    with pytest.raises(TypeError, match="look the same"):
        pack(int | bytes, 5)
    with pytest.raises(TypeError, match="no form"):
        unpack(set, [])
