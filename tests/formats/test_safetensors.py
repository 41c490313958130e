import json
import tracemalloc

import pytest

from p2phub.errors import MalformedError
from p2phub.formats.limits import MAX_HEADER, MAX_HEADER_ITEMS, MAX_TENSORS
from p2phub.formats.safetensors import is_safetensors, parse
from p2phub.formats.tensors import Header, More
from p2phub.testing.files import make_safetensors


def with_header(header: bytes, body: int = 0) -> tuple[bytes, int]:
    """The beginning of a file with this header, and the size of the file."""
    data = len(header).to_bytes(8, "little") + header
    return data, len(data) + body


def entry(dtype="U8", shape=(4,), offsets=(0, 4), **more) -> dict:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets), **more}


def refused(header: bytes | dict, body: int) -> str:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    data, size = with_header(raw, body)
    with pytest.raises(MalformedError) as caught:
        parse(data, size)
    return caught.value.message


def test_every_tensor_is_where_the_header_says():
    data = make_safetensors({"b": ("F32", (2, 3)), "a": ("BF16", (5,))}, metadata={"k": "v"})
    header = parse(data, len(data))
    assert isinstance(header, Header)
    start = header.length
    assert [(t.name, t.dtype, t.shape) for t in header.tensors] == [
        ("b", "F32", (2, 3)),
        ("a", "BF16", (5,)),
    ]
    assert [(t.start, t.stop) for t in header.tensors] == [
        (start, start + 24),
        (start + 24, start + 34),
    ]


@pytest.mark.parametrize(
    ("dtype", "shape", "size"),
    [
        ("F4", (3, 2), 3),
        ("F6_E2M3", (4,), 3),
        ("F8_E8M0", (5,), 5),
        ("C64", (2,), 16),
        ("I64", (), 8),
    ],
)
def test_dtypes_of_any_number_of_bits_are_measured(dtype, shape, size):
    data, total = with_header(json.dumps({"a": entry(dtype, shape, (0, size))}).encode(), size)
    assert isinstance(parse(data, total), Header)
    refused({"a": entry(dtype, shape, (0, size + 1))}, size + 1)


def test_half_a_byte_is_no_tensor():
    refused({"a": entry("F4", (3,), (0, 1))}, 1)
    refused({"a": entry("F4", (3,), (0, 2))}, 2)


def test_a_dtype_of_tomorrow_only_has_to_be_sane():
    data, size = with_header(json.dumps({"a": entry("F3_NEW", (7,), (0, 5))}).encode(), 5)
    assert isinstance(parse(data, size), Header)
    refused({"a": entry("F3_NEW", (7,), (0, 6))}, 5)


def test_an_attribute_of_tomorrow_is_left_alone_if_it_is_a_plain_value():
    data, size = with_header(json.dumps({"a": entry(scale=1.5)}).encode(), 4)
    assert isinstance(parse(data, size), Header)
    refused({"a": entry(deeper=[[]])}, 4)


def test_a_file_without_tensors_is_a_header_only():
    data, size = with_header(b"{}")
    assert parse(data, size) == Header("safetensors", 10, ())


@pytest.mark.parametrize("short", [9, 10, 40])
def test_a_header_cut_short_asks_for_the_rest_and_no_more(short):
    data = make_safetensors({"a": ("U8", (100,))})
    header = parse(data, len(data))
    assert isinstance(header, Header)
    assert parse(data[:short], len(data)) == More(header.length)


@pytest.mark.parametrize(
    ("case", "header", "body"),
    [
        ("hole at the start", {"a": entry(offsets=(1, 5))}, 5),
        ("hole between", {"a": entry(), "b": entry(offsets=(5, 9))}, 9),
        ("bytes after the last", {"a": entry()}, 5),
        ("file too short", {"a": entry()}, 3),
        ("overlap", {"a": entry(), "b": entry(offsets=(3, 7))}, 7),
        ("the same bytes twice", {"a": entry(), "b": entry()}, 4),
        ("backwards", {"a": entry(offsets=(4, 0))}, 4),
        ("negative", {"a": entry(shape=(-4,), offsets=(-4, 0))}, 4),
        ("wrong number of bytes", {"a": entry(shape=(3,))}, 4),
        ("three offsets", {"a": entry(offsets=(0, 2, 4))}, 4),
        ("a float for an offset", {"a": entry(offsets=(0, 4.0))}, 4),
        ("true for a length", {"a": entry(shape=(True,), offsets=(0, 1))}, 1),
        ("text for a shape", {"a": entry() | {"shape": "4"}}, 4),
        ("no dtype", {"a": {"shape": [4], "data_offsets": [0, 4]}}, 4),
        ("a list for a tensor", {"a": [1, 2]}, 4),
        ("metadata of numbers", {"__metadata__": {"k": 1}}, 0),
        ("metadata of a list", {"__metadata__": []}, 0),
        ("a number beyond any file", {"a": entry(shape=(2**64,), offsets=(0, 2**64))}, 4),
    ],
)
def test_a_header_that_lies_is_refused(case, header, body):
    assert refused(header, body)


@pytest.mark.parametrize(
    "header",
    [
        b'{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},'
        b'"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}',
        b'{"a":{"dtype":"U8","dtype":"I8","shape":[4],"data_offsets":[0,4]}}',
        b'{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}',  # torn
        b'{"a":NaN}',
        b'{"\\ud800":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}',  # half a character
        b'{"\xff":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}',  # not UTF-8
        b'{"a":' + b"9" * 5000 + b"}",
    ],
)
def test_a_header_that_readers_disagree_on_is_refused(header):
    refused(header, 4)


def test_nesting_a_million_deep_is_refused_not_a_crash():
    assert "JSON" in refused(b'{"a":' + b"[" * 1_000_000, 0)


def test_a_header_that_unfolds_in_memory_is_refused_before_it_does():
    header = b'{"a":[' + b"{}," * (MAX_HEADER_ITEMS + 1) + b"{}]}"
    data, size = with_header(header)
    tracemalloc.start()
    try:
        with pytest.raises(MalformedError, match="items"):
            parse(data, size)
        assert tracemalloc.get_traced_memory()[1] < 2 * len(data)
    finally:
        tracemalloc.stop()


def test_too_many_tensors_are_refused():
    header = ",".join(
        f'"{i}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}' for i in range(MAX_TENSORS + 1)
    )
    assert "tensors" in refused(b"{" + header.encode() + b"}", 0)


def test_a_header_longer_than_its_file_or_its_limit_is_never_waited_for():
    with pytest.raises(MalformedError):
        parse((1000).to_bytes(8, "little") + b"{", 900)
    too_long = (MAX_HEADER + 1).to_bytes(8, "little") + b"{"
    assert not is_safetensors(too_long)
    with pytest.raises(MalformedError):
        parse(too_long, 1 << 40)


@pytest.mark.parametrize("data", [b"", b"short", b"# A read me, in plain text", bytes(100)])
def test_other_files_are_not_taken_for_safetensors(data):
    assert not is_safetensors(data)
    with pytest.raises(MalformedError):
        parse(data, len(data))
