"""Which weights files are taken, and what is missing, doubtful or dangerous among them."""

import json

import pytest

from p2phub.errors import MalformedError, NotFoundError, UnsupportedError
from p2phub.inference.worker.shards import find_shards

INDEX = "model.safetensors.index.json"
PARTS = [f"model-0000{number}-of-00003.safetensors" for number in (1, 2, 3)]


def index(places: object) -> bytes:
    return json.dumps({"metadata": {}, "weight_map": places}).encode()


def find(names, text=b"", under=""):
    return find_shards(names, lambda name: text, under)


def test_one_file_counts_before_what_else_lies_there():
    assert find(["consolidated.safetensors", "model.safetensors", *PARTS, INDEX]).names == (
        "model.safetensors",
    )


def test_an_index_names_the_shards_and_the_tensors():
    found = find([*PARTS, INDEX, "other.safetensors"], index({"b": PARTS[1], "a": PARTS[0]}))
    assert found.names == (PARTS[0], PARTS[1])
    assert found.expected == {"a", "b"}


def test_numbered_shards_need_no_index():
    assert find([*reversed(PARTS), "consolidated.safetensors"]).names == tuple(PARTS)


@pytest.mark.parametrize("missing", range(3))
def test_a_missing_shard_is_named(missing):
    names = [name for number, name in enumerate(PARTS) if number != missing]
    with pytest.raises(NotFoundError, match=PARTS[missing]):
        find(names)
    with pytest.raises(NotFoundError, match=PARTS[missing]):
        find([*names, INDEX], index(dict(zip("abc", PARTS, strict=True))))


def test_a_number_of_shards_that_nobody_has_costs_nothing():
    with pytest.raises(NotFoundError, match="00002-of-99999"):
        find(["model-00001-of-99999.safetensors"])


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b"[" * 100_000,
        b'{"weight_map": []}',
        b'{"weight_map": {"a": 1}}',
    ],
)
def test_an_index_that_is_none_is_refused(text):
    with pytest.raises(MalformedError, match="index"):
        find([INDEX, *PARTS], text)


@pytest.mark.parametrize(
    "name", ["../../etc/passwd.safetensors", "/etc/x.safetensors", "no.safetensors"]
)
def test_an_index_reaches_nothing_but_files_of_the_release(name):
    with pytest.raises(NotFoundError):
        find([INDEX, *PARTS], index({"a": name}))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.pkl", "model.ckpt"])
def test_a_pickle_is_refused_and_not_loaded(name):
    with pytest.raises(UnsupportedError, match="only safetensors and GGUF"):
        find(["config.json", name])
    with pytest.raises(UnsupportedError, match="only safetensors and GGUF"):
        find([INDEX, name], index({"a": name}))


def test_a_pickle_beside_safetensors_is_left_alone():
    assert find(["pytorch_model.bin", "model.safetensors"]).names == ("model.safetensors",)


def test_gguf_alone_says_which_engine_runs_it():
    with pytest.raises(UnsupportedError) as caught:
        find(["model.gguf"])
    assert "llamacpp" in caught.value.remedy


def test_no_weights_at_all_is_said():
    with pytest.raises(NotFoundError, match="no weights"):
        find(["README.md"])


def test_a_part_lies_in_its_own_folder():
    names = [
        "unet/diffusion_pytorch_model.safetensors",
        "model.safetensors",
        "vae/a/model.safetensors",
    ]
    assert find(names, under="unet").names == ("unet/diffusion_pytorch_model.safetensors",)
    assert find(names).names == ("model.safetensors",)
    with pytest.raises(NotFoundError, match="vae"):
        find(names, under="vae")


def test_the_index_of_a_folder_names_files_of_that_folder():
    names = ["text/" + INDEX, *("text/" + part for part in PARTS)]
    assert find(names, index({"a": PARTS[2]}), "text/").names == ("text/" + PARTS[2],)


def test_an_adapter_has_a_name_of_its_own():
    assert find(["adapter_model.safetensors", "adapter_config.json"]).names == (
        "adapter_model.safetensors",
    )
