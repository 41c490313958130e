import pytest

from p2phub.errors import MalformedError
from p2phub.formats.limits import MAX_DIMENSIONS, MAX_TENSORS
from p2phub.formats.tensors import Tensor, check_count, elements, in_order


def tensor(start: int, stop: int, name: str = "t") -> Tensor:
    return Tensor(name, "U8", (stop - start,), start, stop)


def test_tensors_come_in_the_order_of_the_file():
    late, early, empty = tensor(10, 20), tensor(5, 10), tensor(10, 10)
    assert in_order([late, early, empty], header=5, size=20) == (early, empty, late)


@pytest.mark.parametrize(
    "tensors",
    [
        [tensor(4, 10)],  # in the header
        [tensor(5, 21)],  # beyond the file
        [tensor(5, 12), tensor(11, 20)],  # overlapping
        [tensor(5, 10), tensor(5, 10)],  # the same bytes twice
        [tensor(9, 6)],  # backwards
    ],
)
def test_bytes_that_are_not_a_tensors_own_are_refused(tensors):
    with pytest.raises(MalformedError):
        in_order(tensors, header=5, size=20)


@pytest.mark.parametrize("shape", [(-1,), (2**53 + 1,), (1,) * (MAX_DIMENSIONS + 1)])
def test_a_shape_that_no_tensor_has_is_refused(shape):
    with pytest.raises(MalformedError):
        elements("t", shape)


def test_a_shape_multiplies_to_its_elements():
    assert [elements("t", shape) for shape in ((), (0, 5), (2, 3, 4))] == [1, 0, 24]


def test_more_tensors_than_readers_allow_for_are_refused():
    check_count(MAX_TENSORS)
    with pytest.raises(MalformedError):
        check_count(MAX_TENSORS + 1)
