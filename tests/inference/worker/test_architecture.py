"""A model is filled with the tensors that came, or there is none."""

import pytest

pytest.importorskip("torch", reason="needs p2phub[inference]")
import transformers

from p2phub.errors import MalformedError, UnsupportedError
from p2phub.inference.worker.architecture import can_batch, class_of, filled, rehearse
from tests.inference.worker.tiny_models import source, tiny_bert
from tests.inference.worker.tiny_text import make_model


def test_the_class_that_the_configuration_names_is_taken(tmp_path):
    spec = source(tmp_path, "fill-mask").spec
    config = transformers.BertConfig(architectures=["BertForMaskedLM"])
    found = class_of(spec, tmp_path, config, ("AutoModelForCausalLM", "AutoModelForMaskedLM"))
    assert found is transformers.BertLMHeadModel
    assert class_of(spec, tmp_path, config, ("AutoModelForMaskedLM",)).__name__ == "BertForMaskedLM"


def test_a_type_that_no_class_knows_is_told_with_the_task(tmp_path):
    spec = source(tmp_path, "fill-mask").spec
    with pytest.raises(UnsupportedError, match=r"'clip'.*fill-mask"):
        class_of(spec, tmp_path, transformers.CLIPConfig(), ("AutoModelForMaskedLM",))


@pytest.mark.parametrize("task", ["text", "vectors"])
def test_a_tensor_of_another_shape_is_an_error_for_every_task(tmp_path, task):
    model = make_model(300) if task == "text" else tiny_bert(transformers.BertModel, tmp_path)
    state = dict(model.state_dict())
    name = sorted(state)[0]
    state[name] = state[name][:7].clone()
    with pytest.raises(MalformedError, match=f"another shape .*{name}"):
        filled(type(model), model.config, state, "lab/x", dtype="float32")


def test_only_what_nobody_uses_may_be_missing():
    model = make_model(300)
    state = {name: each for name, each in model.state_dict().items() if "lm_head" not in name}
    with pytest.raises(MalformedError, match=r"lacks 1 .*lm_head\.weight"):
        filled(type(model), model.config, dict(state), "lab/x", dtype="float32")
    made = filled(type(model), model.config, state, "lab/x", dtype="float32", unneeded=("lm_head",))
    assert made.model.norm.weight.equal(model.model.norm.weight)


def test_a_rehearsal_takes_no_memory_and_changes_nothing():
    config = transformers.LlamaConfig(
        vocab_size=1 << 26, hidden_size=1 << 14, num_hidden_layers=1, intermediate_size=8
    )
    before = config.to_dict()
    rehearse(transformers.LlamaForCausalLM, config)
    assert config.to_dict() == before


def test_models_whose_attention_cannot_be_paged_are_not_batched():
    model = make_model(300)
    assert can_batch(model)
    model.config.layer_types = ["linear_attention", "full_attention"]
    assert not can_batch(model)
