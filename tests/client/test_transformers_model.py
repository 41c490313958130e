"""`Hub.load`: a transformers model from a verified folder, and never a pickle."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from p2phub.client import transformers_model
from p2phub.client.model_methods import AsyncModelMethods, ModelMethods
from p2phub.client.transformers_model import EXCLUDED, bring, load_model, named
from p2phub.errors import NoMemoryError, NotFoundError, UsageError
from p2phub.inference_results import FitReport, Variant

COMMIT = "ab" * 20
PLAIN, HALF, BRAIN = "model.safetensors", "model.fp16.safetensors", "model.bf16.safetensors"


def test_without_transformers_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UsageError, match="not installed") as caught:
        load_model(tmp_path, "cpu", {})
    assert "p2phub[inference]" in caught.value.remedy


def test_an_adapter_that_would_bring_a_base_nobody_verified_is_refused(tmp_path):
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "org/other"}')
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(UsageError, match="another model") as caught:
        load_model(tmp_path, "cpu", {})
    assert "PeftModel.from_pretrained" in caught.value.remedy


@pytest.mark.slow
class TestATinyModel:
    @pytest.fixture
    def folder(self, tmp_path):
        transformers = pytest.importorskip("transformers")
        config = transformers.LlamaConfig(
            vocab_size=32,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
        )
        transformers.LlamaForCausalLM(config).save_pretrained(tmp_path)
        return tmp_path

    def test_is_what_its_architecture_says(self, folder):
        assert type(load_model(folder, "cpu", {})).__name__ == "LlamaForCausalLM"

    def test_with_pickles_only_is_refused(self, folder):
        (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
        with pytest.raises(OSError, match="safetensors"):
            load_model(folder, "cpu", {})


def test_a_variant_in_gguf_is_left_to_the_node():
    assert named("lab/x@v1:FP16", {"dtype": "auto"})[1] == {"variant": "fp16", "dtype": "auto"}
    with pytest.raises(UsageError, match="Q4_K_M is no variant in safetensors") as caught:
        named("lab/x:Q4_K_M", {})
    assert "Hub.serve" in caught.value.remedy


def answers_of(names, variants=()):
    """What a node says of a model with these files of weights."""
    return {
        "resolve": SimpleNamespace(ref="lab/x@main", commit=COMMIT),
        "files": [SimpleNamespace(path=name) for name in ("config.json", *names)],
        "models/fit": FitReport("lab/x@main", "", "cpu", 9, 0, 0, 5, variants=variants),
        "pull": SimpleNamespace(path=Path("/x")),
    }


def brought(reference, *names, variants=(), **options):
    """What is asked of a node for a model, and the options that it is loaded with."""
    answers = answers_of(names, variants)
    steps, asked, answer = bring(reference, options), [], None
    while True:
        try:
            call = steps.send(answer)
        except StopIteration as end:
            return asked, end.value[1]
        asked.append(call)
        answer = answers[call.name]


def left_out(asked):
    assert {(each.body or each.query)["reference"] for each in asked[1:]} == {f"lab/x@{COMMIT}"}
    return set(asked[-1].body["exclude"]) - set(EXCLUDED)


def variant(name, need, *, fits=True, engine="transformers", **more):
    return Variant(name, "", need, fits, engine=engine, **more)


def test_of_several_precisions_the_one_that_serve_runs_is_fetched_alone():
    rows = (variant("safetensors", 8), variant("fp16", 4, chosen=True), variant("bf16", 5))
    asked, options = brought("lab/x", PLAIN, HALF, BRAIN, variants=rows)
    assert left_out(asked) == {PLAIN, BRAIN}
    assert options == {"variant": "fp16"}


def test_where_serve_runs_gguf_the_largest_in_safetensors_that_fits_is_fetched():
    gguf = variant("Q4_K_M", 1, engine="llamacpp", chosen=True)
    rows = (gguf, variant("safetensors", 8, fits=False), variant("fp16", 4), variant("bf16", 5))
    asked, options = brought("lab/x", PLAIN, HALF, BRAIN, variants=rows)
    assert left_out(asked) == {PLAIN, HALF}
    assert options == {"variant": "bf16"}


def test_a_precision_that_is_named_is_fetched_alone_and_nothing_is_reckoned():
    for reference, others, chosen in (
        ("lab/x:fp16", {PLAIN}, {"variant": "fp16"}),
        ("lab/x:safetensors", {HALF}, {}),
    ):
        asked, options = brought(reference, PLAIN, HALF)
        assert (left_out(asked), options) == (others, chosen)
        assert len(asked) == 3


def test_the_only_precision_is_fetched_without_asking_whether_it_fits():
    asked, options = brought("lab/x", PLAIN)
    assert (left_out(asked), options, len(asked)) == (set(), {}, 3)


def test_nothing_is_fetched_of_a_model_that_does_not_fit_or_that_is_not_there():
    rows = (variant("safetensors", 8, fits=False), variant("fp16", 7, fits=False))
    with pytest.raises(NoMemoryError, match="fp16, the smallest") as caught:
        brought("lab/x", PLAIN, HALF, variants=rows)
    assert "lab/x@main:fp16" in caught.value.remedy
    with pytest.raises(NotFoundError, match="no variant bf16"):
        brought("lab/x:bf16", PLAIN, HALF)


class Asking(ModelMethods):
    def _run(self, call, progress=None):
        return answers_of([PLAIN, HALF])[call.name]

    def _connected(self):
        raise AssertionError("no model of the node is asked")


class Awaiting(AsyncModelMethods):
    async def _run(self, call, progress=None):
        return answers_of([PLAIN, HALF])[call.name]

    async def _connected(self):
        raise AssertionError("no model of the node is asked")


async def test_both_hubs_load_what_was_fetched_as_the_variant_that_it_is(monkeypatch):
    monkeypatch.setattr(transformers_model, "load_model", lambda *told: told)
    expected = (Path("/x"), "cuda", {"variant": "fp16", "dtype": "auto"})
    told = {"device": "cuda", "dtype": "auto"}
    assert Asking().load("lab/x:fp16", **told) == expected
    assert await Awaiting().load("lab/x:fp16", **told) == expected
