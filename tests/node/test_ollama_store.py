"""Publishing a model of Ollama's: its layers under names that people know, whatever it says."""

import hashlib
import json

import pytest

from p2phub.errors import NotFoundError, UsageError
from p2phub.node import ollama_store
from p2phub.node.folder import files_in

IMAGE = "application/vnd.ollama.image."


@pytest.fixture
def models(tmp_path):
    (tmp_path / "models" / "blobs").mkdir(parents=True)
    return tmp_path / "models"


def layer(models, kind, data):
    digest = hashlib.sha256(data).hexdigest()
    (models / "blobs" / f"sha256-{digest}").write_bytes(data)
    return {"mediaType": IMAGE + kind, "digest": f"sha256:{digest}", "size": len(data)}


def write(models, told, name="library/llama3.2/1b"):
    manifest = models / "manifests" / "registry.ollama.ai" / name
    manifest.parent.mkdir(parents=True, exist_ok=True)
    manifest.write_text(told if isinstance(told, str) else json.dumps(told))
    return manifest


@pytest.fixture
def manifest(models):
    kinds = ["model", "template", "system", "params", "license", "license", "projector"]
    layers = [layer(models, kind, f"{kind} {n}".encode()) for n, kind in enumerate(kinds)]
    return write(models, {"schemaVersion": 2, "layers": layers})


def test_each_layer_is_a_file_with_a_name_for_people(manifest):
    found = {"/".join(file.path): file for file in files_in(manifest)}
    assert sorted(found) == [
        "LICENSE",
        "LICENSE-2",
        "llama3.2-1b.gguf",
        "mmproj-llama3.2-1b.gguf",
        "params.json",
        "system.txt",
        "template.txt",
    ]
    gguf = found["llama3.2-1b.gguf"]
    assert gguf.source.read_bytes() == b"model 0"
    assert gguf.sha256 == hashlib.sha256(b"model 0").digest()


def test_a_second_model_of_one_kind_is_numbered_before_its_suffix(models):
    layers = [layer(models, "adapter", b"a"), layer(models, "adapter", b"b")]
    found = files_in(write(models, {"layers": layers}))
    assert [file.path[0] for file in found] == [
        "adapter-llama3.2-1b-2.gguf",
        "adapter-llama3.2-1b.gguf",
    ]


def test_a_name_from_another_registry_becomes_a_plain_one(models):
    told = {"layers": [layer(models, "model", b"x")]}
    (only,) = files_in(write(models, told, "org/Mo del/Q4 K"))
    assert only.path == ("Mo_del-Q4_K.gguf",)


def good(models):
    return layer(models, "model", b"x")


STRANGE = {
    "no JSON": lambda models: "{",
    "deep JSON": lambda models: "[" * 100_000,
    "a list": lambda models: [],
    "no layers": lambda models: {},
    "an empty list": lambda models: {"layers": []},
    "too many": lambda models: {"layers": [good(models)] * 1001},
    "layers of numbers": lambda models: {"layers": [7]},
    "no size": lambda models: {"layers": [good(models) | {"size": None}]},
    "another size": lambda models: {"layers": [good(models) | {"size": 2}]},
    "no digest": lambda models: {"layers": [good(models) | {"digest": "sha256:"}]},
    "a way out": lambda models: {
        "layers": [good(models) | {"digest": "sha256:../../../../secret"}]
    },
    "another hash": lambda models: {"layers": [good(models) | {"digest": "sha512:" + "0" * 64}]},
    "tensors": lambda models: {"layers": [good(models) | {"mediaType": IMAGE + "tensor"}]},
    "another image": lambda models: {"layers": [good(models) | {"mediaType": "model"}]},
}


@pytest.mark.parametrize("what", STRANGE)
def test_a_manifest_that_is_not_what_it_should_be_is_named(models, what):
    manifest = write(models, STRANGE[what](models))
    with pytest.raises(UsageError, match="1b cannot be published") as caught:
        files_in(manifest)
    assert len(caught.value.message) < 1000


def test_an_endless_manifest_is_not_read_to_its_end(models, monkeypatch):
    monkeypatch.setattr(ollama_store, "MAX_MANIFEST", 100)
    with pytest.raises(UsageError, match="cannot be published"):
        files_in(write(models, {"layers": [good(models)] * 50}))


@pytest.mark.parametrize("how", ["gone", "link"])
def test_a_blob_that_is_missing_or_leads_elsewhere(models, how, tmp_path):
    told = layer(models, "model", b"x")
    blob = next((models / "blobs").iterdir())
    blob.unlink()
    if how == "link":
        (tmp_path / "secret").write_bytes(b"x")
        blob.symlink_to(tmp_path / "secret")
    with pytest.raises(NotFoundError, match="is missing"):
        files_in(write(models, {"layers": [told]}))


def test_a_file_that_lies_in_no_store_of_ollamas_is_no_manifest(tmp_path):
    (tmp_path / "manifest").write_text("{}")
    with pytest.raises(UsageError, match="not a folder"):
        files_in(tmp_path / "manifest")
