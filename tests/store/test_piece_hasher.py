"""Pieces that are planned and hashed while a file passes by."""

import tracemalloc

import pytest

from p2phub.errors import FileChangedError
from p2phub.formats.digest import blake3
from p2phub.formats.limits import MAX_PIECE
from p2phub.formats.pieces import PieceTable
from p2phub.formats.planner import PiecePlanner
from p2phub.store.piece_hasher import NOTHING, PieceHasher
from p2phub.testing.files import make_gguf, make_safetensors, random_bytes

SHAPES = {f"t{n}": ("F32", (256, 300)) for n in range(9)}
FILES = {
    "safetensors": make_safetensors(SHAPES, seed=1),
    "gguf": make_gguf(SHAPES),
    "noise": random_bytes("noise", 3_000_000),
    "zeros": bytes(3_500_000),
    "one byte more than a piece": random_bytes("b", MAX_PIECE + 1),
    "says that it has a header": (3_000_000).to_bytes(8, "little")
    + b"{"
    + random_bytes("liar", 4_000_000),
}


@pytest.fixture(params=FILES)
def data(request):
    return FILES[request.param]


def planned(data):
    """The table as the planner has it when it sees all at once."""
    planner = PiecePlanner(len(data))
    lengths = planner.feed(data) + planner.finish()
    digests, offset = [], 0
    for length in lengths:
        digests.append(blake3(data[offset : offset + length]))
        offset += length
    return PieceTable.build(lengths, digests)


def hashed(data, step, size=None):
    """The table, and the most that was ever given back."""
    hasher, rest, most = PieceHasher(len(data) if size is None else size), NOTHING, 0
    for start in range(0, len(data), step):
        rest = hasher.feed(memoryview(bytes(rest) + data[start : start + step]))
        most = max(most, len(rest))
    return hasher.table(rest), most


@pytest.mark.parametrize("step", [9_999, 65_536, (1 << 20) - 1, 1 << 20, 1_500_000, 1 << 30])
def test_pieces_are_the_same_however_the_file_comes(data, step):
    table, most = hashed(data, step)
    assert table == planned(data)
    assert most < MAX_PIECE


@pytest.mark.parametrize("name", ["safetensors", "gguf"])
def test_nothing_has_to_be_kept_of_weights(name):
    assert hashed(FILES[name], 200_000)[1] == 0


def test_what_was_given_back_may_lie_in_the_memory_of_the_window():
    """As `ingest` has it: one buffer, what is kept is moved to its front."""
    data = FILES["noise"]
    buffer, rest, hasher = memoryview(bytearray(2 * MAX_PIECE)), NOTHING, PieceHasher(len(data))
    for start in range(0, len(data), MAX_PIECE):
        part = data[start : start + MAX_PIECE]
        front = MAX_PIECE - len(rest)
        buffer[front:MAX_PIECE] = rest
        buffer[MAX_PIECE : MAX_PIECE + len(part)] = part
        rest = hasher.feed(buffer[front : MAX_PIECE + len(part)])
    assert hasher.table(rest) == planned(data)


@pytest.mark.parametrize("other", [-1, 1])
def test_a_file_of_another_size_than_it_was_said_to_have_has_no_table(other):
    for data in FILES.values():
        with pytest.raises(FileChangedError):
            hashed(data, 1 << 20, size=len(data) + other)


def test_no_bytes_of_the_file_are_copied():
    for name in ("noise", "safetensors"):
        window, hasher = memoryview(bytearray(FILES[name][: 2 * MAX_PIECE])), PieceHasher(1 << 40)
        rest = hasher.feed(window)
        tracemalloc.start()
        try:
            for _ in range(5):
                rest = hasher.feed(window)
            assert tracemalloc.get_traced_memory()[1] < 50_000
        finally:
            tracemalloc.stop()
        assert rest == NOTHING or rest.obj is window.obj
