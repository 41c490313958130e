"""What holds for every document: its type, what it requires, unknown keys, defaults."""

import re

import pytest

from p2phub.errors import MalformedError, NewerVersionError
from p2phub.formats import limits
from p2phub.formats.codec import decode, encode
from p2phub.formats.digest import sha256
from p2phub.formats.documents import TYPES, Fields, has_control, joined
from p2phub.formats.publisher import Head, KeySet, Root

KEYS = KeySet((b"k" * 32,))
ROOT = Root(1, b"", KEYS, KEYS.digest)
FIELDS = {"type": "root", "requires": [], "v": 1, "keys": [b"k" * 32], "threshold": 1}
FIELDS |= {"next": KEYS.digest}


def payload(**changes):
    fields = {**FIELDS, **changes}
    return encode({name: value for name, value in fields.items() if value is not ...})


def test_the_digest_is_that_of_the_payload():
    assert ROOT.digest == sha256(ROOT.to_payload()) == sha256(payload())


def test_an_unknown_key_is_kept_and_written_back():
    made = Root.from_payload(payload(colour="blue"))
    assert made.extra == {"colour": "blue"}
    assert made.to_payload() == payload(colour="blue")
    assert made.digest != ROOT.digest


def test_a_document_that_needs_a_newer_version_says_what_it_needs():
    with pytest.raises(
        NewerVersionError,
        match=re.escape("a newer p2phub is needed (needs: encryption, sharding)"),
    ):
        Root.from_payload(payload(requires=["encryption", "sharding"]))


def test_what_is_required_is_looked_at_before_anything_else():
    with pytest.raises(NewerVersionError):
        Root.from_payload(payload(requires=["encryption"], keys="in a new form", v=...))


@pytest.mark.parametrize(
    "requires",
    [..., None, "encryption", [1], [""], ["b", "a"], ["a", "a"], ["A"], ["\x1b[2J"], ["a\nb"]],
    ids=repr,
)
def test_a_broken_list_of_requirements_is_malformed_not_newer(requires):
    with pytest.raises(MalformedError) as caught:
        Root.from_payload(payload(requires=requires))
    assert not isinstance(caught.value, NewerVersionError)


@pytest.mark.parametrize("kind", [..., "head", "", 1, None])
def test_a_document_of_another_type_is_refused(kind):
    with pytest.raises(MalformedError):
        Root.from_payload(payload(type=kind))


@pytest.mark.parametrize("data", [b"\x01", b"\x90", b"\xa1a", b"\xc0", b""])
def test_what_is_not_a_map_is_no_document(data):
    with pytest.raises(MalformedError):
        Root.from_payload(data)


def test_one_byte_over_the_limit_of_its_type_is_refused():
    room = TYPES["root"] - len(payload(x=b""))
    assert Root.from_payload(payload(x=bytes(room - 1))).extra
    with pytest.raises(MalformedError, match="at most 1024"):
        Root.from_payload(payload(x=bytes(room)))


def test_nothing_is_signed_that_nobody_would_accept():
    for wrong in (
        Root(0, b"", KEYS, KEYS.digest),
        Root(1, b"", KeySet(()), KEYS.digest),
        Root(1, b"", KEYS, b"short"),
        Root(1, b"", KEYS, KEYS.digest, extra={"big": bytes(2000)}),
        Root(1, b"", KEYS, KEYS.digest, extra={"v": 2}),
        Root(1, b"", KEYS, KEYS.digest, extra={"recovery": None}),
        Root(1, b"", KEYS, KEYS.digest, extra={"half": 0.5}),
        Root(1, b"", KEYS, KEYS.digest, requires=("magic",)),
    ):
        with pytest.raises(MalformedError):
            wrong.to_payload()


def test_a_default_that_is_spelled_out_is_a_second_spelling():
    head = Head(bytes(32), bytes(32), 1, 1, 1, 0, (b"r",), b"d")
    fields = decode(head.to_payload(), limit=1000)
    assert "not_after" not in fields
    with pytest.raises(MalformedError, match="its default; it must be left out"):
        Head.from_payload(encode({**fields, "not_after": 0}))


@pytest.mark.parametrize(
    "read",
    [
        lambda f: f.number("x"),
        lambda f: f.time("x"),
        lambda f: f.text("x", 9),
        lambda f: f.data("x", 9),
        lambda f: f.digest("x"),
        lambda f: f.name("x"),
        lambda f: f.texts("x", 9, 9),
        lambda f: f.data_list("x", 9, 9),
        lambda f: f.keys("x", 9),
        lambda f: f.parts("x", 9),
        lambda f: f.table("x", 9),
    ],
)
@pytest.mark.parametrize("value", [..., None, True, -1, 2**53, "\x07", b"", [1, 1], [{}, b""]])
def test_a_field_that_is_missing_or_of_the_wrong_kind_is_named(read, value):
    fields = Fields({} if value is ... else {"x": value}, "this thing")
    with pytest.raises(MalformedError, match=r"this thing.*x "):
        read(fields)


def test_true_is_not_the_number_one():
    with pytest.raises(MalformedError, match="whole number"):
        Fields({"x": True}, "this").number("x")


@pytest.mark.parametrize("value", [False, 1, None, "true"])
def test_a_flag_is_true_or_left_out(value):
    assert Fields({}, "this").flag("x") is False
    assert Fields({"x": True}, "this").flag("x") is True
    with pytest.raises(MalformedError):
        Fields({"x": value}, "this").flag("x")


def test_a_text_is_measured_in_bytes():
    assert Fields({"x": "é"}, "this").text("x", 2) == "é"
    with pytest.raises(MalformedError, match="1 to 1 bytes"):
        Fields({"x": "é"}, "this").text("x", 1)


@pytest.mark.parametrize(
    "character", ["\x00", "\x1b", "\x7f", "\x9b", "\u2028", "\u202e", "\u2066"]
)
def test_text_cannot_move_the_cursor_of_a_terminal(character):
    for lines in (False, True):
        assert has_control(f"a{character}b", lines=lines)
        with pytest.raises(MalformedError, match="control character"):
            Fields({"x": f"a{character}b"}, "this").text("x", 99, lines=lines)


def test_line_ends_are_for_messages_only():
    assert Fields({"x": "a\n\tb"}, "this").text("x", 99, lines=True) == "a\n\tb"
    with pytest.raises(MalformedError):
        Fields({"x": "a\n"}, "this").text("x", 99)


@pytest.mark.parametrize("wrong", [[b"b" * 32, b"a" * 32], [b"a" * 32] * 2, [b"a"], [], ["a"]])
def test_a_set_of_digests_is_sorted_and_has_each_once(wrong):
    assert Fields({"x": [b"a" * 32, b"b" * 32]}, "this").digests("x", 2)
    with pytest.raises(MalformedError):
        Fields({"x": wrong}, "this").digests("x", 8)


def test_a_list_ends_at_its_limit():
    for read in (
        lambda f: f.texts("x", 2, 9),
        lambda f: f.parts("x", 2),
        lambda f: f.keys("x", 2),
        lambda f: f.digests("x", 2),
    ):
        with pytest.raises(MalformedError, match="has 3 entries; at most 2"):
            read(Fields({"x": ["a", "b", "c"]}, "this"))
    with pytest.raises(MalformedError, match="has 3 entries; at most 2"):
        Fields({"x": {"a": 1, "b": 2, "c": 3}}, "this").table("x", 2)


def test_an_unknown_key_cannot_shadow_a_known_one():
    with pytest.raises(MalformedError, match="'a' is among the unknown keys"):
        joined({"a": None}, {"a": 1})


def test_every_type_has_a_limit_that_fits_its_envelope():
    assert TYPES["head"] < limits.MAX_HEAD
    assert min(TYPES.values()) > 0
