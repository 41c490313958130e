"""The memory of GGUF models, by their headers: caches of each kind, and the context they get."""

import pytest

from p2phub.errors import MalformedError
from p2phub.formats.tensors import Header, Tensor
from p2phub.inference.fit_gguf import BATCH, CACHE, shape_of
from p2phub.inference.spec import RunOptions


def header(*tensors):
    made = []
    for number, (dtype, size) in enumerate(tensors):
        made.append(Tensor(str(number), dtype, (size,), 0, size))
    return Header("gguf", 0, tuple(made))


def metadata(architecture="llama", **said):
    given = {"block_count": 30, "embedding_length": 576, "attention.head_count": 9}
    given |= {"attention.head_count_kv": 3, "context_length": 8192} | said
    return {"general.architecture": architecture} | {
        f"{architecture}.{name}": value for name, value in given.items()
    }


SMOL = shape_of(metadata(), [header(("Q4_1", 90), ("F32", 10))])


def test_parts_of_one_model_are_added_and_the_type_is_that_of_most_bytes():
    shape = shape_of(metadata(), [header(("F32", 10)), header(("Q4_K", 50), ("Q6_K", 20))])
    assert (shape.weight_bytes, shape.dtype, shape.quantized) == (80, "Q4_K", True)


def test_a_cache_is_whole_blocks_of_each_slot():
    each = 30 * 3 * 64 * 2 * 2
    assert SMOL.cache_bytes(512, 4) == 512 * 4 * each
    assert SMOL.cache_bytes(500, 1) == 512 * each


def test_each_layer_may_have_its_own_number_of_heads():
    heads = (3,) * 10 + (0,) * 20
    shape = shape_of(metadata(**{"attention.head_count_kv": heads}), [header()])
    assert shape.cache_bytes(256, 1) * 3 == SMOL.cache_bytes(256, 1)


def test_layers_with_a_window_keep_the_window_only():
    said = {"attention.sliding_window": 512}
    gemma = shape_of(metadata("gemma3", **said), [header()])
    each = 3 * 64 * 2 * 2
    assert gemma.cache_bytes(8192, 1) == each * (5 * 8192 + 25 * (512 + BATCH))
    assert shape_of(metadata("llama", **said), [header()]).window == 0


def test_keys_may_be_of_another_length_than_values():
    said = {"attention.key_length": 192, "attention.value_length": 128}
    assert shape_of(metadata(**said), [header()]).cache_bytes(256, 1) == 256 * 30 * 3 * 320 * 2


@pytest.mark.parametrize(
    ("options", "room"),
    [
        (RunOptions(context=100, slots=2), (100, 2)),
        (RunOptions(context=100_000, slots=1), (8192, 1)),
        (RunOptions(slots=1), (8192, 1)),
        (RunOptions(slots=1, cache_bytes=1 << 20), (512, 1)),
    ],
)
def test_the_context_is_what_is_said_or_what_has_room(options, room):
    assert SMOL.room(options) == room


def test_unless_told_otherwise_the_cache_stays_within_its_bound():
    context, slots = shape_of(metadata(context_length=1 << 20), [header()]).room(RunOptions())
    size = SMOL.cache_bytes(context, slots)
    assert CACHE / 2 < size <= CACHE


@pytest.mark.parametrize("wrong", ["x", -1, 2**63, 0.5, float("nan"), (), (1, -1), ("a",), True])
@pytest.mark.parametrize("architecture", ["llama", "gemma3"])
@pytest.mark.parametrize(
    "key",
    [
        "block_count",
        "embedding_length",
        "context_length",
        "vocab_size",
        "attention.head_count",
        "attention.head_count_kv",
        "attention.key_length",
        "attention.value_length",
        "attention.sliding_window",
    ],
)
def test_what_is_no_number_of_anything_is_a_broken_header(key, architecture, wrong):
    said = metadata(architecture, **{key: wrong})
    if key == "attention.sliding_window" and architecture == "llama":
        assert shape_of(said, []).window == 0, "it has none, and nobody asks"
        return
    with pytest.raises(MalformedError, match=key):
        shape_of(said, [])


def test_a_tower_of_layers_is_not_built():
    with pytest.raises(MalformedError, match="2147483648 layers"):
        shape_of(metadata(block_count=1 << 31), [])
