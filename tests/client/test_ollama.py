"""Names of Ollama's models: which manifest is meant, and none outside its folder."""

from pathlib import Path

import pytest

from p2phub.client import calls
from p2phub.client.ollama import manifest_in, resolve
from p2phub.errors import NotFoundError, UsageError


@pytest.fixture
def models(tmp_path, monkeypatch):
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("llama3.2", "registry.ollama.ai/library/llama3.2/latest"),
        ("llama3.2:1b", "registry.ollama.ai/library/llama3.2/1b"),
        ("me/mine:v1", "registry.ollama.ai/me/mine/v1"),
        ("hf.co/org/Name-GGUF:Q4_K_M", "hf.co/org/Name-GGUF/Q4_K_M"),
        ("localhost:5000/me/mine", "localhost:5000/me/mine/latest"),
    ],
)
def test_a_name_is_the_path_of_a_manifest(models, name, path):
    assert manifest_in(models, name) == models / "manifests" / path


@pytest.mark.parametrize("name", ["", ":", "a:", "../a", "a/../../b", "a//b", ".", "a:.."])
def test_what_is_no_name(models, name):
    with pytest.raises(UsageError, match="no name of a model"):
        manifest_in(models, name)


def test_a_model_that_is_not_there_is_named(models):
    with pytest.raises(NotFoundError, match=r"llama3\.2"):
        resolve(Path("ollama:llama3.2"))


def test_publish_sends_the_manifest_in_full(models):
    manifest = manifest_in(models, "llama3.2:1b")
    manifest.parent.mkdir(parents=True)
    manifest.write_text("{}")
    call = calls.publish(Path("ollama:llama3.2:1b"), "mine", in_place=True)
    assert call.body == {
        "folder": str(manifest),
        "name": "mine",
        "kind": "model",
        "in_place": True,
    }
