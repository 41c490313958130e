"""Head records: what a DHT server that knows nothing refuses, and which record it prefers."""

from dataclasses import replace

import pytest

from p2phub.errors import MalformedError, NewerVersionError, UntrustedError
from p2phub.formats import limits
from p2phub.formats.codec import decode, encode
from p2phub.formats.publisher import Head, ReleaseKey
from p2phub.testing.forgeries import damaged_signature, signed_by_others, tampered, unsigned
from p2phub.testing.publishers import CREATED, FakePublisher
from p2phub.trust.envelope import sign, sign_payload, unpack
from p2phub.trust.records import best, check_head, newer
from p2phub.trust.refusals import Refusal
from p2phub.trust.verdict import Verdict

FILES = {"README.md": b"hello"}


def published(seed: int = 1, times: int = 1, **options: int) -> FakePublisher:
    lab = FakePublisher(seed, **options)
    for number in range(times):
        lab.publish(f"demo{number}", FILES)
    return lab


def refused(lab: FakePublisher, record: bytes, key: str | None = None) -> Refusal:
    with pytest.raises(Refusal) as caught:
        check_head(key or lab.head_key, record)
    assert not caught.value.steps[-1].ok
    assert all(step.ok for step in caught.value.steps[:-1])
    return caught.value


def test_a_server_that_knows_nothing_can_check_a_head():
    lab = published(times=3)
    record = check_head(lab.head_key, lab.head.pack())
    assert record.publisher == lab.publisher
    assert record.order == (1, 1, 3)
    assert record.head.index == lab.index.digest


def test_a_head_with_eight_roots_fits_the_record():
    lab = published()
    for _ in range(limits.MAX_ROOTS - 1):
        lab.rotate()
    record = lab.sign_head().pack()
    assert len(record) <= limits.MAX_HEAD
    assert check_head(lab.head_key, record).order == (8, 1, 1)


def test_expiry_refuses_no_record():
    """Validators read no clock: a head of 1970 is stale, not wrong."""
    lab = published(not_after=1)
    assert check_head(lab.head_key, lab.head.pack()).fresh_until == 1


def test_endless_data_is_refused_by_its_size():
    lab = published()
    error = refused(lab, bytes(limits.MAX_HEAD + 1))
    assert error.steps[0].name == "small enough"
    assert len(error.steps) == 1


def test_arbitrary_bytes_are_refused():
    lab = published()
    for data in (b"", b"\x00", b"\xc0" * 100, lab.head.pack()[:-1], lab.head.payload):
        assert isinstance(refused(lab, data), MalformedError)


def test_another_document_is_no_head():
    lab = published()
    for data in (lab.index.pack(), lab.roots[0].pack()):
        assert isinstance(refused(lab, data), MalformedError)


def test_a_head_under_another_publishers_key_is_refused():
    lab, other = published(1), published(2)
    error = refused(lab, lab.head.pack(), other.head_key)
    assert error.verdict is Verdict.UNTRUSTED_KEY
    assert error.steps[-1].name == "at its publisher's key"


@pytest.mark.parametrize("key", ["", "/p2phub/", "/pk/abc", "x" * 10_000])
def test_a_key_that_is_none_is_refused(key):
    lab = published()
    with pytest.raises(Refusal):
        check_head(key, lab.head.pack())


def test_arbitrary_install_a_stranger_cannot_sign_somebodys_head():
    lab = published()
    thief = FakePublisher(66).key("release")
    error = refused(lab, signed_by_others(lab.head.pack(), thief))
    assert error.verdict is Verdict.UNTRUSTED_KEY
    assert error.steps[-1].name == "signed by a release key"


def test_a_stranger_cannot_put_somebodys_id_over_his_own_roots():
    lab, thief = published(1), published(66)
    head = replace(Head.from_payload(thief.head.payload), publisher=lab.publisher.digest)
    error = refused(lab, sign(head, [thief.key("release")]).pack())
    assert error.verdict is Verdict.UNTRUSTED_KEY
    assert error.steps[-1].name == "the roots form a chain"


def test_mix_and_match_the_delegation_of_another_publisher():
    lab, thief = published(1), FakePublisher(66)
    head = lab.sign_head(delegation=thief.delegation)
    assert refused(lab, head.pack()).steps[-1].name == "the root delegates"


def test_an_unsigned_head_is_unsigned():
    lab = published()
    assert refused(lab, unsigned(lab.head.pack())).verdict is Verdict.UNSIGNED


def test_a_changed_payload_or_signature_is_corrupt():
    lab = published()
    for data in (tampered(lab.head.pack()), damaged_signature(lab.head.pack())):
        assert refused(lab, data).verdict is Verdict.CORRUPT


def test_a_good_signature_does_not_cover_a_bad_one():
    """Nobody can stuff a record with signatures that do not verify."""
    lab = published()
    both = sign_payload("head", lab.head.payload, [lab.key("release"), lab.key("other")])
    signatures = tuple(
        replace(made, signature=bytes(64)) if made.key == lab.key("other").public else made
        for made in both.signatures
    )
    stuffed = replace(both, signatures=signatures).pack()
    assert refused(lab, stuffed).verdict is Verdict.CORRUPT


def test_a_strangers_good_signature_is_ignored_and_not_kept():
    lab = published()
    both = sign_payload("head", lab.head.payload, [lab.key("release"), lab.key("other")])
    assert check_head(lab.head_key, both.pack()).envelope == lab.head


@pytest.mark.parametrize("wrong", [{"root_v": 2}, {"delegation_version": 9}])
def test_fast_forward_the_numbers_are_those_of_the_documents(wrong):
    """A head cannot claim a newer root or delegation than it carries, to win against all others."""
    lab = published()
    error = refused(lab, lab.sign_head(**wrong).pack())
    assert error.steps[-1].name == "the numbers agree"


def test_a_delegation_that_was_taken_back_cannot_sign():
    lab = published()
    lab.delegate("second")
    error = refused(lab, lab.sign_head(signers=("release",)).pack())
    assert error.verdict is Verdict.UNTRUSTED_KEY
    assert check_head(lab.head_key, lab.sign_head(signers=("second",)).pack())


def test_wrong_software_a_head_for_a_newer_p2phub_says_so():
    lab = published()
    fields = decode(lab.head.payload, limit=limits.MAX_HEAD)
    payload = encode(fields | {"requires": ["encryption"]})
    error = refused(lab, sign_payload("head", payload, [lab.key("release")]).pack())
    assert isinstance(error, NewerVersionError)
    assert "newer p2phub" in error.message


def test_one_changed_byte_anywhere_is_refused():
    lab = published()
    data = lab.head.pack()
    for at in range(len(data)):
        wrong = bytearray(data)
        wrong[at] ^= 0x01
        with pytest.raises(UntrustedError):
            check_head(lab.head_key, bytes(wrong))


def test_freshness_ends_with_the_head_or_with_the_last_key_that_signed_it():
    lab = FakePublisher(1)
    soon = ReleaseKey(lab.key("soon").public, (), CREATED + 10)
    late = ReleaseKey(lab.key("late").public, (), CREATED + 20)
    lab.delegate(soon, late, "ever")

    def fresh_until(not_after: int, *signers: str) -> int | None:
        head = lab.sign_head(not_after=not_after, signers=signers)
        return check_head(lab.head_key, head.pack()).fresh_until

    assert fresh_until(0, "ever") is None
    assert fresh_until(0, "soon") == CREATED + 10
    assert fresh_until(0, "soon", "late") == CREATED + 20
    assert fresh_until(CREATED + 5, "soon", "late") == CREATED + 5
    assert fresh_until(CREATED + 99, "soon", "ever") == CREATED + 99


def test_the_newest_record_is_the_best_wherever_it_stands():
    lab = FakePublisher(1)
    heads = [lab.publish(f"demo{number}", FILES).head.pack() for number in range(3)]
    lab.delegate("release")
    heads.append(lab.sign_head(seq=1).pack())
    lab.delegate("release", version=1)
    lab.rotate()
    heads.append(lab.sign_head(seq=1).pack())
    orders = [check_head(lab.head_key, head).order for head in heads]
    assert orders == [(1, 1, 1), (1, 1, 2), (1, 1, 3), (1, 2, 1), (2, 1, 1)]
    for count in range(1, len(heads) + 1):
        assert best(heads[:count]) == count - 1
        assert best(heads[:count][::-1]) == 0


def test_of_equal_records_the_last_is_best():
    """Else a server that holds one refuses the same again, and its life is never extended."""
    lab = published()
    again = lab.sign_head(not_after=CREATED).pack()
    first = published().head.pack()
    assert best([first, first]) == 1
    assert best([first, again]) == 1
    assert best([again, first, first]) == 2


def test_best_passes_over_what_is_no_record():
    lab = published()
    good = lab.head.pack()
    assert best([good, b"", tampered(good)]) == 0
    assert best([b"", good, bytes(20_000)]) == 1
    for none in ([], [b""], [tampered(good)]):
        with pytest.raises(MalformedError):
            best(none)


def test_a_recovered_publisher_beats_the_thief_who_rotated_on():
    owner, thief = published(), published()
    for _ in range(4):
        thief.rotate()
    stolen = thief.sign_head(seq=1000).pack()
    owner.recover()
    recovered = owner.sign_head().pack()
    assert check_head(owner.head_key, stolen).order > check_head(owner.head_key, recovered).order
    assert best([stolen, recovered]) == 1
    assert best([recovered, stolen]) == 0


def test_forked_chains_are_ordered_by_their_numbers():
    """A server cannot tell who is right; it keeps one, and the catalog that sees both refuses."""
    lab, evil = published(), published()
    lab.rotate()
    evil.rotate("b")
    one = check_head(lab.head_key, lab.sign_head(seq=5).pack())
    other = check_head(lab.head_key, evil.sign_head(seq=6).pack())
    assert newer(one, other)
    assert not newer(other, one)


def test_what_is_signed_is_the_payload_and_its_type():
    """The same bytes signed as an index are not signed as a head."""
    lab = published()
    envelope = unpack(lab.head.pack())
    as_index = sign_payload("index", envelope.payload, [lab.key("release")])
    moved = replace(envelope, signatures=as_index.signatures)
    assert refused(lab, moved.pack()).verdict is Verdict.CORRUPT
