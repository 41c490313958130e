"""A tensor as a byte range of a file: what the headers of all weights files have in common.

The parsers of safetensors and GGUF are given the first bytes of a file and its size. They answer
with a `Header`, or with `More`, the bytes they want to see first; they never read past what they
were given, and raise `MalformedError` for a header that is hostile or not what its format says.

>>> in_order([Tensor("b", "U8", (2,), 12, 14), Tensor("a", "U8", (4,), 8, 12)], 8, 14)[0].name
'a'
>>> More(9)
More(total=9)
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod

from p2phub.errors import MalformedError
from p2phub.formats.limits import MAX_DIMENSIONS, MAX_TENSOR_ELEMENTS, MAX_TENSORS


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor: the bytes [start, stop) of its file, and what they mean."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Header:
    """What a weights file says of itself: its header ends at `length`; tensors by their start."""

    format: str
    length: int
    tensors: tuple[Tensor, ...]


@dataclass(frozen=True, slots=True)
class More:
    """The first `total` bytes of the file are needed to go on."""

    total: int


def elements(name: str, shape: Sequence[int]) -> int:
    """The number of elements of a tensor of this shape, once the shape is a sane one.

    >>> elements("a", (2, 3)), elements("scalar", ())
    (6, 1)
    """
    if len(shape) > MAX_DIMENSIONS:
        raise MalformedError(f"tensor {name!r} has more than {MAX_DIMENSIONS} dimensions")
    if any(length < 0 or length > MAX_TENSOR_ELEMENTS for length in shape):
        raise MalformedError(f"tensor {name!r} has a length that no file can hold")
    return prod(shape)


def check_count(count: int) -> None:
    """Refuse more tensors than any reader of the piece table allows for."""
    if count > MAX_TENSORS:
        raise MalformedError(f"{count} tensors in one file; {MAX_TENSORS} is the most")


def in_order(tensors: Iterable[Tensor], header: int, size: int) -> tuple[Tensor, ...]:
    """The tensors by their start, once they lie after the header, in the file and apart."""
    ordered = tuple(sorted(tensors, key=lambda tensor: (tensor.start, tensor.stop)))
    end = header
    for tensor in ordered:
        if not end <= tensor.start <= tensor.stop:
            raise MalformedError(f"tensor {tensor.name!r} overlaps what lies before it")
        end = tensor.stop
    if end > size:
        raise MalformedError(f"tensors end at byte {end} of a file of {size} bytes")
    return ordered
