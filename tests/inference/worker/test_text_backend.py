"""A tiny model of random weights, in this process: what no real model needs to be asked."""

import gc
import threading
import time
from dataclasses import dataclass

import pytest

pytest.importorskip("torch", reason="needs p2phub[inference]")
import torch

from p2phub.errors import ContextError, EngineError, UnsupportedError, UsageError
from p2phub.inference.requests import Chat, Embed, Generate, Sampling, TaskRequest
from p2phub.inference.spec import ModelSpec, RunOptions
from p2phub.inference.worker import text_backend
from p2phub.inference.worker.text_alone import Alone
from p2phub.inference.worker.text_batch import Batch
from p2phub.inference.worker.text_model import load_model
from tests.inference.worker.tiny_text import WORDS, Heard, make_model, save_tiny

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "boolean"}},
    "required": ["a"],
    "additionalProperties": False,
}
MANY = 20
"""Requests of a kind: each that left a value behind would be counted."""
TOOLS = ({"type": "function", "function": {"name": "now", "parameters": SCHEMA}},)


@dataclass(frozen=True)
class Here:
    device: str = "cpu"
    dtype: str = "float32"
    attention: str = "sdpa"
    threads: int = 1


def spec(**options) -> ModelSpec:
    return ModelSpec(
        "0" * 64, "lab/tiny@main", "transformers", "text-generation", (), RunOptions(**options)
    )


def start(folder, *, alone: bool = False, **options) -> text_backend.TextBackend:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_backend, "can_batch", lambda model: not alone)
        loaded = load_model(spec(**options), save_tiny(folder), Here())
        return text_backend.TextBackend(loaded, spec(**options), Here())


@pytest.fixture(scope="module", params=["batch", "alone"])
def backend(request, tmp_path_factory):
    torch.set_num_threads(1)
    made = start(tmp_path_factory.mktemp("tiny"), alone=request.param == "alone")
    yield made
    made.close()


def ask(backend, prompt, **sampling) -> Heard:
    heard = Heard()
    backend.generate(Generate(prompt, Sampling(**{"max_tokens": 24, **sampling})), heard)
    return heard


def refused(backend, prompt, **sampling) -> Exception:
    heard = ask(backend, prompt, **sampling)
    assert heard.over.wait(10)
    assert (heard.ends, heard.pieces) == (1, [])
    return heard.error


def reference(backend, prompt: str, tokens: int) -> str:
    tokenizer = backend._loaded.tokenizer
    ids = tokenizer(prompt).input_ids
    out = make_model(len(tokenizer)).generate(
        torch.tensor([ids]), max_new_tokens=tokens, do_sample=False, eos_token_id=1, pad_token_id=1
    )
    return tokenizer.decode(out[0, len(ids) :], skip_special_tokens=True)


def test_greedy_answers_side_by_side_are_those_of_generate(backend):
    heard = [ask(backend, prompt, temperature=0) for prompt in WORDS * 3]
    for prompt, each in zip(WORDS * 3, heard, strict=True):
        assert each.wait().text == reference(backend, prompt, 24)


def test_a_drawn_answer_beside_a_greedy_one_changes_nothing_of_it(backend):
    heard = [ask(backend, WORDS[0], temperature=at % 2 * 1.0, seed=at) for at in range(6)]
    for at in (0, 2, 4):
        assert heard[at].wait().text == reference(backend, WORDS[0], 24)
    assert heard[1].wait().text != heard[3].wait().text


def test_the_same_seed_gives_the_same_answer_alone_and_in_company(backend):
    first = ask(backend, WORDS[1], temperature=1.0, seed=9).wait().text
    company = [ask(backend, WORDS[1], temperature=1.0, seed=at) for at in range(5, 12)]
    assert company[4].wait().text == first
    assert len({each.wait().text for each in company}) > 1


def test_an_answer_that_is_taken_back_ends_within_a_step(backend):
    begun = threading.Event()
    heard = Heard(act=lambda _: begun.set())
    cancel = backend.generate(Generate(WORDS[0], Sampling(temperature=0, max_tokens=240)), heard)
    assert begun.wait(30)
    cancel()
    pieces = len(heard.pieces)
    assert isinstance(heard.error, EngineError)
    assert ask(backend, WORDS[0], temperature=0).wait().text == reference(backend, WORDS[0], 24)
    assert (heard.ends, len(heard.pieces)) == (1, pieces)
    cancel()
    assert heard.ends == 1


def test_a_stop_text_ends_an_answer_and_frees_its_slot(backend):
    whole = ask(backend, WORDS[0], temperature=0).wait()
    stop = whole.text[6:9]
    heard = ask(backend, WORDS[0], temperature=0, max_tokens=200, stop=(stop,)).wait()
    assert heard.text == whole.text[: whole.text.index(stop)]
    assert (heard.end.reason, heard.end.stopped_by) == ("stop", stop)
    assert heard.end.completion_tokens < 24


def test_a_prompt_that_does_not_fit_is_refused_with_both_numbers(backend):
    error = refused(backend, tuple([5] * 256))
    assert isinstance(error, ContextError)
    assert "256 tokens" in error.message
    assert "takes 256" in error.message
    assert isinstance(refused(backend, "x" * 10_000_000), ContextError)


def test_of_a_prompt_that_is_cut_the_last_tokens_are_kept(backend):
    long = "cat " * 200_000 + WORDS[0]
    kept = tuple(backend._prompts.tokens(long[-4000:])[-9:])
    sampling = Sampling(max_tokens=6, temperature=0, logprobs=1)
    heard, wanted = Heard(), Heard()
    backend.generate(Generate(long, sampling, truncate=9), heard)
    backend.generate(Generate(kept, sampling), wanted)
    assert heard.wait().text == wanted.wait().text
    assert heard.end.prompt_tokens == 9
    told = [each for piece in heard.pieces for each in piece.tokens]
    assert [each.id for each in told] == [each.others[0].id for each in told]
    assert "".join(backend._vocabulary.decode([each.id]) for each in told) == heard.text


def test_without_a_limit_an_answer_goes_on_to_the_end_of_the_context(backend):
    heard = ask(backend, tuple([5] * 236), temperature=0, max_tokens=None, logit_bias={1: -100.0})
    end = heard.wait().end
    assert (end.reason, end.prompt_tokens, end.completion_tokens) == ("length", 236, 20)


def test_an_answer_fits_its_schema(backend):
    heard = ask(backend, WORDS[0], schema=SCHEMA, max_tokens=100, temperature=0).wait()
    assert heard.text.replace(" ", "").strip() in ('{"a":true}', '{"a":false}')


def test_a_schema_that_cannot_be_held_to_is_refused(backend):
    error = refused(backend, WORDS[0], schema={"type": "nonsense"})
    assert isinstance(error, UsageError)
    assert "schema" in error.message


def test_a_bias_for_a_token_that_the_model_does_not_have_costs_that_request_alone(backend):
    beside = ask(backend, WORDS[0], temperature=0)
    error = refused(backend, WORDS[0], logit_bias={99_999_999: 5.0})
    assert isinstance(error, UsageError)
    assert "99999999" in error.message
    width = backend._loaded.width
    assert "logit_bias" in refused(backend, WORDS[0], logit_bias={width: 5.0}).message
    ask(backend, WORDS[0], logit_bias={width - 1: 5.0}).wait()
    assert beside.wait().text == reference(backend, WORDS[0], 24)


def test_a_demanded_call_is_made_and_no_text(backend):
    chat = Chat(({"role": "user", "content": "?"},), TOOLS, "required")
    heard = ask(backend, chat, temperature=0, max_tokens=150).wait()
    assert (heard.text, heard.end.reason) == ("", "tool_calls")
    (call,) = [each for piece in heard.pieces for each in piece.tool_calls]
    assert call["function"]["name"] == "now"


def test_log_probabilities_come_with_each_token(backend):
    heard = ask(backend, WORDS[0], temperature=0, logprobs=3, logit_bias={1: -100.0}).wait()
    told = [each for piece in heard.pieces for each in piece.tokens]
    assert len(told) == heard.end.completion_tokens
    assert all(each.others[0].logprob == each.logprob and len(each.others) == 3 for each in told)


def test_an_adapter_that_was_not_loaded_and_other_tasks_are_refused(backend):
    heard = Heard()
    backend.generate(Generate("a", adapter="mine"), heard)
    assert isinstance(heard.error, UnsupportedError)
    with pytest.raises(UnsupportedError):
        backend.embed(Embed(("a",)))
    with pytest.raises(UnsupportedError):
        backend.run(TaskRequest("fill-mask"))


def test_what_is_told_of_the_model_is_what_was_loaded(backend):
    info = backend.info
    assert (info.engine, info.device, info.dtype) == ("transformers", "cpu", "float32")
    assert (info.context, info.chat, info.attention) == (256, True, "sdpa")
    width = backend._loaded.width
    assert info.weight_bytes == 4 * sum(each.numel() for each in make_model(width).parameters())
    assert info.slots == (8 if isinstance(backend._runner, Batch) else 1)
    assert (info.cache_bytes > 0) == isinstance(backend._runner, Batch)
    assert backend.count(Generate(WORDS[0])) == len(backend._loaded.tokenizer(WORDS[0]).input_ids)


def test_fifty_answers_leave_nothing_behind(backend):
    for at in range(50):
        ask(backend, WORDS[at % 3], max_tokens=4, temperature=1.0).wait()
    gc.collect()
    if isinstance(backend._runner, Batch):
        runner = backend._runner
        assert not runner._choices.choosers
        assert not runner._manager.output_router.result_handlers
        assert not runner._cached
        assert runner._manager.batch_processor.scheduler.active_requests == {}


KINDS = {
    "greedy": {"temperature": 0},
    "drawn": {"temperature": 1.0, "seed": 7, "top_p": 0.9, "frequency_penalty": 0.5},
    "told": {"temperature": 1.0, "seed": 7, "logprobs": 3},
    "stopped": {"temperature": 1.0, "stop": ("cat", "e")},
    "fitting": {"temperature": 0, "schema": SCHEMA},
    "taken back": {"temperature": 0, "max_tokens": 200},
    "refused": {"max_tokens": 4},
}


def answered(backend, kind: str, times: int) -> None:
    """So many requests of one kind, one after the other, all of them over."""
    prompt = WORDS[0] * 200 if kind == "refused" else WORDS[0]
    for _ in range(times):
        begun = threading.Event()
        heard = Heard(act=lambda _, begun=begun: begun.set())
        sampling = Sampling(**{"max_tokens": 4, **KINDS[kind]})
        cancel = backend.generate(Generate(prompt, sampling), heard)
        if kind == "taken back":
            assert begun.wait(30)
            cancel()
        assert heard.over.wait(30)


def left_of(backend) -> int:
    """Values of single requests that are still there."""
    while active(backend):
        time.sleep(0.001)
    gc.collect()
    names = {"Answer", "Ask", "Chooser", "JsonMatcher", "Heard", "Generate", "RequestState"}
    return sum(type(each).__name__ in names for each in gc.get_objects())


def active(backend) -> bool:
    """Whether transformers has not let go of a request yet."""
    runner = backend._runner
    if not isinstance(runner, Batch):
        return False
    scheduler = runner._manager.batch_processor.scheduler
    return bool(scheduler.active_requests or scheduler.waiting_requests)


@pytest.mark.parametrize("kind", KINDS)
def test_no_kind_of_request_leaves_its_values_behind(backend, kind):
    if kind == "fitting":
        pytest.importorskip("llguidance", reason="needs p2phub[inference]")
    answered(backend, kind, 3)
    before = left_of(backend)
    answered(backend, kind, MANY)
    assert left_of(backend) - before < MANY // 2


@pytest.mark.parametrize("alone", [False, True])
def test_closing_ends_answers_under_way(tmp_path, alone):
    backend = start(tmp_path, alone=alone)
    kind = Alone if alone else Batch
    assert isinstance(backend._runner, kind)
    heard = [ask(backend, WORDS[0], temperature=1.0, max_tokens=200) for _ in range(3)]
    backend.close()
    for each in heard:
        assert each.over.wait(10)
        assert each.ends == 1
