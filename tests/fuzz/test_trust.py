"""Strangers at the gate: whatever they send is accepted or refused with an error of ours.

The invariants: arbitrary bytes give a `Refusal` or our own error; one changed byte of an accepted
document fails; documents in any order leave the gate in a state that an honest order could leave.
"""

from contextlib import suppress

from hypothesis import example, given
from hypothesis import strategies as st

from p2phub.errors import MalformedError, P2PHubError
from p2phub.formats.codec import decode, encode
from p2phub.testing.publishers import CREATED, FakePublisher
from p2phub.trust.catalog import TrustedCatalog
from p2phub.trust.envelope import LIMITS, claimed_type, merge, sign_payload, unpack
from p2phub.trust.keys import verify
from p2phub.trust.records import best, check_head
from p2phub.trust.refusals import Refusal
from tests.fuzz.values import values

LAB = FakePublisher(1, writers=("release", "second"))
MADE = LAB.publish("demo", {"README.md": b"hello"}, signers=("release", "second"))
DOCUMENTS = dict(zip(("head", "index", "page", "release"), MADE.packed, strict=True))
SIGNED = ("head", "index", "release")

names = st.sampled_from(sorted(DOCUMENTS))


def catalog() -> TrustedCatalog:
    made = TrustedCatalog()
    for data in MADE.packed:
        made.offer(data, CREATED)
    return made


def offer(gate: TrustedCatalog, data: bytes) -> bool:
    """Whether the gate took it; anything but a `Refusal` gets out."""
    try:
        accepted = gate.offer(data, CREATED)
    except Refusal as error:
        refusal = error
    else:
        assert gate.is_wanted(accepted.digest) or accepted.type == "head"
        return True
    assert not refusal.verdict.good
    assert [step.ok for step in refusal.steps].index(False) == len(refusal.steps) - 1
    return False


@given(st.binary(max_size=300))
@example(b"")
@example(b"\x83\xa7payload")
@example(b"\x83\xa7payload\xc4\x00\xaasignatures\x90\xa4type\xa0")
@example(b"\x83\xa7payload\xa4type\xd9\xff")
def test_arbitrary_bytes_are_refused(data):
    assert not offer(catalog(), data)
    for read in (unpack, claimed_type):
        with suppress(MalformedError):
            read(data)
    with suppress(Refusal):
        check_head(LAB.head_key, data)


@given(names, st.data())
def test_one_changed_byte_is_refused(name, data):
    original = DOCUMENTS[name]
    at = data.draw(st.integers(0, len(original) - 1))
    to = data.draw(st.integers(0, 255).filter(lambda byte: byte != original[at]))
    wrong = original[:at] + bytes([to]) + original[at + 1 :]
    assert not offer(catalog(), wrong)


@given(names, names, st.data())
def test_documents_cut_and_spliced_are_refused(first, second, data):
    one, other = DOCUMENTS[first], DOCUMENTS[second]
    head = one[: data.draw(st.integers(0, len(one)))]
    tail = other[data.draw(st.integers(0, len(other))) :]
    assert offer(catalog(), head + tail) == (head + tail in MADE.packed)


@given(names, st.binary(min_size=1, max_size=20))
def test_bytes_before_or_after_a_document_are_refused(name, more):
    assert not offer(catalog(), DOCUMENTS[name] + more)
    assert not offer(catalog(), more + DOCUMENTS[name])


def encoded(value) -> bytes | None:
    try:
        return encode(value)
    except MalformedError:
        return None


@given(st.sampled_from(SIGNED), st.data(), values | st.integers(0, 5))
def test_a_publisher_gone_mad_is_accepted_or_refused(name, data, value):
    """Whoever holds the keys can sign anything: one field of a good document is any value."""
    fields = dict(decode(unpack(DOCUMENTS[name]).payload, limit=LIMITS[name]))
    fields[data.draw(st.sampled_from([*fields, "x-new"]))] = value
    payload = encoded(fields)
    if payload is None or len(payload) > LIMITS["head"] - 500:
        return
    signed = sign_payload(name, payload, [LAB.key("release"), LAB.key("second")])
    gate = TrustedCatalog()
    assert offer(gate, LAB.sign_head(index=signed.digest).pack())
    if name == "release":
        gate.expect(signed.digest, LAB.publisher)
    if offer(gate, signed.pack()):
        assert offer(gate, signed.pack())


@given(values, values, values)
def test_envelopes_of_any_shape_are_refused(payload, signatures, type):
    data = encoded({"payload": payload, "signatures": signatures, "type": type})
    if data is not None:
        assert not offer(catalog(), data)


@given(st.binary(max_size=70), st.binary(max_size=40), st.binary(max_size=70))
def test_verifying_anything_is_true_or_false(public, data, signature):
    assert verify(public, data, signature) is False


def _story() -> list[bytes]:
    """Everything a publisher signs in a life with a rotation, a replaced key and three releases."""
    lab = FakePublisher(7)
    story = [*lab.publish("a", {"x": b"1"}).packed, *lab.publish("a", {"x": b"2"}).packed]
    lab.rotate()
    story.append(lab.sign_head().pack())
    lab.delegate("fresh")
    story += lab.publish("b", {"x": b"3"}, writer="fresh").packed
    twin = FakePublisher(7)
    story += twin.publish("a", {"x": b"evil"}).packed
    return story


STORY = _story()


@given(st.lists(st.sampled_from(range(len(STORY))), max_size=40))
@example(list(range(len(STORY))))
@example(list(reversed(range(len(STORY)))))
def test_in_any_order_the_newest_head_only_grows(order):
    gate, publisher = TrustedCatalog(), FakePublisher(7).publisher
    newest = (0, 0, 0)
    for place in order:
        offer(gate, STORY[place])
        state = gate.state(publisher)
        if state is not None:
            assert state.order >= newest
            newest = state.order


@given(st.lists(st.sampled_from([*STORY, *MADE.packed]), max_size=6), st.binary(max_size=50))
def test_the_best_record_is_one_of_those_given(records, noise):
    records.append(noise)
    with suppress(MalformedError):
        assert 0 <= best(records) < len(records)


@given(st.permutations(["release", "second", "third"]), st.integers(0, 3), st.integers(0, 3))
def test_merging_gives_the_same_whoever_comes_first(signers, first, second):
    keys = [LAB.key(name) for name in signers]
    one = sign_payload("release", b"body", keys[:first])
    other = sign_payload("release", b"body", keys[second:])
    merged = merge(one, other)
    assert merged == merge(other, one) == merge(merged, one)
    assert merged.signed_by() == one.signed_by() | other.signed_by()
    with suppress(P2PHubError):
        assert unpack(merged.pack()) == merged
