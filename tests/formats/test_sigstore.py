"""The Sigstore bundle: what is read of a stranger's JSON, and what is refused before it unfolds."""

import base64
import json

import pytest

from p2phub.errors import MalformedError
from p2phub.formats import limits
from p2phub.formats.sigstore import Bundle, pre_authentication, read_json

BUNDLE = Bundle(b'{"a":1}', b"\x30\x02\x00\x00", "0f" * 32)


def changed(**parts) -> bytes:
    text = json.loads(BUNDLE.pack())
    return json.dumps(text | parts).encode()


def changed_envelope(**parts) -> bytes:
    return changed(dsseEnvelope=json.loads(BUNDLE.pack())["dsseEnvelope"] | parts)


def test_it_is_read_as_it_was_written():
    assert Bundle.unpack(BUNDLE.pack()) == BUNDLE


def test_what_is_signed_is_the_encoding_of_dsse():
    assert pre_authentication(b"hello") == b"DSSEv1 28 application/vnd.in-toto+json 5 hello"


def test_a_key_of_a_later_version_is_passed_over():
    assert Bundle.unpack(changed(timestampVerificationData={"x": [1]})) == BUNDLE


@pytest.mark.parametrize("hint", [None, ""])
def test_an_older_signature_says_nothing_of_its_key(hint):
    data = changed(verificationMaterial={"publicKey": {"hint": hint} if hint else {}})
    assert Bundle.unpack(data).hint == ""


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"\xff",
        b"\xef\xbb\xbf{}",
        changed()[:-1],
        changed() + b"x",
        changed(mediaType="application/vnd.dev.sigstore.bundle.v0.1+json"),
        changed(mediaType=None),
        changed(dsseEnvelope=[]),
        changed(dsseEnvelope={}),
        changed(verificationMaterial=[]),
        changed(verificationMaterial={"publicKey": {"hint": 5}}),
        changed_envelope(payloadType="text/plain"),
        changed_envelope(payload=5),
        changed_envelope(payload="a b"),
        changed_envelope(payload="aGk"),
        changed_envelope(payload="aGk\u00e9"),
        changed_envelope(signatures=[]),
        changed_envelope(signatures=[{"sig": "aGk="}] * 2),
        changed_envelope(signatures=["aGk="]),
        changed_envelope(signatures=[{}]),
        changed_envelope(signatures={"sig": "aGk="}),
    ],
)
def test_what_is_no_bundle_is_refused(data):
    with pytest.raises(MalformedError):
        Bundle.unpack(data)


def test_one_made_with_a_certificate_says_so():
    for material in ({"certificate": {"rawBytes": "aGk="}}, {"x509CertificateChain": {}}):
        with pytest.raises(MalformedError, match="certificate") as caught:
            Bundle.unpack(changed(verificationMaterial=material))
        assert "model_signing verify" in caught.value.remedy


def test_a_key_that_stands_twice_is_refused_because_readers_disagree():
    twice = BUNDLE.pack().replace(b'"payload":', b'"payload":"aGk=","payload":')
    with pytest.raises(MalformedError, match="twice"):
        Bundle.unpack(twice)


def test_nesting_ends_before_the_stack_does():
    with pytest.raises(MalformedError):
        read_json(b'{"a":' + b"[" * 3000 + b"]" * 3000 + b"}", 10_000, "it")


@pytest.mark.parametrize("word", [b"NaN", b"Infinity", b"-Infinity", b"9" * 5000])
def test_numbers_that_json_does_not_have_are_refused(word):
    with pytest.raises(MalformedError):
        read_json(b'{"a":' + word + b"}", 10, "it")


def test_the_number_of_parts_is_bounded_on_both_sides():
    assert read_json(b'{"a":[1,2]}', 3, "it") == {"a": [1, 2]}
    with pytest.raises(MalformedError, match="more than 2 parts"):
        read_json(b'{"a":[1,2]}', 2, "it")


def test_the_length_is_bounded_on_both_sides():
    room = limits.MAX_OMS - len(Bundle(b"", b"s").pack())
    fits = Bundle(bytes(room // 4 * 3), b"s")
    assert limits.MAX_OMS - len(fits.pack()) < 4
    with pytest.raises(MalformedError, match="at most"):
        Bundle(fits.payload + bytes(4), b"s").pack()
    with pytest.raises(MalformedError, match="at most"):
        Bundle.unpack(bytes(limits.MAX_OMS + 1))


def test_signature_and_hint_are_bounded_on_both_sides():
    most = Bundle(b"{}", bytes(limits.MAX_OMS_SIGNATURE), "a" * limits.MAX_OMS_HINT)
    assert Bundle.unpack(most.pack()) == most
    with pytest.raises(MalformedError, match="signature of"):
        Bundle.unpack(Bundle(b"{}", most.signature + b"x", "").pack())
    with pytest.raises(MalformedError, match="hint"):
        Bundle.unpack(Bundle(b"{}", b"s", most.hint + "a").pack())


def test_the_parts_around_the_statement_are_bounded_on_both_sides():
    here = sum(changed().count(each) for each in (b",", b"[", b"{"))
    room = limits.MAX_BUNDLE_ITEMS - here - 1
    assert Bundle.unpack(changed(more=[0] * room)) == BUNDLE
    with pytest.raises(MalformedError, match="more than"):
        Bundle.unpack(changed(more=[0] * (room + 1)))


def test_what_a_stranger_wrote_cannot_move_the_cursor():
    with pytest.raises(MalformedError) as caught:
        Bundle.unpack(changed(mediaType="\x1b[2J\n" + "x" * 500))
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 200


def test_the_payload_comes_out_as_it_went_in():
    text = json.loads(BUNDLE.pack())
    assert base64.b64decode(text["dsseEnvelope"]["payload"]) == BUNDLE.payload
