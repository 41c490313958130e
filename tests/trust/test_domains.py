"""Domains: what is one, what it says of publishers, and what remains of an old proof."""

import json

import pytest

from p2phub.errors import MalformedError, UsageError
from p2phub.formats.ids import PublisherId
from p2phub.formats.limits import (
    MAX_DOMAIN,
    MAX_DOMAIN_PUBLISHERS,
    MAX_PROFILE_TEXT,
)
from p2phub.trust.domains import (
    DomainCheck,
    check_profile_name,
    claimed_domain,
    claimed_name,
    concluded,
    listed_in_file,
    listed_in_texts,
    proof_file,
    proof_text,
    read_domain,
    txt_name,
)

LAB, OTHER = PublisherId(bytes(32)), PublisherId(b"x" * 32)
LONGEST = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 61])


def numbered(count):
    return [PublisherId(number.to_bytes(32, "big")) for number in range(count)]


class TestADomain:
    @pytest.mark.parametrize(
        ("text", "spelled"),
        [
            ("example.org", "example.org"),
            ("Example.ORG.", "example.org"),
            ("a-b.c2.example", "a-b.c2.example"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("straße.example", "xn--strae-oqa.example"),
            (LONGEST, LONGEST),
        ],
    )
    def test_has_one_spelling(self, text, spelled):
        assert read_domain(text) == spelled

    def test_in_letters_that_look_latin_is_shown_as_punycode(self):
        assert read_domain("ехаmple.org").startswith("xn--")  # noqa: RUF001

    @pytest.mark.parametrize(
        "text",
        [
            "",
            ".",
            "localhost",
            "example",
            ".example.org",
            "example..org",
            "-a.example",
            "a-.example",
            "a" * 64 + ".example",
            LONGEST + "d",
            "a_b.example",
            "exa mple.org",
            "example.org/path",
            "example.org:443",
            "user@example.org",
            "https://example.org",
            "example.org\n",
            "example.org\x00.evil.example",
            "example.org\u202e.moc",
            "\x1b[2Jexample.org",
            "127.0.0.1",
            "1.2.3.0x7f",
            "2130706433",
            "[::1]",
            "ü" * 300 + ".example",
        ],
    )
    def test_is_nothing_else(self, text):
        with pytest.raises(UsageError) as caught:
            read_domain(text)
        assert caught.value.message.isprintable()

    def test_ends_with_253_characters(self):
        assert len(read_domain(LONGEST)) == MAX_DOMAIN == 253


class TestAProfile:
    def test_claims_a_name_and_a_domain(self):
        profile = {"name": " The Lab ", "domain": "Example.org"}
        assert (claimed_name(profile), claimed_domain(profile)) == ("The Lab", "example.org")

    @pytest.mark.parametrize("domain", ["", "\x1b[2J", "127.0.0.1", "x" * 1000])
    def test_with_a_hostile_domain_claims_none(self, domain):
        assert claimed_domain({"domain": domain}) is None

    def test_without_a_name_claims_none(self):
        assert claimed_name({}) is claimed_name({"name": "  "}) is None

    @pytest.mark.parametrize("text", ["a\x1b[2J", "a\nb", "a\u202eb", "x" * (MAX_PROFILE_TEXT + 1)])
    def test_takes_no_name_that_steers_a_terminal_or_is_too_long(self, text):
        with pytest.raises(UsageError):
            check_profile_name(text)

    def test_takes_a_name_as_long_as_it_may_be(self):
        assert len(check_profile_name("x" * MAX_PROFILE_TEXT)) == MAX_PROFILE_TEXT


class TestTheFile:
    def test_names_publishers_as_json_or_as_lines(self):
        both = frozenset({LAB, OTHER})
        assert listed_in_file(proof_file(LAB).encode()) == {LAB}
        assert listed_in_file(f"# ours\n{LAB}\r\n\n  {OTHER}\n".encode()) == both
        assert listed_in_file(json.dumps({"publishers": [str(LAB)], "more": 1}).encode()) == {LAB}

    @pytest.mark.parametrize("data", [b"", b"\n", b'{"publishers": []}', b"# nobody yet\n"])
    def test_may_name_nobody(self, data):
        assert listed_in_file(data) == frozenset()

    @pytest.mark.parametrize(
        "data",
        [
            b"<html>not found</html>",
            b"\xff\xfe",
            b"{",
            b"[]",
            b"{}",
            b'{"publishers": "x"}',
            b'{"publishers": [1]}',
            b'{"publishers": [["x"]]}',
            b"[" * 60_000,
            b'{"publishers":' * 4000,
            f"{LAB} {OTHER}".encode(),
            str(LAB).upper().encode(),
            f"{str(LAB)[:-1]}b".encode(),
        ],
    )
    def test_of_another_kind_is_refused(self, data):
        with pytest.raises(MalformedError):
            listed_in_file(data)

    def test_names_no_more_than_it_may(self):
        most = numbered(MAX_DOMAIN_PUBLISHERS)
        assert len(listed_in_file("\n".join(map(str, most)).encode())) == MAX_DOMAIN_PUBLISHERS
        with pytest.raises(MalformedError):
            listed_in_file("\n".join(map(str, numbered(MAX_DOMAIN_PUBLISHERS + 1))).encode())


class TestTextRecords:
    def test_name_publishers_among_other_things(self):
        texts = ["v=spf1 -all", proof_text(LAB), "p2phub=", f"p2phub={LAB}x", f"P2PHUB={OTHER}"]
        assert listed_in_texts(texts) == {LAB}

    def test_with_a_typing_error_name_nobody(self):
        assert listed_in_texts([f"p2phub={str(LAB)[:-1]}b"]) == frozenset()

    def test_name_no_more_than_they_may(self):
        most = numbered(MAX_DOMAIN_PUBLISHERS)
        assert len(listed_in_texts(map(proof_text, most))) == MAX_DOMAIN_PUBLISHERS
        with pytest.raises(MalformedError):
            listed_in_texts(map(proof_text, numbered(MAX_DOMAIN_PUBLISHERS + 1)))

    def test_stand_below_the_domain(self):
        assert txt_name("example.org") == "_p2phub.example.org"


@pytest.mark.parametrize(
    ("file", "texts", "result"),
    [
        ({LAB}, None, "https"),
        ({LAB, OTHER}, {OTHER}, "https"),
        ({OTHER}, {LAB}, "dns"),
        (None, {LAB}, "dns"),
        (set(), {LAB}, "dns"),
        ({OTHER}, None, "contradicted"),
        (None, {OTHER}, "contradicted"),
        (set(), set(), "contradicted"),
        (set(), None, "unreachable"),
        (None, set(), "unreachable"),
        (None, None, "unreachable"),
    ],
)
def test_either_way_proves_and_silence_of_one_contradicts_nothing(file, texts, result):
    def frozen(named):
        return None if named is None else frozenset(named)

    assert concluded(LAB, frozen(file), frozen(texts)) == result


class TestAnOldProof:
    def test_has_the_date_of_the_last_look_that_proved(self):
        proved = DomainCheck("example.org", "https", 100).after(None)
        assert proved.proved == 100
        assert DomainCheck("example.org", "dns", 200).after(proved).proved == 200

    def test_is_remembered_while_nobody_answers(self):
        proved = DomainCheck("example.org", "https", 100, 100)
        assert DomainCheck("example.org", "unreachable", 200).after(proved).proved == 100

    def test_ends_with_a_contradiction_or_with_another_domain(self):
        proved = DomainCheck("example.org", "https", 100, 100)
        assert DomainCheck("example.org", "contradicted", 200).after(proved).proved is None
        assert DomainCheck("example.net", "unreachable", 200).after(proved).proved is None
