"""Bech32: what BIP-173 lists as right and as wrong, and every changed letter."""

import pytest

from p2phub.errors import MalformedError
from p2phub.formats.bech32 import LETTERS, LONGEST, decode, encode


@pytest.mark.parametrize("size", [0, 1, 5, 31, 32, 33])
def test_what_is_spelled_is_read(size):
    data = bytes(range(100, 100 + size))
    text = encode("age", data)
    assert decode(text) == decode(text.upper()) == ("age", data)


@pytest.mark.parametrize(
    "text",
    [
        "A12UEL5L",  # BIP-173: valid, of no bytes
        "an83characterlonghumanreadablepartthatcontainsthenumber1andtheexcludedcharactersbio1tt5tgs",
    ],
)
def test_the_valid_texts_of_the_standard(text):
    assert decode(text)[1] == b""


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "pzry9x0s0muk",  # no separator
        "1pzry9x0s0muk",  # no prefix
        "x1b4n0q5v",  # a letter that is none
        "li1dgmt3",  # a checksum that is too short
        "A1G7SGD8",  # a checksum made with another prefix
        "a12UEL5L",  # two cases
        "10a06t8",
        "1qzzfhee",
        "q" * (LONGEST + 1),
        "äge1qqqsyqcy8erazp",
    ],
)
def test_the_invalid_ones_are_refused(text):
    with pytest.raises(MalformedError):
        decode(text)


def test_any_letter_that_changes_is_found():
    text = encode("age", bytes(range(32)))
    for at in range(4, len(text)):
        other = LETTERS[(LETTERS.index(text[at]) + 1) % 32]
        with pytest.raises(MalformedError):
            decode(text[:at] + other + text[at + 1 :])
