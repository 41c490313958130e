import tracemalloc
from array import array

import pytest

from p2phub.errors import MalformedError, WrongBytesError
from p2phub.formats.digest import blake3, sha256
from p2phub.formats.ids import ContentId
from p2phub.formats.limits import MANY_PIECES, MAX_PIECE, MAX_TABLE, MIN_CUT
from p2phub.formats.pieces import RECORD, PieceTable, max_pieces, max_table_bytes

PIECES = [bytes([i]) * length for i, length in enumerate([MAX_PIECE, 1, 70_000, 5])]


def make_table(pieces: list[bytes] = PIECES) -> PieceTable:
    return PieceTable.build([len(p) for p in pieces], [blake3(p) for p in pieces])


def packed(lengths: list[int]) -> bytes:
    return b"".join(length.to_bytes(4, "little") + bytes(32) for length in lengths)


def table_that_says(lengths: list[int], size: int) -> tuple[bytes, ContentId]:
    """A table whose digest is right, so that only its content can be refused."""
    data = packed(lengths)
    return data, ContentId(size, sha256(data))


def test_every_piece_is_where_the_lengths_before_it_put_it():
    table = make_table()
    assert table.count == 4
    assert table.size == MAX_PIECE + 70_006
    starts = [0, MAX_PIECE, MAX_PIECE + 1, MAX_PIECE + 70_001]
    assert [table.offset(i) for i in range(4)] == starts
    assert [table.length(i) for i in range(4)] == [len(p) for p in PIECES]
    assert [table.digest(i) for i in range(4)] == [blake3(p) for p in PIECES]
    assert table.offset(4) == table.size


def test_the_packed_table_is_length_then_digest_and_names_the_file():
    table = make_table()
    assert table.pack()[:RECORD] == (MAX_PIECE).to_bytes(4, "little") + blake3(PIECES[0])
    assert table.content_id == ContentId(table.size, sha256(table.pack()))
    assert PieceTable.unpack(table.pack(), table.content_id) == table


@pytest.mark.parametrize("index", range(4))
def test_only_the_right_bytes_are_a_piece(index):
    table = make_table()
    right = PIECES[index]
    assert table.check(index, right)
    assert table.check(index, memoryview(bytearray(right)))
    assert not table.check(index, right[:-1])
    assert not table.check(index, right + b"\0")
    assert not table.check(index, right[:-1] + bytes([right[-1] ^ 1]))


@pytest.mark.parametrize("index", [-1, 4])
def test_a_piece_that_is_not_there_is_a_bug_not_a_wrong_answer(index):
    with pytest.raises(IndexError):
        make_table().check(index, b"")


def test_checking_a_piece_does_not_copy_it():
    table = make_table()
    data = memoryview(PIECES[0])
    tracemalloc.start()
    try:
        assert table.check(0, data)
        assert tracemalloc.get_traced_memory()[1] < 65_536
    finally:
        tracemalloc.stop()


def test_one_changed_bit_of_a_table_is_wrong_bytes():
    table = make_table()
    data = bytearray(table.pack())
    for at in range(len(data)):
        data[at] ^= 1
        with pytest.raises(WrongBytesError):
            PieceTable.unpack(bytes(data), table.content_id)
        data[at] ^= 1


@pytest.mark.parametrize(
    ("lengths", "size"),
    [
        ([MAX_PIECE, 1], MAX_PIECE + 2),  # sums to less
        ([MAX_PIECE, 2], MAX_PIECE + 1),  # sums to more
        ([MAX_PIECE, 0, 1], MAX_PIECE + 1),  # a piece of nothing
        ([MAX_PIECE + 1], MAX_PIECE + 1),  # a piece over 1 MiB
        ([], MAX_PIECE + 1),  # no piece at all
    ],
)
def test_a_signed_table_that_breaks_a_rule_is_malformed(lengths, size):
    data, content = table_that_says(lengths, size)
    with pytest.raises(MalformedError):
        PieceTable.unpack(data, content)


def test_a_torn_table_is_malformed():
    data = packed([MAX_PIECE, 1])[:-1]
    with pytest.raises(MalformedError):
        PieceTable.unpack(data, ContentId(MAX_PIECE + 1, sha256(data)))


def test_a_file_cut_to_dust_is_refused_before_it_costs_memory():
    size = 2 * MAX_PIECE
    count = max_pieces(size) + 1
    data = bytes(RECORD * count)
    content = ContentId(size, sha256(data))
    tracemalloc.start()
    try:
        with pytest.raises(MalformedError, match="too many"):
            PieceTable.unpack(data, content)
        assert tracemalloc.get_traced_memory()[1] < 65_536
    finally:
        tracemalloc.stop()


def test_the_most_pieces_grow_with_the_size_and_never_fall_short_of_what_is_planned():
    assert [max_pieces(n) for n in (0, 1, MAX_PIECE)] == [0, 1, 1]
    assert max_pieces(MAX_PIECE + 1) >= MANY_PIECES
    assert max_pieces(1 << 36) >= 2 * (1 << 36) // MIN_CUT
    assert max_table_bytes(1 << 40) <= MAX_TABLE
    assert max_table_bytes(MAX_PIECE) == 0
    assert max_table_bytes(1 << 30) == RECORD * max_pieces(1 << 30) < 1 << 24


def test_a_small_file_is_one_piece_that_its_own_sha256_proves():
    content = ContentId(5, sha256(b"hello"))
    table = PieceTable.for_small(content)
    assert (table.count, table.size, table.length(0), table.offset(0)) == (1, 5, 5, 0)
    assert table.check(0, b"hello")
    assert not table.check(0, b"jello")
    assert table.pack() == b""
    assert PieceTable.unpack(b"", content) == table


def test_an_empty_file_has_no_piece():
    table = PieceTable.for_small(ContentId(0, sha256(b"")))
    assert (table.count, table.size) == (0, 0)
    assert table.pieces_covering(0, 0) == (0, 0)


def test_an_empty_file_with_another_digest_is_a_lie():
    with pytest.raises(MalformedError):
        PieceTable.for_small(ContentId(0, sha256(b"x")))


def test_a_table_never_passes_for_a_small_file_nor_a_small_file_for_a_table():
    small = ContentId(MAX_PIECE, sha256(packed([MAX_PIECE])))
    with pytest.raises(MalformedError):
        PieceTable.unpack(packed([MAX_PIECE]), small)
    with pytest.raises(MalformedError):
        PieceTable.for_small(ContentId(MAX_PIECE + 1, bytes(32)))
    with pytest.raises(MalformedError):
        PieceTable.build([MAX_PIECE], [bytes(32)])


def test_a_builder_cannot_sign_what_readers_refuse():
    with pytest.raises(MalformedError):
        PieceTable.build([MAX_PIECE + 1], [bytes(32)])
    with pytest.raises(MalformedError):
        PieceTable.build([1] * (max_pieces(MAX_PIECE + 1) + 1 + MAX_PIECE), [])
    with pytest.raises(MalformedError):
        PieceTable.build([MAX_PIECE, 1], [bytes(32), bytes(31)])


@pytest.mark.parametrize(
    ("start", "stop", "covering"),
    [
        (0, 1, (0, 1)),
        (0, MAX_PIECE, (0, 1)),
        (0, MAX_PIECE + 1, (0, 2)),
        (MAX_PIECE - 1, MAX_PIECE + 2, (0, 3)),
        (MAX_PIECE, MAX_PIECE + 1, (1, 1)),
        (MAX_PIECE + 1, MAX_PIECE + 70_006, (2, 2)),
        (0, MAX_PIECE + 70_006, (0, 4)),
        (7, 7, (0, 0)),
    ],
)
def test_a_byte_range_is_covered_by_the_fewest_pieces(start, stop, covering):
    assert make_table().pieces_covering(start, stop) == covering


@pytest.mark.parametrize(("start", "stop"), [(-1, 1), (2, 1), (0, MAX_PIECE + 70_007)])
def test_a_range_outside_the_file_is_a_bug(start, stop):
    with pytest.raises(ValueError, match="bytes"):
        make_table().pieces_covering(start, stop)


def test_a_million_pieces_are_lean():
    count = 1_000_000
    lengths = array("I", [MIN_CUT]) * count
    data = (MIN_CUT.to_bytes(4, "little") + bytes(32)) * count
    content = ContentId(count * MIN_CUT, sha256(data))
    tracemalloc.start()
    try:
        table = PieceTable.unpack(data, content)
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert table.count == len(lengths)
    assert table.offset(count) == content.size
    assert kept < 10 * count  # the packed bytes were there before; only the offsets are new
    assert peak < 70 * count
