"""Parameters are counted from headers when a release is made, and never guessed."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from p2phub.formats.manifest import Card, FileEntry
from p2phub.node.parameters import FIRST, counted
from p2phub.store.layout import Layout
from p2phub.store.store import Store
from p2phub.testing.files import make_safetensors

TENSORS = {"a": ("F16", (3, 5)), "b": ("I64", (7,)), "scalar": ("F32", ())}
COUNT = 3 * 5 + 7 + 1


@pytest.fixture
def keep(tmp_path):
    """Puts files into a store, and gives their entries."""
    store = Store.open(Layout.of(tmp_path / "home"))

    def kept(**files):
        return [entry(store, tmp_path, name, data) for name, data in files.items()]

    kept.services = SimpleNamespace(store=store)
    yield kept
    store.close()


def entry(store, folder, name, data):
    (folder / "file").write_bytes(data)
    found = store.blobs.ingest(folder / "file")
    path = (name.replace("__", "-") + ".safetensors",)
    return FileEntry(path, len(data), found.sha256, found.content)


def test_of_one_file_and_of_shards(keep):
    (whole,) = keep(model=make_safetensors(TENSORS, 1))
    shards = keep(
        model__00001__of__00002=make_safetensors(TENSORS, 2),
        model__00002__of__00002=make_safetensors({"c": ("F32", (10,))}, 3),
    )
    others = keep(adapter_model=make_safetensors(TENSORS, 4))
    card = Card(license="mit")
    assert counted(keep.services, card, [whole, *others]) == replace(card, parameters=COUNT)
    assert counted(keep.services, card, shards).parameters == COUNT + 10
    assert counted(keep.services, card, [whole, *shards]).parameters == COUNT
    assert counted(keep.services, card, others).parameters == 0


def test_of_a_header_that_is_longer_than_what_is_read_first(keep):
    many = {f"layer.{number}.{'x' * 60}": ("F32", (2,)) for number in range(1500)}
    data = make_safetensors(many, 1)
    assert int.from_bytes(data[:8], "little") > FIRST
    assert counted(keep.services, Card(), keep(model=data)).parameters == 3000


@pytest.mark.parametrize(
    "data",
    [b"", b"x" * 9, (2**40).to_bytes(8, "little") + b"{}", b"\xff" * 99],
    ids=["empty", "short", "a header of a terabyte", "noise"],
)
def test_a_file_that_is_no_safetensors_has_no_number_and_spoils_that_of_the_others(keep, data):
    files = keep(model__00001__of__00002=make_safetensors(TENSORS, 1), model__00002__of__00002=data)
    assert counted(keep.services, Card(), files).parameters == 0


def test_a_number_holds_as_long_as_the_weights_do_though_they_are_not_here(keep):
    (whole,) = keep(model=make_safetensors(TENSORS, 1))
    before = SimpleNamespace(files=(whole,), card=Card(parameters=COUNT))
    keep.services.store.blobs.remove(whole.content)
    assert counted(keep.services, Card(), [whole], before).parameters == COUNT
    assert counted(keep.services, Card(parameters=COUNT), [whole]).parameters == 0
    (other,) = keep(model=make_safetensors({"a": ("F32", (4,))}, 1))
    assert counted(keep.services, Card(), [other], before).parameters == 4
    assert counted(keep.services, Card(parameters=COUNT), [], before).parameters == 0
