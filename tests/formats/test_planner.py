import tracemalloc

import pytest

from p2phub.errors import FileChangedError
from p2phub.formats.cuts import cut_all
from p2phub.formats.limits import MAX_PIECE, MIN_CUT
from p2phub.formats.pieces import max_pieces
from p2phub.formats.planner import PiecePlanner, tensor_cuts
from p2phub.formats.tensors import Header, Tensor
from p2phub.formats.weights import parse
from p2phub.testing.files import make_gguf, make_safetensors, random_bytes

KIB, MIB = 1024, 1024 * 1024


def plan(data: bytes, part: int = 1 << 22) -> list[int]:
    planner = PiecePlanner(len(data))
    view, lengths = memoryview(data), []
    for at in range(0, len(data), part):
        lengths += planner.feed(view[at : at + part])
    return lengths + planner.finish()


def pieces(data: bytes) -> list[bytes]:
    found, at = [], 0
    for length in plan(data):
        found.append(data[at : at + length])
        at += length
    assert at == len(data)
    return found


def layout(*spans: tuple[int, int], header: int = 1000, size: int | None = None) -> list[int]:
    """The cuts after the header of tensors that begin and end there, counted from the header on."""
    tensors = tuple(
        Tensor(str(at), "U8", (), header + start, header + stop)
        for at, (start, stop) in enumerate(spans)
    )
    end = spans[-1][1] if size is None else size
    return list(tensor_cuts(Header("test", header, tensors), header + end))


def shapes(*sizes: int) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {f"t{at}": ("U8", (size,)) for at, size in enumerate(sizes)}


@pytest.mark.parametrize("size", [1, 1000, MAX_PIECE])
def test_a_small_file_is_one_piece_whatever_is_in_it(size):
    assert plan(random_bytes(1, size)) == [size]
    weights = make_safetensors(shapes(200_000, 300_000))
    assert plan(weights) == [len(weights)]


def test_an_empty_file_has_no_piece():
    assert plan(b"") == PiecePlanner(0).finish() == []


def test_one_byte_more_than_small_is_cut():
    data = random_bytes(1, MAX_PIECE + 1)
    assert plan(data) == cut_all(data) != [MAX_PIECE + 1]


def test_a_large_tensor_starts_a_piece_and_is_cut_each_mebibyte_from_there():
    assert layout((0, 5 * MIB // 2), (5 * MIB // 2, 4 * MIB)) == [
        MIB,
        MIB,
        MIB // 2,
        MIB,
        MIB // 2,
    ]


def test_the_smallest_large_tensor_has_a_piece_of_its_own():
    assert layout((0, 10), (10, 10 + MIN_CUT), (10 + MIN_CUT, 20 + MIN_CUT)) == [10, MIN_CUT, 10]


def test_small_tensors_share_pieces_that_end_at_tensor_bounds():
    spans = [(at * 30 * KIB, (at + 1) * 30 * KIB) for at in range(7)]
    assert layout(*spans) == [90 * KIB, 90 * KIB, 30 * KIB]


def test_a_gap_beside_a_large_tensor_is_a_piece_of_its_own():
    assert layout((0, MIB), (MIB + 7, 2 * MIB)) == [MIB, 7, MIB - 7]


def test_a_wide_gap_ends_a_run_and_is_cut_each_mebibyte():
    gap = MIB + 5
    assert layout((0, 10), (10 + gap, 20 + gap)) == [10, MIB, 5, 10]


def test_padding_between_small_tensors_of_a_run_stays_in_their_piece():
    assert layout((0, 10), (32, 42), (64, 70)) == [70]


def test_what_follows_the_last_tensor_is_a_piece_of_its_own():
    assert layout((0, MIB), size=MIB + 9) == [MIB, 9]
    assert layout((0, 10), size=2 * MIB) == [10, MIB, MIB - 10]


def test_a_gap_before_the_first_tensor_is_a_piece_of_its_own():
    assert layout((32, 64)) == [32, 32]


def test_empty_tensors_cut_nothing():
    assert layout((0, 0), (0, 10), (10, 10), (10, 20), (20, 20)) == [20]


def test_a_file_without_tensors_is_gaps_after_its_header():
    assert list(tensor_cuts(Header("test", 10, ()), 10 + 2 * MIB + 1)) == [MIB, MIB, 1]


@pytest.mark.parametrize("make", [make_safetensors, make_gguf])
def test_every_large_tensor_of_a_weights_file_starts_a_piece(make):
    names = {
        "a": (700, 64),
        "b": (64,),
        "c": (900, 64),
        "d": (50, 64),
        "e": (60, 64),
        "f": (9000, 64),
    }
    data = make({name: ("F32", shape) for name, shape in names.items()})
    header = parse(data, len(data))
    assert isinstance(header, Header)
    starts, at = set(), 0
    for length in plan(data):
        starts.add(at)
        at += length
    assert header.length in starts
    large = [t for t in header.tensors if t.stop - t.start >= MIN_CUT]
    assert len(large) >= 3
    assert {t.start for t in large} <= starts


def test_the_same_tensors_in_another_order_and_in_other_shards_are_the_same_pieces():
    sizes = {"a": 3_000_000, "b": 100_000, "c": 1_500_000, "d": 2_000_000}
    tensors = {name: ("U8", (size,)) for name, size in sizes.items()}
    together = set(pieces(make_safetensors(tensors)))
    turned = pieces(make_safetensors(dict(reversed(tensors.items()))))
    apart = [
        *pieces(make_safetensors({name: tensors[name] for name in "ac"})),
        *pieces(make_safetensors({name: tensors[name] for name in "bd"})),
    ]
    for others in (turned, apart):
        new = [piece for piece in others if piece not in together]
        assert sum(map(len, new)) < 1000  # the headers


def test_a_changed_tensor_changes_its_own_pieces_only():
    tensors = dict.fromkeys("abc", ("U8", (1_200_000,)))
    before = make_safetensors(tensors)
    at = before.index(random_bytes("0/b", 100))
    after = before[:at] + bytes(1_200_000) + before[at + 1_200_000 :]
    new = [piece for piece in pieces(after) if piece not in set(pieces(before))]
    assert sum(map(len, new)) == 1_200_000


def test_safetensors_and_gguf_with_the_same_tensor_share_its_pieces():
    tensors = {"a": ("F16", (1 << 20,))}
    common = set(pieces(make_safetensors(tensors))) & set(pieces(make_gguf(tensors)))
    assert sum(map(len, common)) == 1 << 21


def test_a_malformed_header_is_cut_like_anything_else():
    good = make_safetensors(shapes(2_000_000))
    for bad in (good + b"\0", good[:-1], good.replace(b'"U8"', b'"F8"', 1)[:1_500_000]):
        assert plan(bad) == cut_all(bad)
    pretender = b"GGUF" + random_bytes(1, 3_000_000)
    assert plan(pretender) == cut_all(pretender)


@pytest.mark.parametrize("part", [1000, 65_537, 1 << 20, 1 << 30])
@pytest.mark.parametrize(
    "data",
    [
        make_safetensors({f"t{i}": ("U8", (i * 7001,)) for i in range(40)}),
        make_gguf({f"t{i}": ("I8", (i * 7001,)) for i in range(40)}),
        random_bytes("other", 3_000_000),
        (3_000_000).to_bytes(8, "little") + b"{" + random_bytes("liar", 4_000_000),
    ],
    ids=["safetensors", "gguf", "other", "liar"],
)
def test_the_parts_that_a_file_arrives_in_do_not_matter(data, part):
    assert plan(data, part) == plan(data, len(data))


def test_one_byte_at_a_time_equals_whole():
    data = make_safetensors(shapes(100, 600_000, 70_000, 500_000))
    assert plan(data, 1) == plan(data)


def test_pieces_of_weights_are_told_as_soon_as_their_last_byte_was_fed():
    data = make_safetensors(shapes(3 * MIB))
    start = len(data) - 3 * MIB
    planner = PiecePlanner(len(data))
    assert planner.feed(data[: start + MIB - 1]) == [start]
    assert planner.feed(data[start + MIB - 1 : start + MIB]) == [MIB]
    assert planner.feed(data[start + MIB :]) == [MIB, MIB]
    assert planner.finish() == []


@pytest.mark.parametrize(
    "data", [random_bytes(1, 2 * MIB), make_safetensors(shapes(2 * MIB)), b"abc"]
)
def test_a_file_that_changed_its_size_is_not_planned(data):
    shorter, longer = PiecePlanner(len(data)), PiecePlanner(len(data))
    shorter.feed(data[:-1])
    with pytest.raises(FileChangedError):
        shorter.finish()
    longer.feed(data)
    with pytest.raises(FileChangedError):
        longer.feed(b"x")


def test_the_most_and_the_smallest_tensors_stay_within_what_a_reader_allows():
    """Each layout makes as many pieces a byte as it can."""
    many, header = 20_000, 20_000 * 50
    tiny = [(32 * at, 32 * at + 1) for at in range(many)]
    alternating, at = [], 0
    for _ in range(many // 2):
        alternating += [(at + 1, at + 2), (at + 3, at + 3 + MIN_CUT)]
        at += MIN_CUT + 4
    for spans in (tiny, alternating):
        size = header + spans[-1][1]
        count = len(layout(*spans, header=header)) + header // MIN_CUT + 1
        assert count <= max(4096, 2 * size // MIN_CUT) + len(spans)
        assert count <= max_pieces(size)


def test_memory_stays_flat_in_the_size_of_the_file():
    data = memoryview(make_safetensors(shapes(*[MIB] * 30)))
    planner = PiecePlanner(len(data))
    tracemalloc.start()
    try:
        for at in range(0, len(data), 1 << 22):
            planner.feed(data[at : at + (1 << 22)])
        assert tracemalloc.get_traced_memory()[1] < 200_000
    finally:
        tracemalloc.stop()


def test_a_window_may_be_reused_at_once():
    for data in (
        make_safetensors(shapes(3 * MIB)),
        make_gguf(shapes_gguf()),
        random_bytes(1, 3 * MIB),
    ):
        window, planner, lengths = bytearray(1 << 16), PiecePlanner(len(data)), []
        for at in range(0, len(data), len(window)):
            part = data[at : at + len(window)]
            window[: len(part)] = part
            lengths += planner.feed(memoryview(window)[: len(part)])
            window[:] = bytes(len(window))
        window.clear()  # fails if anything still holds on to it
        assert lengths + planner.finish() == plan(data)


def shapes_gguf() -> dict[str, tuple[str, tuple[int, ...]]]:
    return {"a": ("I8", (3 * MIB,)), "b": ("F32", (3,))}
