"""Tensors that processes share: from memory that nobody can change; each has its own writes."""

import os

import pytest

pytest.importorskip("torch", reason="needs p2phub[inference]")
import torch

from p2phub.errors import MalformedError
from p2phub.inference.worker.sealed import sealed_tensors
from p2phub.inference.worker.weights import Weights
from tests.inference.worker.release_files import model_file, safetensors, spec_of

VALUES = torch.arange(6, dtype=torch.float32)
TENSORS = {
    "a": ("F32", [2, 3], VALUES.numpy().tobytes()),
    "odd": ("U8", [3], b"xyz"),
    "b": ("F32", [6], VALUES.numpy().tobytes()),
    "none": ("F32", [0, 4], b""),
}


@pytest.fixture
def weights(tmp_path):
    with Weights(spec_of(model_file(tmp_path, "model.safetensors", safetensors(TENSORS)))) as made:
        yield made


def test_they_are_what_the_file_says_wherever_they_lie(weights):
    found = sealed_tensors(weights.sealed())
    assert torch.equal(found["a"], VALUES.view(2, 3))
    assert torch.equal(found["b"], VALUES)
    assert bytes(found["odd"].tolist()) == b"xyz"
    assert found["none"].shape == (0, 4)


def test_what_one_writes_is_its_own(weights):
    files = weights.sealed()
    mine, other = sealed_tensors(files), sealed_tensors(files)
    mine["a"].zero_()
    assert torch.equal(other["a"], VALUES.view(2, 3))


def test_they_live_on_when_the_files_are_closed(weights):
    found = sealed_tensors(weights.sealed())
    weights.close()
    assert torch.equal(found["b"], VALUES)


def test_memory_that_somebody_could_change_is_refused(weights):
    (sealed,) = weights.sealed().values()
    open_one = os.memfd_create("x", os.MFD_ALLOW_SEALING)
    try:
        os.write(open_one, os.pread(sealed, 1 << 20, 0))
        with pytest.raises(MalformedError, match="not sealed"):
            sealed_tensors({"x": open_one})
    finally:
        os.close(open_one)


def test_a_tensor_that_two_files_have_is_refused(tmp_path):
    data = safetensors(TENSORS)
    names = [f"model-0000{at}-of-00002.safetensors" for at in (1, 2)]
    spec = spec_of(*(model_file(tmp_path, name, data) for name in names))
    with Weights(spec) as weights, pytest.raises(MalformedError, match="another file too"):
        weights.sealed()
