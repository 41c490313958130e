"""A compiled model answers as before; one that cannot be compiled answers too, and says so."""

import os

import pytest

pytest.importorskip("torch", reason="needs p2phub[inference]")
import shutil

import numpy
import torch
import transformers

from p2phub.inference.requests import Embed, Generate, Sampling
from p2phub.inference.spec import ModelSpec, RunOptions
from p2phub.inference.worker.compiling import PLACE, Compiled, layers_of, safe_place
from p2phub.inference.worker.tasks import load as load_task
from p2phub.inference.worker.text import load
from tests.inference.worker.lora_files import named
from tests.inference.worker.task_models import distilbert
from tests.inference.worker.test_lora import small
from tests.inference.worker.test_text_backend import start
from tests.inference.worker.tiny_models import source, tiny_bert
from tests.inference.worker.tiny_text import Heard, make_model, save_tiny

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Where compiled programs go; nothing of torch is changed after the test."""
    home = tmp_path / "compiled"
    monkeypatch.setenv(PLACE, str(home))
    kernels = dict(transformers.AttentionInterface._global_mapping)
    before = torch._dynamo.config.suppress_errors
    yield home
    transformers.AttentionInterface._global_mapping.update(kernels)
    torch._dynamo.config.suppress_errors = before
    torch._dynamo.reset()


def answers(folder, **options):
    """What a model says to three requests, and how it says that it runs."""
    made = RunOptions(device="cpu", dtype="float32", threads=1, **options)
    spec = ModelSpec("0" * 64, "lab/tiny", "transformers", "text-generation", (), made)
    told = []
    backend = load(spec, save_tiny(folder), lambda what, done, total: told.append(what))
    heard = [Heard() for _ in range(3)]
    for at, each in enumerate(heard):
        ask = Generate(f"the cat sat on {at}", Sampling(temperature=0, max_tokens=12))
        backend.generate(ask, each)
    texts = [each.wait().text for each in heard]
    info = backend.info
    backend.close()
    return texts, info, told


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_a_compiled_model_answers_as_one_that_is_not(tmp_path, place):
    plain, before, _ = answers(tmp_path / "a")
    compiled, info, told = answers(tmp_path / "b", compile=True)
    assert compiled == plain
    assert (before.compiled, info.compiled) == (False, True)
    assert "compiling" in told
    assert 0 < info.compile_seconds < info.load_seconds
    assert list(place.iterdir())
    assert place.stat().st_mode & 0o022 == 0


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_compiled_vectors_are_those_of_the_same_model_as_it_is(tmp_path, place):
    tiny_bert(transformers.BertModel, tmp_path)
    made = []
    for compile in (False, True):
        about = source(tmp_path, "feature-extraction", compile=compile)
        backend = load_task(about.spec, about.weights, lambda *told: None)
        texts = ("the cat sat on the mat .", "paris", "what is the capital of france ? " * 5)
        made.append((numpy.frombuffer(backend.embed(Embed(texts)).data, "<f4"), backend.info))
        backend.close()
    (plain, before), (compiled, info) = made
    assert numpy.abs(plain - compiled).max() < 1e-5
    assert (before.compiled, info.compiled, info.not_compiled) == (False, True, "")
    assert 0 < info.compile_seconds < info.load_seconds


@pytest.mark.slow
def test_without_a_compiler_it_answers_and_claims_nothing(tmp_path, place, monkeypatch, caplog):
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", (None, "no-such-compiler"))
    plain, _, _ = answers(tmp_path / "a")
    texts, info, _ = answers(tmp_path / "b", compile=True)
    assert texts == plain
    assert not info.compiled
    assert "no-such-compiler" in info.not_compiled
    assert "without torch.compile" in caplog.text


def test_a_task_whose_models_are_not_compiled_says_so(tmp_path):
    distilbert(tmp_path, "text-classification")
    about = source(tmp_path, "text-classification", compile=True)
    info = load_task(about.spec, about.weights, lambda *told: None).info
    assert (info.compiled, info.compile_seconds) == (False, 0.0)
    assert "not text-classification" in info.not_compiled


def test_layers_are_as_before_once_it_is_undone(monkeypatch):
    monkeypatch.setattr("p2phub.inference.worker.compiling._why_not", lambda device: "")
    monkeypatch.setattr("p2phub.inference.worker.compiling._keep_apart", lambda attention: None)
    model = make_model(300)
    made = Compiled(model, "lab/x")
    assert bool(made)
    assert len(layers_of(model)) == 2
    assert all(each._compiled_call_impl is not None for each in layers_of(model))
    made.undo()
    assert not made
    assert all(each._compiled_call_impl is None for each in layers_of(model))


def test_a_model_with_an_adapter_is_compiled_no_more_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("p2phub.inference.worker.compiling._why_not", lambda device: "")
    monkeypatch.setattr("p2phub.inference.worker.compiling._keep_apart", lambda attention: None)
    monkeypatch.setattr(Compiled, "warm", lambda self, answer: None)
    backend = start(tmp_path / "base")
    try:
        backend.compile()
        assert backend.info.compiled
        told = backend.attach(named("mine"), small(backend._loaded.model, tmp_path / "adapter"))
        assert not told.compiled
        assert "adapter" in told.not_compiled
        assert all(each._compiled_call_impl is None for each in layers_of(backend._loaded.model))
    finally:
        backend.close()


class TestThePlaceOfCompiledPrograms:
    def test_is_made_for_us_alone(self, tmp_path):
        wanted = tmp_path / "one" / "two"
        assert safe_place(str(wanted)) == wanted
        assert wanted.stat().st_mode & 0o077 == 0

    @pytest.mark.parametrize("mode", [0o777, 0o770])
    def test_is_none_that_others_can_write_to(self, tmp_path, mode):
        wanted = tmp_path / "open"
        wanted.mkdir()
        wanted.chmod(mode)
        found = safe_place(str(wanted))
        assert found != wanted
        assert found.stat().st_mode & 0o077 == 0

    def test_is_none_below_a_folder_that_others_can_write_to(self, tmp_path):
        (tmp_path / "open").mkdir()
        (tmp_path / "open").chmod(0o777)
        wanted = tmp_path / "open" / "mine"
        assert safe_place(str(wanted)) != wanted

    def test_is_none_of_somebody_else(self, tmp_path, monkeypatch):
        (tmp_path / "theirs").mkdir(mode=0o700)
        monkeypatch.setattr(os, "getuid", lambda: 12345)
        (tmp_path / "theirs").chmod(0o700)
        os.chown(tmp_path / "theirs", 4321, -1)
        assert safe_place(str(tmp_path / "theirs")) != tmp_path / "theirs"

    def test_that_cannot_be_made_is_another(self, tmp_path):
        (tmp_path / "file").write_text("")
        assert safe_place(str(tmp_path / "file" / "in")).is_dir()
        assert safe_place("").is_dir()
