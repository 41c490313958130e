"""Image manifests: what each tool reads, the same bytes for the same release, nothing lost."""

import json

import pytest

from p2phub.errors import UsageError
from p2phub.formats.digest import sha256
from p2phub.formats.ids import ContentId
from p2phub.formats.images import (
    MODEL_CONFIG,
    MODEL_MANIFEST,
    media_type,
    oci_image,
    oci_index,
    ollama_files,
    ollama_image,
    ollama_name,
)
from p2phub.formats.manifest import Card, FileEntry, Release

COMMIT = "ab" * 20


def entry(name, data=b"data"):
    return FileEntry(
        tuple(name.split("/")), len(data), sha256(data), ContentId(len(data), sha256(data))
    )


FILES = (entry("README.md", b"# x"), entry("config.json", b"{}"), entry("sub/model.safetensors"))


def release(files=FILES, kind="model"):
    return Release(
        publisher=bytes(32),
        name="x",
        kind=kind,
        parents=(),
        created=1_700_000_000,
        message="",
        files=files,
        card=Card(license="mit", parameters=22_713_216),
        total_size=sum(file.size for file in files),
    )


def image(files=FILES, kind="model"):
    return oci_image(release(files, kind), COMMIT, "lab/x", files)


class TestOci:
    def test_each_file_is_a_layer_of_its_own_bytes(self):
        told = json.loads(image().manifest)
        assert told["artifactType"] == MODEL_MANIFEST
        assert told["config"] == {
            "mediaType": MODEL_CONFIG,
            "digest": "sha256:" + sha256(image().config).hex(),
            "size": len(image().config),
        }
        assert [(each["digest"], each["size"]) for each in told["layers"]] == [
            (f"sha256:{file.sha256.hex()}", file.size) for file in FILES
        ]
        assert [each["mediaType"] for each in told["layers"]] == [
            "application/vnd.cncf.model.doc.v1.raw",
            "application/vnd.cncf.model.weight.config.v1.raw",
            "application/vnd.cncf.model.weight.v1.raw",
        ]
        assert (
            told["layers"][2]["annotations"]["org.cncf.model.filepath"] == "sub/model.safetensors"
        )
        assert told["annotations"]["org.p2phub.release"] == f"lab/x@{COMMIT}"

    def test_the_config_says_what_the_release_says(self):
        told = json.loads(image().config)
        assert told["descriptor"]["licenses"] == ["mit"]
        assert told["descriptor"]["createdAt"] == "2023-11-14T22:13:20Z"
        assert told["config"] == {"format": "safetensors", "paramSize": "22713216"}
        assert told["modelfs"] == {
            "type": "layers",
            "diffIds": [f"sha256:{file.sha256.hex()}" for file in FILES],
        }

    def test_files_of_a_dataset_are_data(self):
        layers = json.loads(image(kind="dataset").manifest)["layers"]
        assert {each["mediaType"] for each in layers} == {
            "application/vnd.cncf.model.dataset.v1.raw"
        }

    def test_the_same_is_the_same_bytes(self):
        assert image() == image()
        assert sha256(image().manifest).hex() == (
            "eeafee2675ce7095f7eb705e59f0e7539f1cb2446c63447cc3d0483635049f87"
        )

    def test_another_name_is_added_and_the_same_one_is_replaced(self):
        one = oci_index(None, image(), "lab/x:main")
        two = oci_index(one, image(FILES[:1]), "lab/x:v1")
        three = oci_index(two, image(FILES[1:]), "lab/x:main")
        told = json.loads(three)["manifests"]
        names = [each["annotations"]["org.opencontainers.image.ref.name"] for each in told]
        assert names == ["lab/x:v1", "lab/x:main"]
        assert told[1]["digest"] == "sha256:" + sha256(image(FILES[1:]).manifest).hex()

    def test_what_others_wrote_into_an_index_stays(self):
        theirs = {"mediaType": "x", "digest": "sha256:00", "size": 1, "platform": {"os": "linux"}}
        before = {"schemaVersion": 2, "manifests": [theirs, 7], "annotations": {"a": "b"}}
        told = json.loads(oci_index(json.dumps(before).encode(), image(), "lab/x:main"))
        assert told["manifests"][:2] == [theirs, 7]
        assert told["annotations"] == {"a": "b"}

    @pytest.mark.parametrize(
        "before",
        [b"", b"[]", b"{}", b"nonsense", b'{"schemaVersion":2,"manifests":{}}', b"[" * 9999],
    )
    def test_what_is_no_index_is_not_written_over(self, before):
        with pytest.raises(UsageError, match="index"):
            oci_index(before, image(), "lab/x:main")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("model.gguf", "weight"),
        ("tokenizer.json", "weight.config"),
        ("LICENSE", "doc"),
        ("modeling_x.py", "code"),
        ("merges", "weight.config"),
    ],
)
def test_kinds_of_files(name, kind):
    assert media_type((name,)) == f"application/vnd.cncf.model.{kind}.v1.raw"


class TestOllama:
    def test_one_model_and_what_belongs_to_it(self):
        files = [
            entry(name)
            for name in (
                "x.gguf",
                "mmproj-x.gguf",
                "template.txt",
                "LICENSE",
                "a/LICENSE",
                "README.md",
            )
        ]
        assert {"/".join(path): kind for path, kind in ollama_files(files).items()} == {
            "x.gguf": "model",
            "mmproj-x.gguf": "projector",
            "template.txt": "template",
            "LICENSE": "license",
        }

    @pytest.mark.parametrize(
        ("names", "why"),
        [
            (["model.safetensors"], "GGUF"),
            (["a.gguf", "b.gguf"], "one model"),
            (["a-00001-of-00002.gguf", "a-00002-of-00002.gguf"], "split"),
            (["a-00001-of-00001.gguf"], "split"),
        ],
    )
    def test_what_it_cannot_load_is_told(self, names, why):
        with pytest.raises(UsageError, match=why):
            ollama_files([entry(name) for name in names])

    def test_a_template_of_another_language_is_none_of_its(self):
        kinds = ollama_files([entry("x.gguf"), entry("chat_template.jinja")])
        assert list(kinds.values()) == ["model"]

    def test_the_model_comes_first_and_is_described(self):
        files = [entry("LICENSE"), entry("x.gguf", b"GGUF")]
        metadata = {"general.architecture": "llama", "general.file_type": 15}
        made = ollama_image(ollama_files(files), files, metadata, 134_515_008)
        told, config = json.loads(made.manifest), json.loads(made.config)
        assert [each["mediaType"] for each in told["layers"]] == [
            "application/vnd.ollama.image.model",
            "application/vnd.ollama.image.license",
        ]
        assert told["config"]["digest"] == "sha256:" + sha256(made.config).hex()
        assert (config["model_family"], config["model_type"], config["file_type"]) == (
            "llama",
            "134.52M",
            "Q4_K_M",
        )
        assert config["rootfs"]["diff_ids"] == [each["digest"] for each in told["layers"]]

    @pytest.mark.parametrize(
        "metadata", [{}, {"general.file_type": "x", "general.architecture": 7}]
    )
    def test_odd_metadata_is_no_error(self, metadata):
        files = [entry("x.gguf")]
        config = json.loads(ollama_image(ollama_files(files), files, metadata, 0).config)
        assert config["file_type"] == "unknown"

    def test_names(self):
        assert ollama_name("lab", "x", "main") == ("manifests", "p2phub", "lab", "x", "main")

    @pytest.mark.parametrize(
        "parts",
        [("a.b", "x", "main"), ("lab", "..", "main"), ("lab", "x", "a/b"), ("lab", "x", "")],
    )
    def test_names_that_are_none_for_it_are_refused(self, parts):
        with pytest.raises(UsageError):
            ollama_name(*parts)
