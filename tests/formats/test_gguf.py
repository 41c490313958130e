import struct
import tracemalloc

import pytest

from p2phub.errors import MalformedError
from p2phub.formats.gguf import TYPES, is_gguf, parse
from p2phub.formats.limits import (
    MAX_ALIGNMENT,
    MAX_ARRAY_DEPTH,
    MAX_DIMENSIONS,
    MAX_METADATA,
    MAX_TENSORS,
)
from p2phub.formats.tensors import Header, More
from p2phub.testing.files import make_gguf

FIXED = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
F32, TEXT, ARRAY = 0, 8, 9


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def pair(key: str | bytes, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def info(name: str | bytes, shape=(8,), kind=F32, offset=0) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


def head(pairs=(), infos=(), version=3, counts=None) -> bytes:
    tensors, keys = counts or (len(infos), len(pairs))
    start = b"GGUF" + struct.pack("<IQQ", version, tensors, keys)
    return start + b"".join(pairs) + b"".join(infos)


def file(pairs=(), infos=(), body=0, alignment=32) -> bytes:
    header = head(pairs, infos)
    return header + bytes(-len(header) % alignment) + bytes(body)


def read(data: bytes) -> Header:
    header = parse(data, len(data))
    assert isinstance(header, Header)
    return header


def refuse(data: bytes, size: int | None = None) -> str:
    with pytest.raises(MalformedError) as caught:
        parse(data, len(data) if size is None else size)
    return caught.value.message


def test_every_tensor_is_where_the_header_says():
    shapes = {"b": ("Q4_0", (64, 3)), "a": ("F32", (5,)), "c": ("F16", (4,))}
    header = read(make_gguf(shapes))
    start = header.length
    assert [
        (t.name, t.dtype, t.shape, t.start - start, t.stop - start) for t in header.tensors
    ] == [
        ("b", "Q4_0", (64, 3), 0, 108),
        ("a", "F32", (5,), 128, 148),
        ("c", "F16", (4,), 160, 168),
    ]


def test_tensors_come_by_place_whatever_their_order_in_the_header():
    data = file(infos=[info("late", offset=32), info("early", offset=0)], body=64)
    assert [t.name for t in read(data).tensors] == ["early", "late"]


@pytest.mark.parametrize("version", [2, 3])
def test_versions_that_are_known(version):
    assert read(head(version=version)).tensors == ()


@pytest.mark.parametrize("version", [0, 1, 4, 0x03000000])
def test_versions_that_are_not_known_are_refused(version):
    refuse(head(version=version))


@pytest.mark.parametrize("kind", sorted(FIXED))
def test_every_value_type_is_stepped_over(kind):
    value = bytes(FIXED[kind])
    many = struct.pack("<IQ", kind, 3) + 3 * value
    nested = struct.pack("<IQ", ARRAY, 2) + 2 * many
    pairs = [pair("a", kind, value), pair("b", ARRAY, many), pair("c", ARRAY, nested)]
    assert [t.name for t in read(file(pairs, [info("t")], 32)).tensors] == ["t"]


def test_texts_and_arrays_of_texts_are_stepped_over():
    words = b"".join(text(f"word {i}" * (i % 5)) for i in range(1000))
    pairs = [
        pair("a", TEXT, text("x" * 70_000)),
        pair("b", ARRAY, struct.pack("<IQ", TEXT, 1000) + words),
        pair("c", ARRAY, struct.pack("<IQ", TEXT, 0)),
    ]
    data = file(pairs, [info("t")], 32)
    assert read(data).tensors[0].stop == len(data)


@pytest.mark.parametrize("alignment", [1, 8, 64, 4096])
def test_the_alignment_the_file_asks_for_is_where_its_tensors_start(alignment):
    header = read(make_gguf({"a": ("F32", (3,)), "b": ("F32", (3,))}, alignment=alignment))
    assert header.length % alignment == 0
    assert header.tensors[1].start - header.tensors[0].start == -(-12 // alignment) * alignment


@pytest.mark.parametrize("alignment", [0, 3, 48, 2 * MAX_ALIGNMENT])
def test_an_alignment_that_is_none_is_refused(alignment):
    refuse(head([pair("general.alignment", 4, struct.pack("<I", alignment))]))


def test_an_alignment_of_another_type_is_refused():
    refuse(head([pair("general.alignment", 10, struct.pack("<Q", 32))]))


def test_a_tensor_off_its_alignment_is_refused():
    refuse(file(infos=[info("t", offset=4)], body=64))


def test_a_type_of_tomorrow_ends_where_the_next_tensor_starts():
    data = file(
        infos=[info("new", kind=999), info("old", offset=96), info("new2", (1,), 998, 128)],
        body=200,
    )
    header = read(data)
    spans = [(t.dtype, t.start - header.length, t.stop - header.length) for t in header.tensors]
    assert spans == [("type 999", 0, 96), ("F32", 96, 128), ("type 998", 128, 200)]


def test_a_row_that_is_not_made_of_whole_blocks_is_refused():
    assert "blocks" in refuse(file(infos=[info("t", (16, 2), 2)], body=64))


def test_a_vocabulary_without_tensors_is_a_header_only():
    data = head([pair("a", 0, b"x")])
    assert read(data) == Header("gguf", len(data), ())


@pytest.mark.parametrize(
    ("case", "data"),
    [
        ("a tensor twice", file(infos=[info("t"), info("t", offset=32)], body=64)),
        ("a key twice", head([pair("k", 0, b"x"), pair("k", 0, b"x")])),
        ("a name that is not UTF-8", file(infos=[info(b"\xff")], body=32)),
        ("a key that is not UTF-8", head([pair(b"\xff", 0, b"x")])),
        ("beyond the file", file(infos=[info("t")], body=31)),
        ("starts beyond the file", file(infos=[info("t", kind=999, offset=3200)], body=31)),
        ("overlap", file(infos=[info("a", (16,)), info("b", offset=32)], body=64)),
        ("too many dimensions", file(infos=[info("t", (1,) * (MAX_DIMENSIONS + 1))], body=4)),
        ("a dimension beyond any file", file(infos=[info("t", (2**63, 2**63))], body=4)),
        ("no such value type", head([pair("k", 13, bytes(8))])),
        (
            "a name without an end",
            head(infos=[struct.pack("<Q", 2**63)], counts=(1, 0)) + bytes(99),
        ),
        (
            "a text without an end",
            head([pair("k", TEXT, struct.pack("<Q", 2**64 - 1))]) + bytes(99),
        ),
        (
            "an array without an end",
            head([pair("k", ARRAY, struct.pack("<IQ", 0, 2**64 - 1))]) + bytes(99),
        ),
        (
            "texts without an end",
            head([pair("k", ARRAY, struct.pack("<IQ", TEXT, 2**60))]) + bytes(99),
        ),
        (
            "a text in an array without an end",
            head([pair("k", ARRAY, struct.pack("<IQQ", TEXT, 2, 2**62))]) + bytes(99),
        ),
    ],
)
def test_a_header_that_lies_is_refused(case, data):
    assert refuse(data)


def test_arrays_in_arrays_without_end_are_refused_not_a_crash():
    deep = struct.pack("<IQ", ARRAY, 1) * (MAX_ARRAY_DEPTH + 1) + struct.pack("<IQ", 0, 0)
    assert "deep" in refuse(head([pair("k", ARRAY, deep)]))


@pytest.mark.parametrize(
    "counts", [(2**64 - 1, 0), (0, 2**64 - 1), (MAX_TENSORS + 1, 0), (0, MAX_METADATA + 1)]
)
def test_counts_are_refused_before_they_cost_memory(counts):
    tracemalloc.start()
    try:
        refuse(head(counts=counts), size=1 << 40)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_a_header_cut_short_anywhere_asks_for_more_and_then_parses_the_same():
    data = make_gguf(
        {"a": ("F32", (5,)), "b": ("Q8_0", (32, 2))}, metadata={"words": ["a", "bcd", ""]}
    )
    whole = read(data)
    for short in range(9, whole.length):
        more = parse(data[:short], len(data))
        assert isinstance(more, More)
        assert short < more.total <= len(data)
    assert parse(data[: whole.length], len(data)) == whole


def test_a_long_header_is_asked_for_in_a_few_steps():
    size, given, steps = 1 << 40, 9, 0
    count = 90_000_000
    start = head([pair("k", ARRAY, struct.pack("<IQ", 0, count))])
    while isinstance(more := parse(start[:given].ljust(given, b"\0"), size), More):
        assert given < more.total <= max(2 * given, count + 8_000_000)
        given, steps = more.total, steps + 1
    assert steps < 10


def test_every_known_type_has_a_name_and_whole_bytes():
    assert len({name for name, _, _ in TYPES.values()}) == len(TYPES)
    gguf = pytest.importorskip("gguf.constants")
    known = {each.value for each in gguf.GGMLQuantizationType}
    for kind, (name, block, block_bytes) in TYPES.items():
        if kind in known:
            theirs = gguf.GGMLQuantizationType(kind)
            assert theirs.name == name
            assert gguf.GGML_QUANT_SIZES[theirs] == (block, block_bytes)


@pytest.mark.parametrize("data", [b"", b"GGU", b"GGML....", b"# A read me, in plain text"])
def test_other_files_are_not_taken_for_gguf(data):
    assert not is_gguf(data)
    refuse(data)
