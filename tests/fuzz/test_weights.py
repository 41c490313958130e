"""Headers of weights files, hostile and torn: parse or our own error, in bounded work."""

import json
import struct

from hypothesis import given
from hypothesis import strategies as st

from p2phub.errors import MalformedError
from p2phub.formats.weights import Header, More, is_weights, needed, parse
from p2phub.testing.files import make_gguf, make_safetensors

SAFETENSORS = make_safetensors({"a": ("F16", (5,)), "b": ("U8", (3,))}, metadata={"k": "v"})
GGUF = make_gguf(
    {"a": ("F16", (5,)), "b": ("Q4_0", (32, 2))}, metadata={"n": 5, "words": ["a", "bc"]}
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**70) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)
OFFSETS = st.lists(st.integers(0, 40), min_size=2, max_size=2)
ENTRIES = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["U8", "F16", "F4", "NEW"]),
        "shape": st.lists(st.integers(0, 20), max_size=2),
        "data_offsets": OFFSETS,
    }
)


def check_outcome(data: bytes, size: int) -> Header | More | None:
    """Parse, and check what every header promises whatever was parsed; None if it is malformed."""
    try:
        found = parse(data, size)
    except MalformedError:
        return None
    if isinstance(found, More):
        assert len(data) < found.total <= size
        return found
    assert is_weights(data)
    assert found.length <= min(len(data), size)
    end = found.length
    for tensor in found.tensors:
        assert end <= tensor.start <= tensor.stop <= size
        end = tensor.stop
    return found


@given(st.binary(max_size=200), st.integers(0, 300))
def test_noise_is_no_header(data, size):
    check_outcome(data[:size], size)


@given(st.binary(max_size=200), st.integers(200, 1 << 40))
def test_noise_that_says_it_is_gguf(data, size):
    check_outcome(b"GGUF" + struct.pack("<I", 3) + data, size)


@given(st.dictionaries(st.text(max_size=4), ENTRIES | VALUES, max_size=4), st.integers(0, 60))
def test_json_of_any_shape(header, body):
    raw = json.dumps(header).encode()
    data = len(raw).to_bytes(8, "little") + raw
    check_outcome(data, len(data) + body)


@given(st.sampled_from([SAFETENSORS, GGUF]), st.data())
def test_a_header_with_a_few_changed_bytes(data, draw):
    changed = bytearray(data)
    for _ in range(draw.draw(st.integers(1, 4))):
        changed[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
    check_outcome(bytes(changed), len(data))


@given(st.sampled_from([SAFETENSORS, GGUF]), st.data())
def test_every_beginning_of_a_file_ends_in_the_outcome_of_the_whole(data, draw):
    """What is malformed, and where tensors lie, never depends on how much was seen at first."""
    changed = bytearray(data)
    changed[draw.draw(st.integers(0, len(data) - 1))] ^= draw.draw(st.integers(0, 255))
    whole = check_outcome(bytes(changed), len(data))
    given = draw.draw(st.integers(0, len(data)))
    while more := needed(bytes(changed[:given]), len(data)):
        assert more > given
        given = more
    assert check_outcome(bytes(changed[:given]), len(data)) == whole


@given(st.dictionaries(st.text("abc", min_size=1), st.integers(0, 50), max_size=6))
def test_what_is_made_well_is_read_back(sizes):
    safetensors = make_safetensors({name: ("U8", (size,)) for name, size in sizes.items()})
    gguf = make_gguf({name: ("I8", (size,)) for name, size in sizes.items()})
    for data in (safetensors, gguf):
        header = check_outcome(data, len(data))
        assert isinstance(header, Header)
        assert {t.name: t.stop - t.start for t in header.tensors} == sizes
