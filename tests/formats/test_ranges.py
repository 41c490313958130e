"""Which ranges may be asked for, which pieces hold them, and where a slice of a tensor lies."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2phub.errors import UsageError
from p2phub.formats.pieces import PieceTable, Run
from p2phub.formats.ranges import (
    MAX_RANGES,
    batches,
    both,
    check_ranges,
    covering,
    slice_ranges,
    spans,
)
from p2phub.formats.tensors import Tensor

TABLE = PieceTable.build([1 << 20, 5, 6, 7, 8], [bytes(32)] * 5)
MIB = 1 << 20


@pytest.mark.parametrize("wrong", [(-1, 2), (3, 2), (0, 11), (1,), (1, 2, 3), ()])
def test_what_is_no_range_of_the_file_is_refused(wrong):
    with pytest.raises(UsageError):
        check_ranges([(0, 1), wrong], 10)


def test_too_much_for_one_call_is_refused():
    check_ranges([(0, 10)] * 3, 10, most=30)
    with pytest.raises(UsageError, match="30 bytes"):
        check_ranges([(0, 10)] * 3, 10, most=29)
    with pytest.raises(UsageError, match="ranges"):
        check_ranges([(0, 1)] * (MAX_RANGES + 1), 10)


def test_the_pieces_that_hold_ranges_come_in_order_and_once():
    ranges = [(MIB + 12, MIB + 13), (0, 1), (5, 9), (MIB - 1, MIB + 1), (7, 7)]
    assert covering(TABLE, ranges) == [Run(0, 2), Run(3, 1)]
    assert covering(TABLE, [(0, TABLE.size)]) == [Run(0, 5)]
    assert covering(TABLE, [(0, TABLE.size), (3, 4)]) == [Run(0, 5)]
    assert covering(TABLE, []) == []


RUNS = st.lists(st.integers(0, 30), max_size=20).map(
    lambda indexes: [Run(index, 1) for index in sorted(set(indexes))]
)


@given(RUNS, RUNS)
def test_pieces_that_are_in_both_lists(some, others):
    def pieces(runs):
        return {index for run in runs for index in range(run.first, run.first + run.count)}

    assert pieces(both(some, others)) == pieces(some) & pieces(others)


def test_spans_close_small_gaps_only():
    ranges = [(0, 4), (4, 6), (5, 5), (9, 10), (20, 22)]
    assert list(spans(ranges)) == [(0, 6), (9, 10), (20, 22)]
    assert list(spans(ranges, gap=3)) == [(0, 10), (20, 22)]
    assert list(spans([])) == []


def test_calls_are_neither_too_long_nor_too_many():
    ranges = [(n, n + 1) for n in range(0, 20_000, 2)]
    calls = list(batches(ranges))
    assert [len(call) for call in calls] == [4096, 4096, 1808]
    assert list(itertools.chain(*calls)) == ranges
    assert list(batches([(0, 100), (5, 5)], most=40)) == [[(0, 40)], [(40, 80)], [(80, 100)]]
    assert list(batches([(0, 1 << 40)], most=None)) == [[(0, 1 << 40)]]


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.data())
def test_a_slice_lies_where_its_elements_lie(shape, data):
    """Each element of the tensor is its own number; the slice is compared with an honest walk."""
    size = 2
    count = 1
    for length in shape:
        count *= length
    tensor = Tensor("t", "F16", tuple(shape), 10, 10 + size * count)
    dim = data.draw(st.integers(0, len(shape) - 1))
    start = data.draw(st.integers(0, shape[dim]))
    stop = data.draw(st.integers(start, shape[dim]))
    found = [
        at for first, end in slice_ranges(tensor, dim, start, stop) for at in range(first, end)
    ]
    expected = []
    for number, index in enumerate(itertools.product(*map(range, shape))):
        if start <= index[dim] < stop:
            expected += [10 + size * number, 10 + size * number + 1]
    assert found == expected


@pytest.mark.parametrize("wrong", [(2, 0, 1), (-1, 0, 1), (0, 0, 3), (0, 2, 1), (0, -1, 1)])
def test_a_slice_that_is_not_there_is_refused(wrong):
    with pytest.raises(UsageError):
        slice_ranges(Tensor("t", "U8", (2, 4), 0, 8), *wrong)


def test_a_tensor_is_not_cut_inside_a_byte():
    with pytest.raises(UsageError, match="inside a byte"):
        slice_ranges(Tensor("t", "F4", (3, 2), 0, 3), 1, 0, 1)


def test_a_slice_of_a_billion_rows_takes_no_memory():
    rows = slice_ranges(Tensor("t", "U8", (1 << 30, 2), 0, 2 << 30), 1, 1, 2)
    assert list(itertools.islice(rows, 2)) == [(1, 2), (3, 4)]
