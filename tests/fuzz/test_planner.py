"""Plans of files of every kind: the same for any parts, complete, and within what readers allow."""

from hypothesis import given, settings
from hypothesis import strategies as st

from p2phub.formats.cuts import ContentCuts, cut_all
from p2phub.formats.limits import MANY_PIECES, MAX_PIECE, MIN_CUT
from p2phub.formats.pieces import max_pieces
from p2phub.formats.planner import PiecePlanner, tensor_cuts
from p2phub.formats.tensors import Header, Tensor
from p2phub.testing.files import make_gguf, make_safetensors, random_bytes

NOISE = random_bytes("planner", 5_000_000)
SIZES = st.lists(st.integers(0, 300_000) | st.integers(0, 2_000_000), max_size=8)
PARTS = st.lists(
    st.integers(1, 3_000_000) | st.integers(1, 70_000) | st.sampled_from([1, MAX_PIECE]),
    min_size=1,
    max_size=30,
)
GAPS = st.sampled_from([0, 0, 0, 1, 31, MIN_CUT - 1, MIN_CUT, MAX_PIECE + 1])
LENGTHS = st.sampled_from([0, 1, 100, MIN_CUT - 1, MIN_CUT, MIN_CUT + 1, MAX_PIECE, 3_000_000])


@st.composite
def files(draw: st.DrawFn) -> bytes:
    """Weights with tensors of these sizes, whole or torn, or noise."""
    shapes = {f"t{at}": ("I8", (size,)) for at, size in enumerate(draw(SIZES))}
    kind = draw(st.sampled_from(["safetensors", "gguf", "noise", "torn"]))
    if kind == "noise":
        return NOISE[: draw(st.integers(0, len(NOISE)))]
    data = make_gguf(shapes) if kind == "gguf" else make_safetensors(shapes)
    return data[: draw(st.integers(0, len(data)))] if kind == "torn" else data


def in_parts(data: bytes, parts: list[int]) -> list[memoryview]:
    """`data` in parts of these sizes, again and again until it ends."""
    view, cut, at = memoryview(data), [], 0
    while at < len(data):
        size = max(parts[len(cut) % len(parts)], len(data) // 500)
        cut.append(view[at : at + size])
        at += size
    return cut


def plan(size: int, parts: list[memoryview]) -> list[int]:
    planner = PiecePlanner(size)
    lengths = [length for part in parts for length in planner.feed(part)]
    return lengths + planner.finish()


@settings(max_examples=60)
@given(files(), PARTS)
def test_the_parts_a_file_arrives_in_never_matter(data, parts):
    whole = plan(len(data), [memoryview(data)])
    assert plan(len(data), in_parts(data, parts)) == whole
    assert sum(whole) == len(data)
    assert all(1 <= length <= MAX_PIECE for length in whole)
    assert len(whole) <= max_pieces(len(data))


@settings(max_examples=60)
@given(st.integers(0, len(NOISE)), PARTS)
def test_the_parts_that_are_cut_by_content_never_matter(size, parts):
    cuts = ContentCuts()
    lengths = [length for part in in_parts(NOISE[:size], parts) for length in cuts.feed(part)]
    assert lengths + cuts.finish() == cut_all(NOISE[:size])


@given(st.lists(st.tuples(GAPS, LENGTHS), max_size=60), GAPS)
def test_pieces_of_tensors_cover_them_and_keep_the_rules(spans, tail):
    tensors, at = [], 5000
    for gap, length in spans:
        tensors.append(Tensor(str(at), "U8", (), at + gap, at + gap + length))
        at += gap + length
    lengths = list(tensor_cuts(Header("test", 5000, tuple(tensors)), at + tail))
    starts = {5000 + sum(lengths[:index]) for index in range(len(lengths))}
    assert sum(lengths) == at + tail - 5000
    assert all(1 <= length <= MAX_PIECE for length in lengths)
    assert {t.start for t in tensors if t.stop - t.start >= MIN_CUT} <= starts


@settings(max_examples=40)
@given(st.lists(st.tuples(GAPS, LENGTHS), min_size=1, max_size=6))
def test_no_layout_of_tensors_makes_more_pieces_than_readers_allow(pattern):
    count = 6000
    header = at = 50 * count
    tensors = []
    for number in range(count):
        gap, length = pattern[number % len(pattern)]
        tensors.append(Tensor(str(number), "U8", (), at + gap, at + gap + length))
        at += gap + length
    pieces = len(list(tensor_cuts(Header("test", header, tuple(tensors)), at)))
    most = max(MANY_PIECES, 2 * at // MIN_CUT) + count
    assert pieces + header // MIN_CUT + 1 <= most
