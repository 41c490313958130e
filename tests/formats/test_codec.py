"""One value, one spelling: every other spelling of it is refused."""

import struct
import tracemalloc

import msgpack
import pytest

from p2phub.errors import MalformedError
from p2phub.formats.codec import decode, encode
from p2phub.formats.limits import MAX_DEPTH, MAX_ITEMS

VALUES = [
    None,
    True,
    0,
    -1,
    127,
    128,
    -32,
    -33,
    2**16,
    2**63,
    2**64 - 1,
    -(2**63),
    "",
    "é",
    "模型",
    b"",
    b"\x00" * 300,
    [],
    [1, [2, [b"3"]]],
    {},
    {"a": {"b": []}, "é": "x"},
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_value_survives(value):
    assert decode(encode(value), limit=1000) == value


def test_map_keys_are_sorted_whatever_order_they_came_in():
    assert encode({"b": 1, "a": 2}) == encode({"a": 2, "b": 1}) == b"\x82\xa1a\x02\xa1b\x01"


def test_a_tuple_is_a_list():
    assert encode((1, 2)) == encode([1, 2])


def test_text_is_brought_into_nfc_when_written():
    assert encode("e\u0301") == encode("\u00e9")


def test_two_keys_that_are_one_in_nfc_are_refused():
    with pytest.raises(MalformedError, match="one in NFC"):
        encode({"e\u0301": 1, "\u00e9": 2})


SECOND_SPELLINGS = {
    "an integer that is longer than it need be": b"\xcc\x01",
    "a negative number as a wide one": b"\xd1\xff\xff",
    "a positive number as a signed one": b"\xd0\x01",
    "text with a length that is longer than it need be": b"\xd9\x01a",
    "bytes with a length that is longer than it need be": b"\xc5\x00\x01a",
    "a list with a length that is longer than it need be": b"\xdc\x00\x01\x01",
    "a map with a length that is longer than it need be": b"\xde\x00\x01\xa1a\x01",
    "keys out of order": b"\x82\xa1b\x01\xa1a\x01",
    "a key that comes twice": b"\x82\xa1a\x01\xa1a\x01",
    "a key that is bytes": b"\x81\xc4\x01a\x01",
    "a key that is a number": b"\x81\x01\x01",
    "text that is not in NFC": msgpack.packb("e\u0301"),
    "a key that is not in NFC": msgpack.packb({"e\u0301": 1}),
    "a float": msgpack.packb(1.0),
    "a float inside": msgpack.packb([{"a": 1.5}]),
    "a short float": b"\xca\x3f\x80\x00\x00",
    "an extension type": msgpack.packb(msgpack.ExtType(5, b"x")),
    "a time stamp": b"\xd6\xff\x00\x00\x00\x00",
    "the byte that msgpack never uses": b"\xc1",
    "text that is not UTF-8": b"\xa1\xff",
    "text with half a surrogate pair": b"\xa3\xed\xa0\x80",
    "bytes after the end": b"\x01\x01",
    "nothing at all": b"",
    "a list cut short": b"\x92\x01",
    "a map cut short": b"\x81\xa1a",
    "text cut short": b"\xa5abc",
}


@pytest.mark.parametrize("data", SECOND_SPELLINGS.values(), ids=SECOND_SPELLINGS.keys())
def test_a_second_spelling_is_refused(data):
    with pytest.raises(MalformedError):
        decode(data, limit=1000)


@pytest.mark.parametrize(
    "value", [1.0, {1: 2}, {b"a": 1}, {"a": {1, 2}}, 2**64, object(), "\ud800"]
)
def test_what_has_no_spelling_is_not_written(value):
    with pytest.raises(MalformedError):
        encode(value)


def nested(depth):
    value = []
    for _ in range(depth - 1):
        value = [value]
    return value


def test_depth_ends_at_its_limit_and_not_before():
    assert decode(encode(nested(MAX_DEPTH)), limit=100) == nested(MAX_DEPTH)
    with pytest.raises(MalformedError, match="deep"):
        encode(nested(MAX_DEPTH + 1))
    with pytest.raises(MalformedError, match="deep"):
        decode(msgpack.packb(nested(MAX_DEPTH + 1)), limit=100)


def test_a_tower_of_maps_does_not_end_the_process():
    with pytest.raises(MalformedError):
        decode(b"\x81\xa1a" * 300_000, limit=10**6)


def test_one_byte_over_the_limit_is_refused_before_it_is_read():
    assert decode(encode(b"x" * 98), limit=100) == b"x" * 98
    with pytest.raises(MalformedError, match="101 bytes, where at most 100"):
        decode(encode(b"x" * 99), limit=100)


@pytest.mark.parametrize("header", [b"\xdd", b"\xdf", b"\xdb", b"\xc6"])
def test_a_gigabyte_claimed_in_ten_bytes_takes_no_memory(header):
    tracemalloc.start()
    try:
        with pytest.raises(MalformedError):
            decode(header + struct.pack(">I", 10**9) + b"\xa1aaaa", limit=1000)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_a_swarm_of_tiny_items_is_stopped_halfway():
    inner = b"\xdd" + struct.pack(">I", 900_000) + b"\x01" * 900_000
    count = MAX_ITEMS // 900_000 + 1
    with pytest.raises(MalformedError, match="items in one document"):
        decode(bytes([0x90 + count]) + inner * count, limit=10**8)
