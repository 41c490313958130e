"""Every type and shape a file may have arrives as it is, in place or by way of other buffers."""

import os
import threading
from math import prod

import pytest
import torch
from safetensors.torch import load_file

from p2phub.errors import NoMemoryError, UnsupportedError, UsageError
from p2phub.formats.safetensors import DTYPE_BITS
from p2phub.formats.tensors import Tensor
from p2phub.inference.worker.placing import Upload, as_dtype, dtype_of, enough_memory, shape_of
from p2phub.inference.worker.weights import Weights
from tests.inference.worker.release_files import model_file, safetensors, spec_of

LOADED = [name for name in DTYPE_BITS if not name.startswith("F6")]
SHAPES = [[], [0], [3, 0, 2], [1], [7, 2], [300, 1024, 2]]


def entry(dtype: str, shape: list[int]) -> tuple[str, list[int], bytes]:
    if dtype == "F4" and not shape:
        shape = [2]
    length = prod(shape) * DTYPE_BITS[dtype] // 8
    data = b"\x01\x00" * (length // 2 + 1) if dtype == "BOOL" else os.urandom(length)
    return dtype, shape, data[:length]


def same(some, other) -> bool:
    if (some.dtype, some.shape) != (other.dtype, other.shape):
        return False
    return not some.numel() or bytes_of(some) == bytes_of(other)


def bytes_of(tensor) -> bytes:
    return tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def load_reference(tmp_path):
    return load_file(tmp_path / "model.safetensors")


def load(tmp_path, data: bytes, **how):
    with Weights(spec_of(model_file(tmp_path, "model.safetensors", data))) as weights:
        return weights.state_dict(**how)


@pytest.mark.parametrize("dtype", LOADED)
def test_a_type_arrives_as_safetensors_reads_it(tmp_path, dtype):
    data = safetensors(
        {
            str(n): entry(dtype, [*shape[:-1], 4 * shape[-1]] if shape else [])
            for n, shape in enumerate(SHAPES)
        }
    )
    found, expected = load(tmp_path, data), load_reference(tmp_path)
    assert found.keys() == expected.keys()
    assert all(same(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("dtype", ["F6_E2M3", "F6_E3M2", "NEW9"])
def test_a_type_that_torch_lacks_is_named(tmp_path, dtype):
    data = safetensors({"a.weight": (dtype, [4], b"abc")})
    with pytest.raises(UnsupportedError, match=rf"a\.weight .* {dtype}"):
        load(tmp_path, data)


def test_half_a_byte_at_the_end_of_a_row_is_refused():
    with pytest.raises(UnsupportedError, match="odd"):
        shape_of(Tensor("a", "F4", (2, 3), 0, 3))
    assert shape_of(Tensor("a", "F4", (2, 4), 0, 4)) == (2, 2)


def test_a_tensor_that_is_not_aligned_is_usable(tmp_path):
    data = safetensors({"odd": ("U8", [3], b"abc"), "real": entry("F32", [5000])})
    found = load(tmp_path, data)["real"]
    assert found.data_ptr() % 4 == 0
    assert same(found, load_reference(tmp_path)["real"])


def test_the_first_tensor_lies_where_vectors_like_it(tmp_path):
    data = safetensors({"a.first": entry("BF16", [1000, 1000]), "b": entry("BF16", [32])})
    assert load(tmp_path, data)["a.first"].data_ptr() % 64 == 0


def test_tensors_on_a_processor_are_writable_and_lie_in_one_buffer(tmp_path):
    found = load(tmp_path, safetensors({n: entry("F32", [64, 8192]) for n in "ab"}))
    assert found["b"].data_ptr() - found["a"].data_ptr() == 64 * 8192 * 4
    found["a"].zero_()
    assert not found["a"].any()


@pytest.mark.parametrize("wanted", ["float32", torch.bfloat16, "float16", "float64"])
def test_floating_point_is_converted_and_nothing_else(tmp_path, wanted):
    names = ("F64", "F32", "F16", "BF16", "I8", "I64", "BOOL", "F8_E4M3", "U8")
    large = {
        name + ".large": ("F32", [3000, 3000], torch.rand(3000, 3000).numpy().tobytes())
        for name in "ab"
    }
    small = {name: (name, [512], bytes(DTYPE_BITS[name] * 64)) for name in names}
    data = safetensors({"odd": ("U8", [1], b"x")} | small | large)
    found, expected = load(tmp_path, data, dtype=wanted), load_reference(tmp_path)
    kinds = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
    for name, tensor in expected.items():
        whole = tensor.to(as_dtype(wanted)) if tensor.dtype in kinds else tensor
        assert same(found[name], whole), name


def test_tensors_of_no_elements_are_converted(tmp_path):
    data = safetensors({"none": ("F16", [0, 3], b""), "some": entry("F16", [4])})
    found = load(tmp_path, data, dtype="float32")["none"]
    assert (found.dtype, found.shape) == (torch.float32, (0, 3))


@pytest.mark.parametrize("wrong", ["nn", "float33", "load", 3])
def test_what_is_no_type_is_refused(wrong):
    with pytest.raises(UsageError, match="no type"):
        as_dtype(wrong)


def test_a_tensor_knows_its_type():
    assert dtype_of(Tensor("a", "BF16", (), 0, 2)) == torch.bfloat16


@pytest.mark.parametrize("error", [MemoryError(), OSError(12, "no"), torch.OutOfMemoryError("no")])
def test_memory_that_ran_out_says_how_much_was_asked_for(error):
    with (
        pytest.raises(NoMemoryError, match="3 MiB of weights on cuda:0"),
        enough_memory(3 << 20, "cuda:0"),
    ):
        raise error


def test_a_buffer_is_filled_again_only_once_its_copy_is_done(monkeypatch):
    class Event:
        done = False

        def record(self, stream) -> None:
            assert stream == "copies"

        def synchronize(self) -> None:
            self.done = True

    monkeypatch.setattr(torch.cuda, "Event", Event)
    upload = Upload("cpu", None)
    upload._stream = "copies"
    used = []
    for _ in range(5):
        slot = upload.slot()
        assert all(event.done for other, event in used if other is slot)
        upload.sent(slot)
        used.append((slot, slot.copied))
    assert [event.done for _, event in used] == [True] * 4 + [False]


def test_each_thread_has_buffers_of_its_own():
    upload, found = Upload("cpu", None), []
    for _ in range(2):
        thread = threading.Thread(target=lambda: found.append(upload.slot()))
        thread.start()
        thread.join()
    assert found[0] is not found[1]
    assert found[0].bytes.data_ptr() != found[1].bytes.data_ptr()
