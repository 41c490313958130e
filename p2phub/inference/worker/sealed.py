"""Tensors in memory that several processes share and none can change.

The worker reads and checks every byte of a file once, into a sealed memory file (`weights`). Each
process that shares the model maps that memory, and takes its tensors from it: nothing is read from
a disk again, and the whole of the model is in the memory of this machine once, however many share.

Rules it keeps:
 * a memory file without its seals is refused: somebody could change it;
 * what a process writes to its tensors is its own, and reaches no other.
"""

import fcntl
import mmap
import os
from collections.abc import Mapping
from typing import Any, Final

import torch

from p2phub.errors import MalformedError
from p2phub.formats import weights
from p2phub.formats.tensors import Header, More, Tensor
from p2phub.inference.worker.placing import dtype_of, shape_of

SEALS: Final = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL


def sealed_tensors(files: Mapping[str, int]) -> dict[str, Any]:
    """Every tensor of these memory files, by its name. `files`: descriptors, by names for errors.

    They live as long as the tensors, whoever closes the descriptors. Raises `MalformedError`.
    """
    found: dict[str, Any] = {}
    for name, descriptor in files.items():
        if fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & SEALS != SEALS:
            raise MalformedError(f"the memory of {name} is not sealed")
        found.update(_tensors(descriptor))
    return found


def _tensors(descriptor: int) -> dict[str, Any]:
    size = os.fstat(descriptor).st_size
    memory = mmap.mmap(descriptor, size, flags=mmap.MAP_PRIVATE)
    return {each.name: _tensor(memory, each) for each in _header(memory, size).tensors}


def _header(memory: mmap.mmap, size: int) -> Header:
    found = weights.parse(memory[: weights.SNIFF], size)
    while isinstance(found, More):
        found = weights.parse(memory[: found.total], size)
    return found


def _tensor(memory: mmap.mmap, tensor: Tensor) -> Any:
    dtype, shape = dtype_of(tensor), shape_of(tensor)
    length = tensor.stop - tensor.start
    if not length:
        return torch.empty(shape, dtype=dtype)
    flat = torch.frombuffer(memory, dtype=torch.uint8, count=length, offset=tensor.start)
    if tensor.start % dtype.itemsize:
        flat = flat.clone()
    return flat.view(dtype).view(shape)
