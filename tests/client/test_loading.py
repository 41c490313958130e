"""Tensors by name: what is asked of the node, what is refused, and that they are the right ones."""

import builtins
import json

import pytest
import torch
from safetensors.torch import save

from p2phub.client.loading import INDEX, Slices, load_tensors
from p2phub.client.results import FileRow, Named
from p2phub.errors import MalformedError, NotFoundError, P2PHubError, UsageError
from p2phub.formats.limits import MAX_HEADER

COMMIT = "0123456789" * 4
torch.manual_seed(1)
WEIGHT = torch.randn(512, 256)
TENSORS = {
    "layer.weight": WEIGHT,
    "layer.bias": torch.arange(512, dtype=torch.int64),
    "norm": torch.randn(7).to(torch.bfloat16),
    "scale": torch.tensor(3.5),
    "mask": torch.tensor([True, False, True]),
    "empty": torch.empty(0, 4),
}


class Node:
    """Answers the calls of a load from files in memory, and keeps what it was asked."""

    def __init__(self, files):
        self.files = files
        self.read: list[tuple[str, int, int]] = []
        self.brought: list[tuple[str, int, int]] = []

    def answer(self, call):
        body = call.body or {}
        assert call.name == "resolve" or COMMIT in (body or call.query)["reference"]
        ranges = [(body["path"], *each) for each in body.get("ranges", ())]
        match call.name:
            case "resolve":
                return Named("lab/x@main", COMMIT)
            case "files":
                return [
                    FileRow(path, len(data), "", True, "", "none")
                    for path, data in self.files.items()
                ]
            case "ranges":
                self.brought += ranges
            case "read":
                self.read += ranges
                return b"".join(self.files[path][start:stop] for path, start, stop in ranges)
        return None

    def load(self, names=None, device="cpu", **how):
        steps = load_tensors("lab/x", names, device=device, slices=Slices(**how))
        answer = None
        try:
            while True:
                answer = self.answer(steps.send(answer))
        except StopIteration as end:
            return end.value


def same(some, other):
    return some.dtype == other.dtype and some.shape == other.shape and torch.equal(some, other)


@pytest.fixture
def node():
    return Node({"model.safetensors": save(TENSORS), "README.md": b"# x"})


def test_every_tensor_of_a_file_with_its_type_and_shape(node):
    loaded = node.load()
    assert loaded.keys() == TENSORS.keys()
    assert all(same(loaded[name], tensor) for name, tensor in TENSORS.items())
    loaded["norm"] += 1  # it is ours


def test_only_what_is_wanted_is_brought_after_the_header(node):
    assert list(node.load(["scale", "norm"])) == ["scale", "norm"]
    header = int.from_bytes(node.files["model.safetensors"][:8], "little") + 8
    assert node.read[:2] == [("model.safetensors", 0, 9), ("model.safetensors", 9, header)]
    assert sum(stop - start for _, start, stop in node.brought) == 14 + 4
    assert all(start >= header for _, start, stop in node.brought)


def shards():
    names = list(TENSORS)
    first, second = names[:2], names[2:]
    where = dict.fromkeys(first, "a.safetensors") | dict.fromkeys(second, "b.safetensors")
    return {
        INDEX: json.dumps({"weight_map": where}).encode(),
        "a.safetensors": save({name: TENSORS[name] for name in first}),
        "b.safetensors": save({name: TENSORS[name] for name in second}),
    }


def test_only_the_shard_that_has_a_tensor_is_looked_at():
    node = Node(shards())
    assert same(node.load(["norm"])["norm"], TENSORS["norm"])
    assert {path for path, *_ in node.read} == {INDEX, "b.safetensors"}
    assert all(same(tensor, TENSORS[name]) for name, tensor in node.load().items())


def test_files_without_an_index_are_looked_through_until_all_are_found():
    files = shards()
    del files[INDEX]
    node = Node(files)
    node.load(["layer.bias"])
    assert {path for path, *_ in node.read} == {"a.safetensors"}
    assert node.load().keys() == TENSORS.keys()


@pytest.mark.parametrize("rank", [0, 1, 2, 3])
def test_a_rank_gets_its_rows_and_columns(node, rank):
    split = {"*.weight": 0, "*.bias": 0}
    loaded = node.load(rank=rank, world=4, split=split)
    rows = slice(128 * rank, 128 * (rank + 1))
    assert same(loaded["layer.weight"], WEIGHT[rows])
    assert same(loaded["layer.bias"], TENSORS["layer.bias"][rows])
    assert same(loaded["norm"], TENSORS["norm"])
    loaded = node.load(["layer.weight"], rank=rank, world=4, split={"layer.*": 1})
    assert same(loaded["layer.weight"], WEIGHT[:, 64 * rank : 64 * (rank + 1)])


def test_rows_bring_their_own_bytes_and_columns_what_lies_between_them(node):
    node.load(["layer.weight"], slices={"layer.weight": (0, 5, 6)})
    ((_, start, stop),) = node.brought
    assert stop - start == 1024
    node.brought.clear()
    node.load(["layer.weight"], slices={"layer.weight": (1, 5, 6)})
    ((_, start, stop),) = node.brought
    assert stop - start == 511 * 1024 + 4
    assert sum(stop - start for _, start, stop in node.read[-512:]) == 512 * 4


@pytest.mark.parametrize(
    "wrong",
    [
        {"slices": {"layer.weight": (0, 5, 513)}},
        {"slices": {"layer.weight": (2, 0, 1)}},
        {"slices": {"scale": (0, 0, 1)}},
        {"rank": 0, "world": 3, "split": {"*.weight": 0}},
        {"rank": 0, "world": 2, "split": {"*": 0}},
        {"rank": 2, "world": 2},
        {"rank": 0},
        {"split": {"*": 0}},
        {"device": "abacus"},
    ],
)
def test_what_cannot_be_cut_or_placed_is_refused_before_anything_is_brought(node, wrong):
    with pytest.raises(UsageError):
        node.load(**wrong)
    assert not node.brought


def test_a_tensor_that_is_not_there_is_named_with_the_nearest_that_is(node):
    for each in (node, Node(shards())):
        with pytest.raises(NotFoundError, match=r"layer\.wieght") as caught:
            each.load(["layer.wieght"])
        assert "layer.weight" in caught.value.remedy
        assert not each.brought
    with pytest.raises(NotFoundError, match="nothing"):
        node.load(slices={"nothing": (0, 0, 1)})


def test_a_hostile_header_is_refused_before_it_is_read():
    length = (MAX_HEADER + 1).to_bytes(8, "little")
    for data in (length + b"{" + bytes(100), b"\xff" * 200, b"", b"{}"):
        node = Node({"model.safetensors": data})
        with pytest.raises(MalformedError, match=r"^model\.safetensors: "):
            node.load()
        assert sum(stop - start for _, start, stop in node.read) <= 9


@pytest.mark.parametrize(
    "index",
    [b"[]", b"{", b"{}", b'{"weight_map": []}', b'{"weight_map": {"a": 1}}', b"[" * 100_000],
)
def test_an_index_that_is_none_is_malformed(index):
    with pytest.raises(MalformedError):
        Node({**shards(), INDEX: index}).load()


def test_an_index_that_names_a_file_nobody_has_is_said_to(node):
    index = json.dumps({"weight_map": {"norm": "../secret"}}).encode()
    with pytest.raises(NotFoundError, match="secret"):
        Node({**node.files, INDEX: index}).load(["norm"])


def test_a_release_without_safetensors_has_no_tensors():
    with pytest.raises(NotFoundError, match="no safetensors"):
        Node({"README.md": b"# x"}).load()


def test_without_torch_the_extra_is_named(node, monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name == "torch":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(P2PHubError, match="torch") as caught:
        node.load()
    assert "inference" in caught.value.remedy
