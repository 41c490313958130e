"""Notices and parcels of strangers: they parse or fail with an error of ours; one changed byte
makes another document; and what the gate refuses changes nothing that it knows.
"""

from contextlib import suppress

from hypothesis import example, given
from hypothesis import strategies as st

from p2phub.errors import MalformedError
from p2phub.formats.codec import decode, encode
from p2phub.formats.documents import TYPES
from p2phub.formats.notices import NOTICES
from p2phub.formats.parcel import Parcel
from p2phub.testing.notices import fork_proof, revoke_file, revoke_key, revoke_release, withdraw
from p2phub.testing.publishers import CREATED, FakePublisher
from p2phub.trust.catalog import TrustedCatalog
from p2phub.trust.envelope import LIMITS, Envelope, sign_payload, unpack
from p2phub.trust.parcels import envelopes
from p2phub.trust.refusals import Refusal
from tests.fuzz.values import values

LAB = FakePublisher(1, writers=("release", "second"))
MADE = LAB.publish("demo", {"README.md": b"hello"})
_ONE, _ = LAB.sign_index(writer="second", writer_seq=7)
_TWO, _ = LAB.sign_index(writer="second", writer_seq=7, created=5)
ENVELOPES = {
    "key": revoke_key(LAB, "second", 1, MADE.index.digest),
    "release": revoke_release(LAB, MADE.release.digest),
    "file": revoke_file(LAB, b"f" * 32),
    "withdrawal": withdraw(LAB, MADE.release.digest),
    "fork": fork_proof(LAB, _ONE, _TWO),
}
PACKED = {name: envelope.pack() for name, envelope in ENVELOPES.items()}
PARCEL = Parcel(tuple(PACKED.values())).to_bytes()

names = st.sampled_from(sorted(PACKED))


def gate() -> TrustedCatalog:
    made = TrustedCatalog()
    for data in MADE.packed:
        made.offer(data, CREATED)
    return made


def known(catalog: TrustedCatalog) -> object:
    """Everything that a notice could change."""
    history = catalog.history(LAB.publisher)
    assert history is not None
    notices = history.notices
    return (
        history.state,
        dict(notices._revocations),
        {release: dict(keys) for release, keys in notices._withdrawals.items()},
        dict(notices._forks),
    )


def offer(catalog: TrustedCatalog, data: bytes) -> bool:
    """Whether the gate took it; what it refused changed nothing, and any other error gets out."""
    before = known(catalog)
    try:
        catalog.offer(data, CREATED)
    except Refusal as error:
        refusal = error
    else:
        return True
    assert not refusal.verdict.good
    assert known(catalog) == before
    return False


def test_the_fuzz_knows_every_type_of_notice():
    """Every other type of document is fuzzed in test_documents.py."""
    assert {envelope.type for envelope in ENVELOPES.values()} == set(NOTICES)
    assert set(NOTICES) < set(TYPES)


def test_each_is_taken_as_it_is():
    for data in PACKED.values():
        assert offer(gate(), data)


@given(names, st.data())
def test_one_changed_byte_is_refused(name, data):
    original = PACKED[name]
    at = data.draw(st.integers(0, len(original) - 1))
    to = data.draw(st.integers(0, 255).filter(lambda byte: byte != original[at]))
    assert not offer(gate(), original[:at] + bytes([to]) + original[at + 1 :])


@given(names, names, st.data())
def test_notices_cut_and_spliced_are_refused(first, second, data):
    one, other = PACKED[first], PACKED[second]
    head = one[: data.draw(st.integers(0, len(one)))]
    tail = other[data.draw(st.integers(0, len(other))) :]
    assert offer(gate(), head + tail) == (head + tail in PACKED.values())


@given(names, st.binary(min_size=1, max_size=20))
def test_bytes_before_or_after_a_notice_are_refused(name, more):
    assert not offer(gate(), PACKED[name] + more)
    assert not offer(gate(), more + PACKED[name])


@given(names, st.data(), values | st.integers(0, 5))
def test_a_publisher_gone_mad_is_accepted_or_refused(name, data, value):
    """Whoever holds the keys can sign anything: one field of a good notice is any value."""
    good = ENVELOPES[name]
    fields = dict(decode(good.payload, limit=LIMITS[good.type]))
    fields[data.draw(st.sampled_from([*fields, "x-new"]))] = value
    with suppress(MalformedError):
        signers = [*LAB.root_signers(1), LAB.key("release")]
        forged = sign_payload(good.type, encode(fields), signers if good.signatures else [])
        catalog, packed = gate(), forged.pack()
        if offer(catalog, packed):
            once = known(catalog)
            assert offer(catalog, packed)
            assert known(catalog) == once


@given(st.sampled_from(sorted(NOTICES)), st.binary(max_size=200))
def test_any_payload_is_a_notice_or_malformed(type, payload):
    with suppress(MalformedError):
        found = NOTICES[type].from_payload(payload)
        assert found.to_payload() == payload
    assert not offer(gate(), Envelope(type, payload, ()).pack())


@given(st.permutations(sorted(PACKED)))
def test_the_order_of_notices_makes_no_difference(order):
    one, other = gate(), gate()
    for catalog, sequence in ((one, order), (other, sorted(PACKED))):
        for name in sequence:
            with suppress(Refusal):
                catalog.offer(PACKED[name], CREATED)
    assert known(one) == known(other)


# ---------------------------------------------------------------- parcels


@given(st.binary(max_size=300))
@example(b"")
@example(b"\x82\xa9documents\x90\xa4type\xa6parcel")
def test_any_bytes_are_a_parcel_or_malformed(data):
    with suppress(MalformedError):
        assert Parcel.from_bytes(data).to_bytes() == data


@given(st.data())
def test_one_changed_byte_of_a_parcel_is_another_parcel_or_none(data):
    at = data.draw(st.integers(0, len(PARCEL) - 1))
    to = data.draw(st.integers(0, 255).filter(lambda byte: byte != PARCEL[at]))
    wrong = PARCEL[:at] + bytes([to]) + PARCEL[at + 1 :]
    with suppress(MalformedError):
        parcel = Parcel.from_bytes(wrong)
        assert parcel.to_bytes() == wrong
        assert parcel.documents != Parcel.from_bytes(PARCEL).documents
        taken = [offer(gate(), document) for document in parcel.documents]
        assert taken.count(True) < len(PACKED), "whatever changed, one document is not taken"


@given(values, values)
def test_parcels_of_any_shape_are_refused(documents, more):
    for fields in (
        {"documents": documents, "type": "parcel"},
        {"documents": [PACKED["file"]], "type": "parcel", "more": more},
        {"documents": [PACKED["file"]], "type": more},
    ):
        try:
            data = encode(fields)
        except MalformedError:
            continue
        with suppress(MalformedError):
            envelopes(Parcel.from_bytes(data))


def test_the_envelopes_of_a_parcel_are_those_that_were_put_in():
    assert [each.pack() for each in envelopes(Parcel.from_bytes(PARCEL))] == list(PACKED.values())
    assert unpack(PACKED["fork"]).signatures == ()
