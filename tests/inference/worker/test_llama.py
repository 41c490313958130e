"""A GGUF model in llama.cpp: answers do not mix, end when they are given up, and fail as ours."""

import json
import os
import struct
import threading
from dataclasses import replace
from importlib.util import find_spec

import pytest

from p2phub.errors import ContextError, EngineError, UnsupportedError, UsageError
from p2phub.inference.requests import Chat, Embed, Generate, Sampling, TaskRequest
from p2phub.inference.spec import Adapter
from p2phub.inference.worker.llama import load
from p2phub.inference.worker.weights import Weights
from tests.inference.worker.release_files import model_file, spec_of
from tests.real_models import smol_gguf

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("xllamacpp") is None, reason="needs p2phub[llamacpp]"),
]
GREEDY = Sampling(max_tokens=12, temperature=0)
PROMPTS = ("The history of Rome begins", "Once upon a time", "def add(a, b):", "Rice is")
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"enum": ["Rome", "Oslo"]}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


class Heard:
    """Keeps one answer."""

    def __init__(self):
        self.pieces, self.end, self.error = [], None, None
        self.first, self.over = threading.Event(), threading.Event()

    def piece(self, piece):
        self.pieces.append(piece)
        self.first.set()

    def finished(self, end):
        assert not self.over.is_set()
        self.end = end
        self.over.set()

    def failed(self, error):
        assert not self.over.is_set()
        self.error = error
        self.over.set()

    @property
    def text(self):
        return "".join(piece.text for piece in self.pieces)


def that_pools(data):
    """A GGUF file that says, without a card, that it is for vectors: by their mean."""
    (pairs,) = struct.unpack_from("<Q", data, 16)
    more = [(b"llama.pooling_type", 1), (b"general.filler", 0)]  # 64 bytes, so all stays aligned
    added = b"".join(
        struct.pack("<Q", len(name)) + name + struct.pack("<II", 4, value) for name, value in more
    )
    return data[:16] + struct.pack("<Q", pairs + 2) + added + data[24:]


def spec_for(folder, task="text-generation", data=None, **options):
    data = data or smol_gguf().read_bytes()
    settings = {"threads": 1, "context": 512, "slots": 4, "device": "cpu"} | options
    spec = spec_of(model_file(folder, "model.Q4_1.gguf", data, piece=1 << 20), **settings)
    return replace(spec, engine="llamacpp", task=task)


@pytest.fixture(scope="module")
def backend(tmp_path_factory):
    spec = spec_for(tmp_path_factory.mktemp("smol"))
    with Weights(spec) as weights:
        made = load(spec, weights, lambda *told: None)
    # What was checked is in memory: nothing that happens to the disk matters any more.
    os.truncate(spec.files[0].where, 0)
    yield made
    made.close()


def answer(backend, prompt, sampling=GREEDY, **more):
    heard = Heard()
    backend.generate(Generate(prompt, sampling, **more), heard)
    assert heard.over.wait(60)
    if heard.error is not None:
        raise heard.error
    return heard


def said(text):
    return Chat(({"role": "user", "content": text},))


class TestAnswers:
    def test_many_at_once_are_each_what_it_is_alone(self, backend):
        alone = [answer(backend, prompt).text for prompt in PROMPTS]
        heard = [Heard() for _ in range(8)]
        for number, each in enumerate(heard):
            backend.generate(Generate(PROMPTS[number % 4], GREEDY), each)
        assert all(each.over.wait(60) for each in heard)
        assert [each.text for each in heard] == alone * 2
        assert len(set(alone)) == 4

    def test_the_same_seed_gives_the_same_text_and_another_another(self, backend):
        wild = Sampling(max_tokens=12, temperature=1.5, top_k=0, top_p=1.0, seed=7)
        first = answer(backend, PROMPTS[1], wild).text
        assert answer(backend, PROMPTS[1], wild).text == first
        assert answer(backend, PROMPTS[1], replace(wild, seed=8)).text != first

    def test_tokens_are_counted(self, backend):
        heard = answer(backend, PROMPTS[2])
        assert (heard.end.reason, heard.end.completion_tokens) == ("length", 12)
        assert heard.end.prompt_tokens == backend.count(Generate(PROMPTS[2]))

    def test_tokens_may_be_the_prompt(self, backend):
        assert answer(backend, (28120, 216)).end.prompt_tokens == 2

    def test_a_chat_is_what_the_template_makes_of_it(self, backend):
        made = (
            "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging"
            " Face<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
        )
        assert answer(backend, said("Hello")).text == answer(backend, made).text

    def test_a_stop_text_is_no_part_of_it(self, backend):
        whole = answer(backend, PROMPTS[0]).text
        stop = whole[7:12]
        heard = answer(backend, PROMPTS[0], replace(GREEDY, stop=(stop,)))
        assert heard.text == whole[: whole.index(stop)]
        assert (heard.end.reason, heard.end.stopped_by) == ("stop", stop)

    def test_each_token_comes_with_how_likely_it_was(self, backend):
        heard = answer(backend, PROMPTS[0], replace(GREEDY, logprobs=2))
        tokens = [token for piece in heard.pieces for token in piece.tokens]
        assert "".join(token.text for token in tokens) == heard.text
        assert all(token.others[0].text == token.text for token in tokens)
        assert all(len(token.others) == 2 and token.logprob < 0 for token in tokens)

    def test_a_forbidden_token_does_not_come(self, backend):
        (first, *_) = answer(backend, PROMPTS[3]).pieces
        tokens = backend._tokens(first.text)
        biased = replace(GREEDY, logit_bias={tokens[0]: -100.0})
        assert not answer(backend, PROMPTS[3], biased).text.startswith(first.text)

    def test_a_schema_is_kept_to(self, backend):
        schema = {"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"]}
        schema["additionalProperties"] = False
        heard = answer(backend, said("Give me a."), Sampling(max_tokens=40, schema=schema))
        assert json.loads(heard.text) in ({"a": 1}, {"a": 2})

    def test_a_tool_that_must_be_called_is(self, backend):
        chat = replace(said("How is the weather in Rome?"), tools=(TOOL,), tool_choice="required")
        heard = answer(backend, chat, Sampling(max_tokens=60, temperature=0))
        assert heard.end.reason == "tool_calls"
        ((call,),) = [piece.tool_calls for piece in heard.pieces]
        assert call["function"]["name"] == "weather"
        assert json.loads(call["function"]["arguments"])["city"] in ("Rome", "Oslo")

    def test_echo_begins_with_the_prompt(self, backend):
        assert answer(backend, PROMPTS[3], echo=True).text.startswith(PROMPTS[3])


class TestGivingUp:
    def test_an_answer_under_way_ends_soon_and_its_slot_is_free(self, backend):
        heard = Heard()
        cancel = backend.generate(Generate(PROMPTS[0], Sampling(max_tokens=400)), heard)
        assert heard.first.wait(30)
        cancel()
        assert heard.over.wait(5)
        assert isinstance(heard.error, EngineError)
        answer(backend, PROMPTS[1])

    def test_one_that_waits_for_a_slot_is_gone_at_once(self, backend):
        busy = [Heard() for _ in range(4)]
        long = Generate(PROMPTS[0], Sampling(max_tokens=300, logit_bias={2: -100.0}))
        cancels = [backend.generate(long, each) for each in busy]
        waiting = Heard()
        backend.generate(long, waiting)()
        assert waiting.over.is_set()
        assert isinstance(waiting.error, EngineError)
        for cancel in cancels:
            cancel()
        assert all(each.over.wait(10) for each in busy)

    def test_a_model_that_is_unloaded_ends_what_is_under_way(self, tmp_path):
        spec = spec_for(tmp_path, slots=1)
        backend = load(spec, Weights(spec), lambda *told: None)
        heard = Heard()
        backend.generate(Generate(PROMPTS[0], Sampling(max_tokens=400)), heard)
        assert heard.first.wait(30)
        backend.close()
        assert isinstance(heard.error, EngineError)


class TestErrors:
    def test_a_prompt_that_is_too_long(self, backend):
        with pytest.raises(ContextError, match="512"):
            answer(backend, "word " * 600)

    def test_a_schema_that_nobody_understands(self, backend):
        with pytest.raises(UsageError, match="schema"):
            answer(backend, "x", replace(GREEDY, schema={"type": "strange"}))

    def test_a_token_that_there_is_not(self, backend):
        with pytest.raises(UsageError):
            answer(backend, (999_999,))

    def test_messages_that_are_none(self, backend):
        with pytest.raises(UsageError):
            answer(backend, Chat(({"role": 3},)))

    def test_an_adapter_that_is_not_loaded(self, backend):
        with pytest.raises(UsageError, match="poet"):
            answer(backend, "x", adapter="poet")

    def test_what_it_cannot_do(self, backend):
        with pytest.raises(UnsupportedError):
            backend.embed(Embed(("x",)))
        with pytest.raises(UnsupportedError, match="text-generation"):
            backend.run(TaskRequest("fill-mask", "x"))


class TestLoading:
    def test_it_tells_what_it_loaded(self, backend):
        info = backend.info
        assert (info.engine, info.device, info.dtype) == ("llamacpp", "cpu", "Q4_1")
        assert (info.context, info.slots, info.threads, info.chat) == (512, 4, 1, True)
        assert info.cache_bytes == 512 * 4 * 30 * 3 * 64 * 2 * 2
        assert smol_gguf().stat().st_size * 0.97 < info.weight_bytes < info.read_bytes

    def test_vectors_have_the_length_that_was_asked_for(self, tmp_path):
        spec = spec_for(tmp_path, "feature-extraction", slots=1)
        backend = load(spec, Weights(spec), lambda *told: None)
        try:
            made = backend.embed(Embed(("a cat", "a dog", "a cat"), dimensions=8))
            rows = list(struct.iter_unpack("<8f", made.data))
            assert made.width == 8
            assert rows[0] == rows[2] != rows[1]
            assert sum(each * each for each in rows[0]) == pytest.approx(1, abs=1e-5)
            with pytest.raises(ContextError):
                backend.embed(Embed(("word " * 600,)))
            cut = backend.embed(Embed(("word " * 600,), truncate=True))
            assert cut.prompt_tokens <= 512
        finally:
            backend.close()

    def test_a_file_that_says_how_it_pools_makes_vectors_and_writes_nothing(self, tmp_path):
        spec = spec_for(tmp_path, data=that_pools(smol_gguf().read_bytes()), slots=1)
        backend = load(spec, Weights(spec), lambda *told: None)
        try:
            assert backend.info.tasks == ("feature-extraction",)
            assert not backend.info.chat
            assert backend.embed(Embed(("a cat",))).width == 576
        finally:
            backend.close()

    @pytest.mark.parametrize("changed", [{"quantize": "int8"}, {"device": "cuda:3"}])
    def test_what_it_cannot_be_is_refused(self, tmp_path, changed):
        spec = spec_for(tmp_path, **changed)
        with Weights(spec) as weights, pytest.raises(UnsupportedError):
            load(spec, weights, lambda *told: None)

    def test_several_gpus_are_refused_with_what_can_be_done(self, tmp_path):
        spec = spec_for(tmp_path, device="cuda:0,cuda:1")
        with Weights(spec) as weights, pytest.raises(UnsupportedError) as told:
            load(spec, weights, lambda *told: None)
        assert "not split over cuda:0,cuda:1" in told.value.message
        assert "safetensors" in told.value.remedy

    def test_adapters_are_refused(self, tmp_path):
        spec = replace(spec_for(tmp_path), adapters=(Adapter("poet", ()),))
        with Weights(spec) as weights, pytest.raises(UnsupportedError, match="adapters"):
            load(spec, weights, lambda *told: None)

    def test_a_file_that_llama_cannot_read_is_an_error_of_ours(self, tmp_path):
        pair = struct.pack("<Q", 20) + b"general.architecture" + struct.pack("<IQ", 8, 3) + b"odd"
        data = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + pair
        data += bytes(-len(data) % 32)
        spec = replace(spec_of(model_file(tmp_path, "a.gguf", data)), engine="llamacpp")
        with Weights(spec) as weights, pytest.raises(EngineError, match="cannot load"):
            load(spec, weights, lambda *told: None)
