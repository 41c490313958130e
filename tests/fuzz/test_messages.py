"""Any bytes at all are a control message or a `GarbageError`; and what was read is written back."""

from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from p2phub.errors import GarbageError, MalformedError
from p2phub.formats.codec import encode
from p2phub.formats.messages import decode_reply, decode_request, encode_message

OPS = st.sampled_from(
    ["hello", "documents", "have", "exchange", "tell", "catalog", "error", "other"]
)
NAMES = """
    agent version ticket ticket_seconds data data_port capabilities digests heads documents
    larger contents complete partial wire message digest follow peers known publisher root_v seq
    delegation_version notices skip more head
"""
FIELDS = st.sampled_from(NAMES.split())
CONTENT = st.sampled_from([f"{size}-{'ab' * 32}" for size in (0, 5, 1 << 20, 1 << 40)])
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-2, 2**53)
    | st.text(max_size=20)
    | CONTENT
    | st.binary(max_size=40)
    | st.binary(min_size=32, max_size=32)
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(FIELDS | CONTENT, inner, max_size=4)
    ),
    max_leaves=12,
)


def check(data):
    for decode in (decode_request, decode_reply):
        with suppress(GarbageError):
            assert encode_message(decode(data)) == data


@given(st.binary(max_size=300))
def test_any_bytes(data):
    check(data)


@given(OPS, st.dictionaries(FIELDS, VALUES, max_size=8))
def test_any_map_with_an_op(op, fields):
    with suppress(MalformedError):
        check(encode({**fields, "op": op}))


@given(st.sampled_from(range(400)), st.integers(0, 255), st.booleans())
def test_a_real_message_with_a_byte_changed_or_cut(at, byte, cut):
    data = encode(
        {
            "op": "hello",
            "agent": "p2phub",
            "version": 1,
            "ticket": b"t" * 32,
            "ticket_seconds": 60,
            "data_port": 4043,
            "data": ["192.0.2.1:4043", "[2001:db8::1]:4043"],
        }
    )
    at %= len(data)
    check(data[:at] if cut else data[:at] + bytes([byte]) + data[at + 1 :])
