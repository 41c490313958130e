"""Envelopes: what is signed, what is refused before it is decoded, and how signatures merge."""

import pytest

from p2phub.errors import MalformedError, WrongBytesError
from p2phub.formats import limits
from p2phub.formats.codec import encode
from p2phub.trust.envelope import (
    LIMITS,
    Envelope,
    Signature,
    claimed_type,
    is_envelope,
    merge,
    pre_authentication,
    sign_payload,
    unpack,
)
from p2phub.trust.keys import SigningKey

KEYS = [SigningKey(bytes([number]) * 32) for number in range(1, 19)]
ALICE, BOB = KEYS[:2]
MEDIA = "application/vnd.p2phub.release+msgpack"


def packed(**changes: object) -> bytes:
    """The bytes of an envelope whose fields are `changes`, whatever they are."""
    fields: dict[str, object] = {"payload": b"body", "signatures": [], "type": MEDIA}
    return encode(fields | changes)


def raw(signature: Signature) -> dict[str, bytes]:
    return {"key": signature.key, "signature": signature.signature}


def test_the_bytes_that_are_signed_are_those_of_dsse():
    assert pre_authentication("release", b"a b") == (
        b"DSSEv1 38 application/vnd.p2phub.release+msgpack 3 a b"
    )


def test_an_envelope_survives_packing():
    envelope = sign_payload("release", b"body", [BOB, ALICE])
    assert unpack(envelope.pack()) == envelope
    assert envelope.signed_by() == {ALICE.public, BOB.public}
    assert [s.key for s in envelope.signatures] == sorted([ALICE.public, BOB.public])


def test_a_signature_is_of_one_type_only():
    """Bytes signed as a release are not signed as an index, even if they parse as both."""
    release = sign_payload("release", b"body", [ALICE])
    index = Envelope("index", release.payload, release.signatures)
    assert index.signed_by() == frozenset()


def test_a_changed_payload_is_signed_by_nobody():
    envelope = sign_payload("release", b"body", [ALICE])
    assert Envelope("release", b"bodz", envelope.signatures).signed_by() == frozenset()


def test_a_signature_under_another_key_does_not_count():
    envelope = sign_payload("release", b"body", [ALICE])
    stolen = Signature(BOB.public, envelope.signatures[0].signature)
    assert Envelope("release", b"body", (stolen,)).signed_by() == frozenset()


def test_one_changed_byte_anywhere_fails():
    envelope = sign_payload("release", b"body", [ALICE])
    data = envelope.pack()
    for at in range(len(data)):
        wrong = bytearray(data)
        wrong[at] ^= 1
        try:
            other = unpack(bytes(wrong))
        except MalformedError:
            continue
        assert (other.type, other.digest) != ("release", envelope.digest) or not other.signed_by()


def test_every_cut_of_an_envelope_is_refused():
    data = sign_payload("release", b"body", [ALICE]).pack()
    for size in range(len(data)):
        with pytest.raises(MalformedError):
            unpack(data[:size])
    with pytest.raises(MalformedError):
        unpack(data + b"\x00")


def test_a_duplicate_signer_is_refused():
    signature = sign_payload("release", b"body", [ALICE]).signatures[0]
    other = Signature(ALICE.public, bytes(64))
    for pair in ([signature, signature], [signature, other]):
        with pytest.raises(MalformedError, match="two by one key"):
            unpack(packed(signatures=[raw(s) for s in pair]))


def test_signatures_out_of_order_are_refused():
    signatures = sign_payload("release", b"body", [ALICE, BOB]).signatures
    with pytest.raises(MalformedError, match="out of order"):
        unpack(packed(signatures=[raw(s) for s in reversed(signatures)]))


def test_seventeen_signatures_are_refused():
    keys = KEYS[: limits.MAX_SIGNATURES + 1]
    signatures = sorted(Signature(key.public, bytes(64)) for key in keys)
    with pytest.raises(MalformedError, match="17 signatures"):
        unpack(packed(signatures=[raw(s) for s in signatures]))


@pytest.mark.parametrize(
    "changes",
    [
        {"payload": "text"},
        {"payload": None},
        {"signatures": b""},
        {"signatures": [[]]},
        {"signatures": [{"key": b"k" * 32}]},
        {"signatures": [{"key": b"k" * 31, "signature": b"s" * 64}]},
        {"signatures": [{"key": b"k" * 32, "signature": b"s" * 63}]},
        {"signatures": [{"key": b"k" * 32, "signature": b"s" * 64, "note": 1}]},
        {"type": 5},
        {"type": "release"},
        {"type": "application/vnd.p2phub.page+msgpack"},
        {"type": "application/vnd.p2phub.+msgpack"},
        {"type": MEDIA + "x"},
        {"typf": MEDIA},
        {"zone": 1},
    ],
)
def test_what_is_shaped_differently_is_refused(changes):
    with pytest.raises(MalformedError):
        unpack(packed(**changes))


@pytest.mark.parametrize("type", LIMITS)
def test_endless_data_is_refused_by_the_limit_of_the_type_it_claims(type, monkeypatch):
    """The length is compared before anything is decoded: decoding is made impossible here."""
    media = f"application/vnd.p2phub.{type}+msgpack"
    data = packed(payload=bytes(LIMITS[type]), type=media)

    def explode(data: bytes, *, limit: int) -> object:
        assert len(data) < 100, "the whole envelope was decoded"
        return media

    monkeypatch.setattr("p2phub.trust.envelope.decode", explode)
    with pytest.raises(MalformedError, match=f"a {type} of {len(data)} bytes"):
        unpack(data)


def test_a_caller_can_set_a_lower_limit():
    data = sign_payload("release", bytes(500), [ALICE]).pack()
    assert unpack(data, len(data))
    with pytest.raises(MalformedError, match="at most 500"):
        unpack(data, 500)


def test_a_head_that_would_be_too_large_is_refused_before_it_is_sent():
    with pytest.raises(MalformedError, match="at most 10240"):
        sign_payload("head", bytes(limits.MAX_HEAD), [ALICE])


def test_the_largest_payload_with_every_signature_fits_its_envelope():
    sizes = {
        "root": limits.MAX_ROOT,
        "delegation": limits.MAX_DELEGATION,
        "index": limits.MAX_INDEX,
        "release": limits.MAX_RELEASE,
    }
    signers = KEYS[: limits.MAX_SIGNATURES]
    signatures = tuple(sorted(Signature(key.public, bytes(64)) for key in signers))
    for type, size in sizes.items():
        assert len(Envelope(type, bytes(size), signatures).pack()) <= LIMITS[type]


def test_a_type_that_nothing_is_sealed_as_cannot_be_signed():
    with pytest.raises(MalformedError, match="page"):
        sign_payload("page", b"body", [ALICE])


def test_merging_unites_the_signers():
    one, two = (sign_payload("release", b"body", [key]) for key in (ALICE, BOB))
    both = merge(one, two)
    assert both == merge(two, one) == sign_payload("release", b"body", [ALICE, BOB])
    assert merge(both, one) == both


def test_merging_drops_signatures_that_do_not_verify():
    good = sign_payload("release", b"body", [ALICE])
    bad = Envelope("release", b"body", (Signature(ALICE.public, bytes(64)),))
    assert merge(good, bad) == merge(bad, good) == good


def test_merging_different_documents_is_refused():
    release = sign_payload("release", b"body", [ALICE])
    with pytest.raises(WrongBytesError):
        merge(release, sign_payload("release", b"bodz", [BOB]))
    with pytest.raises(WrongBytesError):
        merge(release, sign_payload("index", b"body", [BOB]))


def test_merging_cannot_flood_an_envelope():
    one, two = (sign_payload("release", b"body", keys) for keys in (KEYS[:9], KEYS[9:18]))
    with pytest.raises(MalformedError, match="18 signatures"):
        merge(one, two)


def test_only_keeps_the_signatures_asked_for():
    both = sign_payload("release", b"body", [ALICE, BOB])
    assert both.only([ALICE.public]) == sign_payload("release", b"body", [ALICE])
    assert both.only([]).digest == both.digest


def test_the_type_is_read_without_decoding():
    data = sign_payload("index", bytes(1000), [ALICE]).pack()
    assert claimed_type(data) == "index"
    assert is_envelope(data)


@pytest.mark.parametrize("data", [b"", b"\x83", b"\xa4type", b"\x80", bytes(100)])
def test_other_bytes_are_no_envelope(data):
    assert not is_envelope(data)
    with pytest.raises(MalformedError):
        claimed_type(data)


def test_a_type_hidden_in_the_payload_is_not_the_type():
    """The last key of the map decides, whatever the payload ends with."""
    inner = sign_payload("head", b"body", [ALICE]).pack()
    outer = sign_payload("release", inner, []).pack()
    assert claimed_type(outer) == unpack(outer).type == "release"
