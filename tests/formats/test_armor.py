"""Text that people carried is read in any order and with anything around it, or not at all."""

import pytest

from p2phub.errors import MalformedError
from p2phub.formats.armor import CODE, LONGEST, as_codes, as_lines, from_text
from p2phub.formats.digest import sha256

DATA = b"".join(sha256(bytes([number])) for number in range(100))
LABEL = "INVENTORY"


@pytest.mark.parametrize("size", [1, 47, 48, 49, 1000, 3200])
def test_lines_come_back(size):
    text = as_lines(DATA[:size], LABEL)
    assert max(map(len, text.splitlines())) <= 64
    assert from_text(text.encode(), LABEL) == DATA[:size]
    mailed = "Dear all,\r\n" + text.replace("\n", "\r\n   ") + "\r\n-- \r\nme"
    assert from_text(mailed.encode(), LABEL) == DATA[:size]


@pytest.mark.parametrize("size", [1, 4, 5, CODE, CODE + 1, 3200])
def test_codes_come_back_in_any_order_and_read_twice(size):
    codes = as_codes(DATA[:size], LABEL)
    assert len(codes) == -(-size // CODE)
    read = "\n".join([codes[-1], "http://elsewhere", *reversed(codes)])
    assert from_text(read.encode(), LABEL) == DATA[:size]


def test_codes_use_only_what_qr_packs_best():
    allowed = set("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:")
    assert all(set(code) <= allowed for code in as_codes(DATA, LABEL))


def test_a_code_that_is_missing_is_named():
    codes = as_codes(DATA, LABEL)
    with pytest.raises(MalformedError, match="number 2 is missing"):
        from_text("\n".join([codes[0], *codes[2:]]).encode(), LABEL)


def test_codes_of_two_documents_are_told_apart():
    both = [*as_codes(DATA, LABEL)[:2], *as_codes(DATA[::-1], LABEL)[2:]]
    with pytest.raises(MalformedError, match="several"):
        from_text("\n".join(both).encode(), LABEL)


def test_a_letter_that_was_read_wrong_is_found():
    code = as_codes(DATA[:50], LABEL)[0]
    wrong = code[:-3] + ("A" if code[-3] != "A" else "B") + code[-2:]
    with pytest.raises(MalformedError, match="not read right"):
        from_text(wrong.encode(), LABEL)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"hello",
        b"\xff" * 100,
        b"-----BEGIN P2PHUB INVENTORY-----\nAAAA",
        b"-----BEGIN P2PHUB INVENTORY-----\n!!!!\n-----END P2PHUB INVENTORY-----",
        as_lines(DATA, "RECEIPT").encode(),
        "\n".join(as_codes(DATA, "RECEIPT")).encode(),
        b"P2PHUB:INVENTORY:AAAAAAAA:1/99:A",
        b"P2PHUB:INVENTORY:AAAAAAAA:0/0:AAAAAAAA",
        b"x" * (LONGEST + 1),
    ],
)
def test_other_text_is_refused(text):
    with pytest.raises(MalformedError):
        from_text(text, LABEL)


def test_more_codes_than_anybody_would_read_are_refused():
    with pytest.raises(MalformedError, match="too many"):
        as_codes(bytes(CODE * 65), LABEL)
