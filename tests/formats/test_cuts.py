import tracemalloc

import pytest

from p2phub.formats.cuts import ContentCuts, certain_cuts, cut_all
from p2phub.formats.limits import MAX_PIECE, MIN_CUT
from p2phub.testing.files import random_bytes

DATA = random_bytes("cuts", 6_000_000)


def cut_in(parts: list[bytes]) -> list[int]:
    cuts = ContentCuts()
    lengths = [length for part in parts for length in cuts.feed(part)]
    return lengths + cuts.finish()


def in_parts(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def digests(data: bytes) -> list[bytes]:
    pieces, at = [], 0
    for length in cut_all(data):
        pieces.append(data[at : at + length])
        at += length
    return pieces


def test_pieces_cover_everything_and_keep_their_bounds():
    lengths = cut_all(DATA)
    assert sum(lengths) == len(DATA)
    assert all(MIN_CUT <= length <= MAX_PIECE for length in lengths[:-1])
    assert 200_000 < len(DATA) / len(lengths) < 450_000


@pytest.mark.parametrize("size", [1000, 65_536, 1 << 20, (1 << 20) + 1, 1_500_000, 5_999_999])
def test_the_parts_that_bytes_arrive_in_do_not_matter(size):
    assert cut_in(in_parts(DATA, size)) == cut_all(DATA)


def test_one_byte_at_a_time_equals_whole():
    data = DATA[:300_000]
    assert cut_in(in_parts(data, 1)) == cut_all(data)


def test_a_cut_is_told_as_soon_as_it_is_certain():
    cuts = ContentCuts()
    told = 0
    for at in range(0, len(DATA), 100_000):
        told += sum(cuts.feed(DATA[at : at + 100_000]))
        assert at + 100_000 - told <= MAX_PIECE + 100_000


def test_bytes_without_any_content_are_cut_at_the_longest():
    assert cut_all(bytes(3 * MAX_PIECE)) == [MAX_PIECE] * 3
    assert cut_in(in_parts(bytes(3 * MAX_PIECE), MAX_PIECE)) == [MAX_PIECE] * 3


def test_nothing_has_no_piece():
    assert cut_all(b"") == []
    assert ContentCuts().feed(b"") == []


@pytest.mark.parametrize("at", [0, 1_000_000, 3_333_333])
def test_an_inserted_line_moves_nothing_but_its_own_piece(at):
    before = digests(DATA)
    after = digests(DATA[:at] + b"one more row\n" + DATA[at:])
    new = [piece for piece in after if piece not in before]
    assert sum(map(len, new)) <= 3 * MAX_PIECE
    assert len(new) <= 3


def test_large_parts_are_cut_without_a_copy():
    cuts = ContentCuts()
    tracemalloc.start()
    try:
        for part in (DATA, DATA):
            cuts.feed(memoryview(part))
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_a_mutable_part_may_be_reused_at_once():
    window, cuts, lengths = bytearray(1 << 20), ContentCuts(), []
    for part in in_parts(DATA, 1 << 20):
        window[: len(part)] = part
        lengths += cuts.feed(memoryview(window)[: len(part)])
        window[:] = bytes(len(window))
    window.clear()  # fails if anything still holds on to it
    assert lengths + cuts.finish() == cut_all(DATA)


@pytest.mark.parametrize("size", [1000, 65_537, 1 << 20, 3_000_001])
@pytest.mark.parametrize("data", [DATA, bytes(3_500_000), b"ab" * 1_000_000], ids=len)
def test_a_window_that_begins_with_what_was_not_certain_is_cut_like_the_whole(data, size):
    lengths, rest = [], b""
    for part in in_parts(data, size):
        window = rest + part
        found = list(certain_cuts(window))
        lengths += found
        rest = window[sum(found) :]
        assert len(rest) < MAX_PIECE
    assert lengths + cut_all(rest) == cut_all(data)


def test_a_window_that_ends_with_the_longest_piece_leaves_nothing():
    assert list(certain_cuts(bytes(2 * MAX_PIECE))) == [MAX_PIECE] * 2
    assert list(certain_cuts(b"")) == []


def test_a_piece_of_a_window_is_looked_for_when_it_is_asked_for():
    window = bytearray(DATA)
    cuts = certain_cuts(memoryview(window))
    first = next(cuts)
    window[first:] = bytes(len(window) - first)
    assert first == cut_all(DATA)[0]
    assert next(cuts) == MAX_PIECE
