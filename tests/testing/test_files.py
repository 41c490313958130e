import json
from hashlib import sha256

import pytest

from p2phub.formats.weights import Header, parse
from p2phub.testing.files import (
    make_gguf,
    make_safetensors,
    random_bytes,
    tiny_model_folder,
)

TENSORS = {"embed": ("BF16", (100, 64)), "norm": ("F32", (64,)), "scalar": ("I64", ())}


def names_and_sizes(data: bytes) -> dict[str, int]:
    header = parse(data, len(data))
    assert isinstance(header, Header)
    return {tensor.name: tensor.stop - tensor.start for tensor in header.tensors}


def test_random_bytes_never_change():
    digest = sha256(random_bytes(7, 1 << 20)).hexdigest()
    assert digest == ("b4f27ec2770e896fe8fb25576da14d83097cb0de0ad8334c27c23c567b75e682")
    assert random_bytes(7, 1 << 20)[:100] == random_bytes("7", 100)
    assert random_bytes(8, 100) != random_bytes(7, 100)


def test_safetensors_are_read_by_the_real_library():
    from safetensors import deserialize

    data = make_safetensors(TENSORS, seed=3, metadata={"format": "pt"})
    read = dict(deserialize(data))
    assert {name: tuple(info["shape"]) for name, info in read.items()} == {
        name: shape for name, (_, shape) in TENSORS.items()
    }
    assert names_and_sizes(data) == {"embed": 12_800, "norm": 256, "scalar": 8}


def test_gguf_is_read_by_the_real_library(tmp_path):
    gguf = pytest.importorskip("gguf")
    path = tmp_path / "tiny.gguf"
    shapes = {"a": ("Q4_0", (64, 3)), "b": ("F32", (7,)), "c": ("Q6_K", (256, 2))}
    data = make_gguf(shapes, seed=3, metadata={"tokenizer.ggml.tokens": ["a", "b"]})
    path.write_bytes(data)
    ours = parse(data, len(data))
    assert isinstance(ours, Header)
    theirs = gguf.GGUFReader(path).tensors
    assert [(t.name, t.start, t.stop - t.start) for t in ours.tensors] == [
        (t.name, t.data_offset, t.n_bytes) for t in theirs
    ]


def test_a_tensor_has_the_same_bytes_in_every_file():
    assert random_bytes("s/norm", 256) in make_safetensors(TENSORS, seed="s")
    assert random_bytes("s/norm", 256) in make_gguf({"norm": ("F32", (64,))}, seed="s")


def test_a_folder_holds_what_a_publisher_would_put_there(tmp_path):
    folder = tiny_model_folder(tmp_path / "one", seed=1)
    assert sorted(p.name for p in folder.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]
    assert (folder / "README.md").read_text().startswith("---\nlicense: ")
    assert 250_000 < (folder / "model.safetensors").stat().st_size < 350_000


def test_a_sharded_folder_has_an_index_that_names_every_tensor(tmp_path):
    folder = tiny_model_folder(tmp_path / "many", seed=1, shards=3, shard_bytes=2_000_000)
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    for name, shard in index["weight_map"].items():
        assert name in names_and_sizes((folder / shard).read_bytes())
    assert len(set(index["weight_map"].values())) == 3
    for shard in folder.glob("*.safetensors"):
        assert 1_900_000 < shard.stat().st_size < 2_100_000


def test_two_seeds_make_two_models_and_one_seed_makes_one(tmp_path):
    first, again, other = (
        tiny_model_folder(tmp_path / name, seed) for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    weights = [(folder / "model.safetensors").read_bytes() for folder in (first, again, other)]
    assert weights[0] == weights[1] != weights[2]
