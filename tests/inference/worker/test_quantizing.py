"""Smaller weights say nearly the same, and are as small as was told before."""

import gc
import importlib.util
import mmap
import sys
import weakref

import pytest

pytest.importorskip("torch", reason="needs p2phub[inference]")
import torch
import transformers

from p2phub.errors import UnsupportedError
from p2phub.inference.worker.configuration import weight_bytes
from p2phub.inference.worker.quantizing import placed, read_to
from p2phub.inference.worker.tasks import load
from tests.inference.worker.lora_files import named
from tests.inference.worker.test_lora import answer, small
from tests.inference.worker.test_text_backend import start
from tests.inference.worker.tiny_models import source, tiny_bert
from tests.inference.worker.tiny_text import make_model
from tests.real_models import write_smol

torchao = pytest.mark.skipif(
    importlib.util.find_spec("torchao") is None, reason="needs p2phub[quantization]"
)
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
IDS = torch.arange(2, 34).reshape(2, 16)


def logits(model):
    with torch.inference_mode():
        return model(IDS).logits


def likeness(one, other):
    return float(torch.nn.functional.cosine_similarity(one.flatten(), other.flatten(), dim=0))


@torchao
@pytest.mark.parametrize(
    ("how", "least", "bytes_of_one"), [("int8", 0.998, 1), ("int4", 0.75, 0.5)]
)
def test_a_model_of_smaller_weights_says_nearly_the_same(how, least, bytes_of_one):
    model = make_model(320)
    whole, before = logits(model), weight_bytes(model)
    linear = sum(
        each.weight.numel()
        for name, each in model.named_modules()
        if isinstance(each, torch.nn.Linear) and name != "lm_head"
    )
    made = placed(model, how, "cpu", "lab/x")
    assert likeness(logits(made), whole) > least
    saved = before - weight_bytes(made)
    assert linear * (4 - bytes_of_one) * 0.8 < saved < linear * (4 - bytes_of_one)


@torchao
@pytest.mark.parametrize("how", ["int8", "int4"])
def test_nothing_stays_of_the_buffer_in_which_the_whole_weights_came(how):
    model = make_model(320)
    whole, buffer, at = logits(model), mmap.mmap(-1, weight_bytes(model)), 0
    for each in model.parameters():
        place = torch.frombuffer(buffer, dtype=each.dtype, count=each.numel(), offset=at)
        each.data = place.view(each.shape).copy_(each.data)
        at += each.numel() * each.dtype.itemsize
    held = weakref.ref(buffer)
    del buffer, place, each
    assert held() is not None
    made = placed(model, how, "cpu", "lab/x")
    gc.collect()
    assert held() is None
    assert likeness(logits(made), whole) > 0.75


@torchao
def test_a_matrix_that_embeddings_and_output_share_stays_one_and_whole():
    model = make_model(320)
    model.config.tie_word_embeddings = True
    model.tie_weights()
    made = placed(model, "int8", "cpu", "lab/x")
    assert made.lm_head.weight is made.model.embed_tokens.weight
    assert type(made.lm_head.weight) is torch.nn.Parameter


@torchao
def test_rows_that_no_group_divides_are_named():
    odd = torch.nn.ModuleDict({"first": torch.nn.Linear(40, 16)})
    with pytest.raises(UnsupportedError, match=r"first of lab/x has rows of 40"):
        placed(odd, "int4", "cpu", "lab/x")


@torchao
def test_a_model_that_has_nothing_to_make_smaller_is_not_called_smaller():
    with pytest.raises(UnsupportedError, match="no linear layers"):
        placed(torch.nn.ModuleDict({"one": torch.nn.Embedding(4, 4)}), "int8", "cpu", "lab/x")


@torchao
def test_a_library_that_cannot_is_told_with_the_layer(monkeypatch):
    def refuse(*_):
        raise ImportError("Requires mslk >= 1.0.0")

    monkeypatch.setattr("torchao.quantization.quantize_", refuse)
    with pytest.raises(UnsupportedError, match=r"mslk") as told:
        placed(make_model(320), "int8", "cpu", "lab/x")
    assert "model.layers.0" in told.value.message


@torchao
def test_a_model_of_another_task_is_smaller_too_and_says_so(tmp_path):
    tiny_bert(transformers.BertForSequenceClassification, tmp_path)
    made = source(tmp_path, "text-classification", quantize="int8")
    info = load(made.spec, made.weights, lambda *_: None).info
    plain = source(tmp_path, "text-classification")
    whole = load(plain.spec, plain.weights, lambda *_: None).info
    assert (info.quantization, whole.quantization) == ("int8", "")
    assert info.weight_bytes < whole.weight_bytes


def test_without_the_library_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchao.quantization", None)
    with pytest.raises(UnsupportedError) as told:
        read_to("int8", "cpu")
    assert "p2phub[quantization]" in told.value.remedy


def test_another_quantisation_is_refused_before_anything_is_read():
    with pytest.raises(UnsupportedError, match="int3"):
        read_to("int3", "cuda:0")
    assert read_to("", "cuda:0") == "cuda:0"


@torchao
def test_an_adapter_lives_on_smaller_weights_and_leaves_them_as_they_were(tmp_path):
    backend = start(tmp_path / "base", quantize="int8")
    try:
        before = answer(backend, "the cat").text
        files = small(backend._loaded.model, tmp_path / "adapter")
        assert backend.attach(named("mine"), files).quantization == "int8"
        changed = answer(backend, "the cat", "mine").text
        assert changed != before
        assert answer(backend, "the cat").text == before
        assert answer(backend, "the cat", "mine").text == changed
    finally:
        backend.close()


@torchao
@pytest.mark.slow
def test_a_real_model_answers_as_before(tmp_path):
    folder = write_smol(tmp_path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    prompt = tokenizer("The capital of France is", return_tensors="pt")["input_ids"]

    def answer(how):
        model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
        made = placed(model, how, "cpu", "lab/smol")
        out = made.generate(prompt, max_new_tokens=4, do_sample=False)
        with torch.inference_mode():
            return weight_bytes(made), out[0].tolist(), made(prompt).logits.float()

    size, tokens, whole = answer("")
    for how, most in (("int8", 0.65), ("int4", 0.5)):
        smaller, same, less = answer(how)
        assert smaller < most * size
        assert same == tokens
        assert likeness(whole, less) > 0.97
