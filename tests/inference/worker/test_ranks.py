"""Which models several processes may share, and what each of them is told."""

import pytest

pytest.importorskip("torch", reason="needs p2phub[inference]")
import torch
import transformers

from p2phub.errors import UnsupportedError
from p2phub.inference.spec import Adapter, ModelSpec, RunOptions
from p2phub.inference.worker.architecture import rehearse
from p2phub.inference.worker.ranks import Plan, require_shareable

PLAN = Plan(1, ("cpu", "cpu"), "lab/x", "float32", "sdpa", 1, "/folder", "/meeting", {"m": 7})
SMALL = {
    "vocab_size": 64,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 1,
    "num_attention_heads": 6,
}


def llama(kept=3):
    config = transformers.LlamaConfig(**SMALL | {"hidden_size": 48}, num_key_value_heads=kept)
    return rehearse(transformers.LlamaForCausalLM, config)


def spec(*adapters, **options):
    files = ()
    return ModelSpec(
        "r", "lab/x", "transformers", "text-generation", files, RunOptions(**options), adapters
    )


def test_a_plan_arrives_as_it_was_sent():
    assert Plan.unpack(PLAN.pack()) == PLAN


def test_a_model_is_made_without_memory_to_see_whether_it_can_be_split():
    assert next(llama().parameters()).device == torch.device("meta")
    require_shareable(spec(), llama(), 3)


@pytest.mark.parametrize(
    ("model", "ranks", "what"),
    [(llama(), 4, "6 heads (num_attention_heads)"), (llama(), 2, "3 heads (num_key_value_heads)")],
)
def test_heads_that_cannot_be_shared_evenly_are_said(model, ranks, what):
    with pytest.raises(UnsupportedError) as told:
        require_shareable(spec(), model, ranks)
    assert what in told.value.message
    assert f"by {ranks} devices" in told.value.message
    assert "inference.device" in told.value.remedy


@pytest.mark.parametrize(
    ("asked", "what"),
    [({"quantize": "int8"}, "quantize = 'int8'"), ({"compile": True}, "compile = true")],
)
def test_what_works_on_one_device_only_is_said(asked, what):
    with pytest.raises(UnsupportedError) as told:
        require_shareable(spec(**asked), llama(), 3)
    assert what in told.value.message


def test_adapters_are_refused():
    with pytest.raises(UnsupportedError, match="adapters work on one device"):
        require_shareable(spec(Adapter("poet", ())), llama(), 3)


def test_a_model_without_a_plan_is_refused():
    config = transformers.GPT2Config(vocab_size=64, n_embd=48, n_layer=1, n_head=6)
    whole = rehearse(transformers.GPT2LMHeadModel, config)
    with pytest.raises(UnsupportedError, match="no way to split"):
        require_shareable(spec(), whole, 3)


def test_code_of_the_release_is_not_split():
    whole = llama()
    whole.config.auto_map = {"AutoModelForCausalLM": "own.Model"}
    with pytest.raises(UnsupportedError, match="code of its own"):
        require_shareable(spec(allow_remote_code=True), whole, 3)
