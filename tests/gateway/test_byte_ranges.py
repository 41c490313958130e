"""Range headers ask for parts of a file, and for no more than the file."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2phub.gateway.byte_ranges import MAX_PARTS, TooManyRangesError, parse


@pytest.mark.parametrize(
    ("header", "ranges"),
    [
        ("bytes=0-0", [(0, 1)]),
        ("bytes=5-", [(5, 10)]),
        ("bytes=-3", [(7, 10)]),
        ("bytes=-30", [(0, 10)]),
        ("bytes=2-99999999", [(2, 10)]),
        ("Bytes=1-2", [(1, 3)]),
        ("bytes= 0-1 , 4-5", [(0, 2), (4, 6)]),
        ("bytes=4-5,0-1", [(0, 2), (4, 6)]),
        ("bytes=0-5,3-8,9-9", [(0, 10)]),
        ("bytes=10-", []),
        ("bytes=10-,0-1", [(0, 2)]),
        ("bytes=-0", []),
    ],
)
def test_ranges_that_are(header, ranges):
    assert parse(header, 10) == ranges


@pytest.mark.parametrize(
    "header",
    ["", "bytes", "bytes=", "bytes=-", "bytes=5-2", "bytes=a-b", "lines=0-1", "bytes=1-2-3"],
)
def test_what_is_no_range_is_as_good_as_not_sent(header):
    assert parse(header, 10) is None


def test_ten_thousand_ranges_are_refused_at_once():
    many = "bytes=" + ",".join(f"{n}-{n}" for n in range(0, 20_000, 2))
    with pytest.raises(TooManyRangesError):
        parse(many, 1_000_000)
    assert len(parse("bytes=" + ",".join(f"{2 * n}-{2 * n}" for n in range(MAX_PARTS)), 999)) == (
        MAX_PARTS
    )


@given(st.text(alphabet="bytes=0123456789-, ", max_size=60), st.integers(0, 300))
def test_whatever_is_asked_for_lies_in_the_file_once(header, size):
    ranges = parse(f"bytes={header}", size) or []
    flat = [edge for each in ranges for edge in each]
    assert flat == sorted(flat)
    assert all(0 <= start < stop <= size for start, stop in ranges)
    assert sum(stop - start for start, stop in ranges) <= size
