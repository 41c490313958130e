import pytest

from p2phub.errors import MalformedError
from p2phub.formats.weights import SNIFF, Header, More, is_weights, needed, parse
from p2phub.testing.files import make_gguf, make_safetensors

SAFETENSORS = make_safetensors({"a": ("F16", (100,))})
GGUF = make_gguf({"a": ("F16", (100,))})


@pytest.mark.parametrize(("data", "format"), [(SAFETENSORS, "safetensors"), (GGUF, "gguf")])
def test_the_content_tells_the_format(data, format):
    header = parse(data, len(data))
    assert isinstance(header, Header)
    assert header.format == format
    assert is_weights(data[:SNIFF])


@pytest.mark.parametrize("data", [SAFETENSORS, GGUF])
def test_asking_for_what_is_needed_ends_in_a_header(data):
    given = 0
    while more := needed(data[:given], len(data)):
        assert more > given
        given = more
    header = parse(data[:given], len(data))
    assert isinstance(header, Header)
    assert header == parse(data, len(data))


@pytest.mark.parametrize("data", [b"", b"x", b"GGUF", b"a text of some length", bytes(4000)])
def test_a_file_that_is_no_weights_file_needs_no_more_than_a_look(data):
    assert needed(data, len(data)) == 0
    assert needed(b"", len(data)) == min(SNIFF, len(data))
    with pytest.raises(MalformedError):
        parse(data, len(data))


def test_a_few_bytes_of_a_larger_file_decide_nothing():
    assert parse(b"GGUF", 100) == More(SNIFF)
    assert not is_weights(b"")


def test_a_parser_takes_any_kind_of_buffer():
    whole = parse(SAFETENSORS, len(SAFETENSORS))
    assert parse(bytearray(SAFETENSORS), len(SAFETENSORS)) == whole
    assert parse(memoryview(SAFETENSORS), len(SAFETENSORS)) == whole
