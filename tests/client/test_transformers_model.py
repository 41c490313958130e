"""`Hub.load`: a transformers model from a verified folder, and never a pickle."""

import sys

import pytest

from p2phub.client.transformers_model import load_model
from p2phub.errors import UsageError


def test_without_transformers_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UsageError, match="not installed") as caught:
        load_model(tmp_path, "cpu", {})
    assert "p2phub[inference]" in caught.value.remedy


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
