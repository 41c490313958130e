"""The pairs of a GGUF header, as they are kept for whoever has to know the model."""

import struct

import pytest

from p2phub.errors import MalformedError
from p2phub.formats.gguf_metadata import MAX_ARRAY, read
from p2phub.formats.tensors import More


def _text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def _file(*pairs: bytes) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, 0, len(pairs)) + b"".join(pairs)


def _pair(key: str, kind: int, value: bytes) -> bytes:
    return _text(key) + struct.pack("<I", kind) + value


def _array(kind: int, count: int, items: bytes) -> bytes:
    return struct.pack("<IQ", kind, count) + items


WORDS = _pair("words", 9, _array(8, 2, _text("ab") + _text("")))
HEADS = _pair("heads", 9, _array(4, 3, struct.pack("<3I", 4, 0, 4)))


def test_each_kind_of_value_is_what_it_was():
    data = _file(_pair("a", 8, _text("Llama")), _pair("b", 6, struct.pack("<f", 0.5)), HEADS, WORDS)
    assert read(data, len(data)) == {"a": "Llama", "b": 0.5, "heads": (4, 0, 4), "words": 2}


def test_of_a_long_array_only_the_length_is_kept():
    count = MAX_ARRAY + 1
    data = _file(_pair("scores", 9, _array(0, count, bytes(count))))
    assert read(data, len(data)) == {"scores": count}


def test_a_text_that_is_too_long_is_left_out():
    data = _file(_pair("a", 8, _text("x" * 70_000)), HEADS)
    assert read(data, len(data)) == {"heads": (4, 0, 4)}


@pytest.mark.parametrize("length", [6, 30, 50])
def test_a_header_that_is_cut_short_asks_for_more(length):
    data = _file(HEADS, WORDS)
    found = read(data[:length], 10_000)
    assert isinstance(found, More)
    assert found.total > length


def test_an_array_that_promises_more_than_the_file_holds_is_refused():
    data = _file(_pair("scores", 9, _array(10, 1 << 60, b"")))
    with pytest.raises(MalformedError):
        read(data, len(data))


def test_another_file_is_refused():
    with pytest.raises(MalformedError):
        read(b"PK\x03\x04" + bytes(60), 64)
