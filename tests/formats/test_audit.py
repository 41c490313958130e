"""Lines of the audit log: one spelling each, whatever strangers put into what is logged."""

import json

import pytest

from p2phub.errors import MalformedError
from p2phub.formats.audit import MAX_LINE, MAX_LIST, Line, cut


def line(**more):
    return Line(7, 1_700_000_000, "bundle.import.release", cut(more)).signed(lambda data: b"s" * 64)


def test_a_line_reads_back_as_it_was_written():
    one = line(ref="lab/x", bytes=5, ok=True, reason=None, refs=["a", "b"])
    assert Line.from_bytes(one.to_bytes()) == one
    assert one.fields["refs"] == ("a", "b")


def test_text_of_a_stranger_makes_no_second_line():
    data = line(reason='a\n{"seq":8}\r\x00\u2028').to_bytes()
    assert data.isascii()
    assert b"\n" not in data
    assert Line.from_bytes(data).fields["reason"].startswith("a\n")


def test_a_line_has_a_limit_whatever_is_logged():
    fields = {f"field-{n}": ["\U0001f600" * 5000] * 500 for n in range(9)}
    assert len(line(**fields).to_bytes()) < MAX_LINE
    assert len(line(refs=["r"] * 500).fields["refs"]) == MAX_LIST + 1
    assert line(reason="x" * 5000).fields["reason"].endswith("…")


def test_the_signature_covers_all_but_itself():
    one = line(ref="lab/x")
    assert one.to_sign == Line.from_bytes(one.to_bytes()).to_sign
    assert one.to_sign != line(ref="lab/y").to_sign


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace(",", ", ", 1),
        lambda text: text.replace('"seq":7', '"seq":7.0'),
        lambda text: text.replace('"seq":7', '"seq":true'),
        lambda text: text.replace('"seq":7', '"seq":"7"'),
        lambda text: text[:-1],
        lambda text: text.replace('"seq":7', '"seq":7,"seq":7'),
        lambda text: text.replace('"event"', '"Event"'),
        lambda text: json.dumps(json.loads(text) | {"more": 1}, sort_keys=True),
        lambda text: text.replace('"fields":{', '"fields":{"a":{},'),
        lambda text: "[" * 100_000,
        lambda text: "5",
        lambda text: "",
    ],
)
def test_another_spelling_is_no_line(change):
    with pytest.raises(MalformedError):
        Line.from_bytes(change(line(ref="lab/x").to_bytes().decode()).encode())
