"""`Hub.load`: a transformers model from a verified folder, and never a pickle."""

import sys

import pytest

from p2phub.client.transformers_model import load_model, named
from p2phub.errors import UsageError


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
