"""Weights reach a CUDA device through pinned buffers, checked in those buffers."""

import random

import pytest
import torch
from safetensors.torch import save

from p2phub.errors import DamagedBlobError, NoMemoryError
from p2phub.inference.spec import RunOptions
from p2phub.inference.worker.device import choose
from p2phub.inference.worker.weights import Weights
from tests.inference.worker.release_files import model_file, safetensors, spec_of
from tests.inference.worker.test_verified import flip

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def tensors():
    """More than all buffers hold together, so that each is used again and again."""
    made = torch.Generator().manual_seed(3)
    large = {f"layer.{n}": torch.rand(3001, 3001, generator=made) for n in range(12)}
    small = {f"norm.{n}": torch.rand(n, generator=made) for n in range(9)}
    return large | small | {"count": torch.arange(7)}


@pytest.fixture
def spec(tmp_path, tensors):
    return spec_of(model_file(tmp_path, "model.safetensors", save(tensors), piece=1 << 20))


@pytest.mark.parametrize("dtype", [None, "float32", "bfloat16"])
@pytest.mark.parametrize("again", range(3))
def test_every_tensor_arrives_as_it_is(spec, tensors, dtype, again):
    with Weights(spec) as weights:
        found = weights.state_dict("cuda:0", dtype)
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        wanted = tensor.to(getattr(torch, dtype)) if dtype and name != "count" else tensor
        assert found[name].device == torch.device("cuda:0")
        assert torch.equal(found[name].cpu(), wanted), name


def test_a_wrong_piece_gives_no_tensor_and_leaves_no_memory(spec):
    table = spec.files[0].table()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    for piece in random.Random(1).sample(range(1, table.count), 5):
        flip(spec.files[0].where, table.offset(piece) + 5)
        with Weights(spec) as weights, pytest.raises(DamagedBlobError, match=f"piece {piece} "):
            weights.state_dict("cuda:0")
        flip(spec.files[0].where, table.offset(piece) + 5)
    assert torch.cuda.memory_allocated() == before


def test_a_model_that_does_not_fit_is_refused_before_it_is_read(tmp_path):
    free, _ = torch.cuda.mem_get_info()
    holding = torch.empty(free - (256 << 20), dtype=torch.uint8, device="cuda:0")
    data = safetensors({"large": ("U8", [512 << 20], bytes(512 << 20))})
    spec = spec_of(model_file(tmp_path, "model.safetensors", data, piece=1 << 20))
    with Weights(spec) as weights:
        with pytest.raises(NoMemoryError, match="512 MiB of weights on cuda:0"):
            weights.state_dict("cuda:0")
        assert weights.read_bytes == 0
    del holding


def test_a_gpu_is_chosen_where_there_is_one():
    placement = choose(RunOptions(threads=1))
    assert placement.device.startswith("cuda:")
    assert placement.dtype in ("bfloat16", "float16")
