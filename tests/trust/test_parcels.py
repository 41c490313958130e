"""Several people sign one document on machines of their own; their parcels become one."""

import pytest

from p2phub.errors import MalformedError
from p2phub.formats import limits
from p2phub.formats.parcel import Parcel
from p2phub.trust.envelope import Envelope, Signature, sign_payload
from p2phub.trust.keys import SigningKey
from p2phub.trust.parcels import envelopes, merged, packed

ALICE, BOB, CAROL = (SigningKey(bytes([n]) * 32) for n in (1, 2, 3))


def signed(payload, *keys, type="root"):
    return sign_payload(type, payload, keys)


def test_two_parcels_of_one_document_become_one_with_the_signatures_of_both():
    (found,) = envelopes(merged([packed([signed(b"x", ALICE)]), packed([signed(b"x", BOB)])]))
    assert found.signed_by() == {ALICE.public, BOB.public}


def test_documents_of_both_are_kept_and_each_once():
    first, second = signed(b"x", ALICE), signed(b"y", ALICE)
    parcel = merged([packed([first, second]), packed([second, signed(b"z", BOB)])])
    assert [each.payload for each in envelopes(parcel)] == [b"x", b"y", b"z"]


def test_one_payload_as_two_types_stays_two_documents():
    parcel = packed([signed(b"x", ALICE), signed(b"x", ALICE, type="release")])
    assert len(envelopes(parcel)) == 2
    assert [each.type for each in envelopes(parcel, "release")] == ["release"]


def test_the_order_of_merging_does_not_matter():
    parts = [packed([signed(b"x", key)]) for key in (ALICE, BOB, CAROL)]
    assert merged(parts) == merged(reversed(parts))


def test_a_forged_signature_is_not_carried_on_and_hides_no_right_one():
    forged = Envelope("root", b"x", (Signature(ALICE.public, bytes(64)),))
    for order in (1, -1):
        pair = [packed([forged]), packed([signed(b"x", ALICE)])][::order]
        (found,) = envelopes(merged(pair))
        assert found.signed_by() == {ALICE.public}
    assert envelopes(merged([Parcel((forged.pack(),))]))[0].signatures == ()


def test_a_document_nobody_signed_yet_can_travel():
    (found,) = envelopes(packed([signed(b"x")]))
    assert found.signatures == ()


def test_a_page_in_a_parcel_is_kept_and_is_no_envelope():
    parcel = merged([Parcel((b"\x80 page", signed(b"x", ALICE).pack())), Parcel((b"\x80 page",))])
    assert parcel.documents[0] == b"\x80 page"
    assert len(parcel.documents) == 2
    assert len(envelopes(parcel)) == 1


def test_more_documents_than_a_parcel_holds_are_refused():
    half = limits.MAX_PARCEL_DOCUMENTS // 2
    parts = [packed([signed(b"%d" % n) for n in range(at, at + half)]) for at in (0, half)]
    assert len(merged(parts).documents) == limits.MAX_PARCEL_DOCUMENTS
    with pytest.raises(MalformedError):
        merged([*parts, packed([signed(b"one more")])])


def test_more_signatures_than_an_envelope_holds_are_refused():
    keys = [SigningKey(bytes([n]) * 32) for n in range(limits.MAX_SIGNATURES + 1)]
    parts = [packed([signed(b"x", *keys[:8])]), packed([signed(b"x", *keys[8:16])])]
    assert len(envelopes(merged(parts))[0].signatures) == limits.MAX_SIGNATURES
    with pytest.raises(MalformedError):
        merged([*parts, packed([signed(b"x", keys[16])])])


def test_a_parcel_with_broken_or_no_documents_is_refused():
    with pytest.raises(MalformedError):
        merged([])
    broken = signed(b"x", ALICE).pack()[:-1]
    with pytest.raises(MalformedError):
        merged([Parcel((broken,))])
