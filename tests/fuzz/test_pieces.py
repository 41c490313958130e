"""Piece tables out of thin air: parse or our own error, and what parses is what was meant."""

from hypothesis import given
from hypothesis import strategies as st

from p2phub.errors import UntrustedError
from p2phub.formats.digest import sha256
from p2phub.formats.ids import ContentId
from p2phub.formats.limits import MAX_PIECE
from p2phub.formats.pieces import RECORD, PieceTable

LENGTHS = st.lists(st.integers(1, MAX_PIECE), min_size=1, max_size=50)
RECORDS = st.lists(st.tuples(st.integers(0, 2 * MAX_PIECE), st.binary(min_size=32, max_size=32)))


@given(data=st.binary(max_size=400), size=st.integers(0, 4 * MAX_PIECE))
def test_noise_is_never_a_table_of_another_digest(data, size):
    try:
        table = PieceTable.unpack(data, ContentId(size, sha256(b"what was signed")))
    except UntrustedError:
        return
    assert (data, table.count) == (b"", 1)  # a small file needs no table


@given(records=RECORDS, size=st.integers(MAX_PIECE + 1, 8 * MAX_PIECE), true_sum=st.booleans())
def test_a_signed_table_parses_to_itself_or_is_our_own_error(records, size, true_sum):
    data = b"".join(length.to_bytes(4, "little") + digest for length, digest in records)
    total = sum(length for length, _ in records)
    if true_sum and total > MAX_PIECE:
        size = total
    content = ContentId(size, sha256(data))
    try:
        table = PieceTable.unpack(data, content)
    except UntrustedError:
        return
    assert table.pack() == data
    assert [(table.length(i), table.digest(i)) for i in range(table.count)] == records
    assert sum(length for length, _ in records) == size


@given(lengths=LENGTHS, data=st.data())
def test_the_pieces_that_cover_a_range_are_those_that_touch_it(lengths, data):
    lengths = [MAX_PIECE, *lengths]
    table = PieceTable.build(lengths, [bytes(32)] * len(lengths))
    start = data.draw(st.integers(0, table.size))
    stop = data.draw(st.integers(start, table.size))
    first, count = table.pieces_covering(start, stop)
    touched = [
        i
        for i in range(table.count)
        if table.offset(i) < stop and start < table.offset(i + 1) and start < stop
    ]
    assert list(range(first, first + count)) == touched


@given(cut=st.integers(0, 3 * RECORD - 1))
def test_a_table_cut_short_anywhere_is_refused(cut):
    table = PieceTable.build([MAX_PIECE, 2, 3], [bytes(32)] * 3)
    try:
        PieceTable.unpack(table.pack()[:cut], table.content_id)
    except UntrustedError:
        return
    raise AssertionError("a table cut short was believed")
