"""What comes in a file from somebody: a parcel, or our own error; one value, one spelling."""

from hypothesis import given
from hypothesis import strategies as st

from p2phub.errors import MalformedError, P2PHubError
from p2phub.formats.parcel import Parcel
from p2phub.testing.publishers import FakePublisher
from p2phub.trust.envelope import sign_payload
from p2phub.trust.papers import find_papers
from p2phub.trust.parcels import envelopes, merged, packed

LAB = FakePublisher(1)
PAPERS = packed([*LAB.roots, LAB.delegation, LAB.sign_head()]).to_bytes()
KEYS = [LAB.key(name) for name in "abc"]

documents = st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=6, unique=True)
signed = st.builds(
    lambda payload, keys: sign_payload("release", payload, keys),
    st.sampled_from([b"one", b"two", b"three"]),
    st.sets(st.sampled_from(KEYS)),
)
parcels = st.lists(signed, min_size=1, max_size=6).map(packed)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_parcel_or_our_error(data):
    try:
        parcel = Parcel.from_bytes(data)
    except MalformedError:
        return
    assert parcel.to_bytes() == data


@given(documents)
def test_what_was_written_is_read(found):
    parcel = Parcel(tuple(found))
    assert Parcel.from_bytes(parcel.to_bytes()) == parcel


@given(st.integers(0, len(PAPERS) - 1), st.integers(1, 255))
def test_one_changed_byte_never_makes_other_papers(at, change):
    """It is our error, or the same papers: a signature is not part of what it signs."""
    data = bytearray(PAPERS)
    data[at] ^= change
    try:
        found = find_papers(envelopes(Parcel.from_bytes(bytes(data))), LAB.publisher)
    except P2PHubError:
        return
    assert found.identity.publisher == LAB.publisher
    assert found.identity.delegation_digest == LAB.delegation.digest


@given(st.integers(0, len(PAPERS) - 1))
def test_a_parcel_that_was_cut_off_is_our_error(at):
    try:
        Parcel.from_bytes(PAPERS[:at])
    except MalformedError:
        return
    raise AssertionError("a part of a parcel was read as one")


@given(st.lists(parcels, min_size=1, max_size=3))
def test_joining_loses_no_signature_and_nobody_can_tell_the_order(found):
    together = {each.digest: each.signed_by() for each in envelopes(merged(found))}
    for parcel in found:
        for each in envelopes(parcel):
            assert each.signed_by() <= together[each.digest]
    backwards = {each.digest: each.signed_by() for each in envelopes(merged(found[::-1]))}
    assert backwards == together
    assert merged([merged(found), *found]) == merged(found)
