"""Secrets must not show where Python prints values by itself."""

import traceback
from dataclasses import dataclass

from p2phub.trust.hidden import SecretBytes, SecretText

SECRET = b"\x00\xa7\xfehidden-bytes-\xfe" * 2


def test_bytes_are_usable_and_do_not_show():
    hidden = SecretBytes(SECRET)
    assert hidden == SECRET
    assert hash(hidden) == hash(SECRET)
    for shown in (repr(hidden), str(hidden), f"{hidden}", f"{hidden!r}", f"{[hidden]}"):
        assert "hidden-bytes" not in shown


def test_text_shows_only_where_it_is_printed_on_purpose():
    hidden = SecretText("correct horse")
    assert f"{hidden}" == "correct horse" == hidden
    for shown in (repr(hidden), f"{hidden!r}", f"{[hidden]}", f"{(hidden,)}"):
        assert "horse" not in shown


def test_values_that_hold_them_and_tracebacks_with_locals_show_nothing():
    @dataclass
    class Holder:
        seed: bytes
        words: str

    def fail(holder, seed, words):
        raise ValueError

    hidden = SecretBytes(SECRET), SecretText("correct horse")
    try:
        fail(Holder(*hidden), *hidden)
    except ValueError as error:
        told = traceback.TracebackException.from_exception(
            error, capture_locals=True, lookup_lines=False
        )
        inner = told.stack[-1].locals
    assert inner["seed"] == "<34 secret bytes>"
    assert inner["words"] == "<secret text>"
    assert "hidden-bytes" not in inner["holder"]
    assert "horse" not in inner["holder"]
