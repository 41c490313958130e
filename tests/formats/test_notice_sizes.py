"""A notice may be as long as its limit says, and not a byte longer: here, in its envelope, and at
the gate.
"""

from dataclasses import replace

import pytest

from p2phub.errors import MalformedError
from p2phub.formats import limits
from p2phub.formats.notices import ForkProof, Revocation, RevokedFile, Withdrawal
from p2phub.formats.publisher import Index
from p2phub.testing.notices import REASON
from p2phub.testing.publishers import FakePublisher
from p2phub.trust.catalog import TrustedCatalog
from p2phub.trust.envelope import sign, sign_payload
from p2phub.trust.refusals import Refusal

LAB = FakePublisher(1)
DIGEST = LAB.publisher.digest
REVOCATION = Revocation(DIGEST, 1, RevokedFile(bytes(32)), 5, REASON)
WITHDRAWAL = Withdrawal(DIGEST, bytes(32), 5, REASON)


def padded(notice, size):
    """The payload of a notice with so much in an unknown key that it has `size` bytes."""
    for length in range(size, 0, -1):
        payload = replace(notice, extra={"x-more": bytes(length)})._encoded()
        if len(payload) == size:
            return payload
    raise AssertionError("no padding fits")


@pytest.mark.parametrize(
    ("notice", "limit", "keys"),
    [
        (REVOCATION, limits.MAX_REVOCATION, LAB.root_signers(1)),
        (WITHDRAWAL, limits.MAX_WITHDRAWAL, [LAB.key("release")]),
    ],
    ids=["revocation", "withdrawal"],
)
def test_a_notice_of_the_largest_size_is_taken_and_a_longer_one_is_not(notice, limit, keys):
    catalog = TrustedCatalog()
    for data in FakePublisher(1).publish("demo", {"a": b"1"}).packed:
        catalog.offer(data, 0)
    longest = padded(notice, limit)
    assert len(type(notice).from_payload(longest).to_payload()) == limit
    assert catalog.offer(sign_payload(notice.TYPE, longest, keys).pack(), 0).type == notice.TYPE
    longer = padded(notice, limit + 1)
    with pytest.raises(MalformedError, match=f"at most {limit} are allowed"):
        type(notice).from_payload(longer)
    with pytest.raises((MalformedError, Refusal)):
        catalog.offer(sign_payload(notice.TYPE, longer, keys).pack(), 0)


def test_a_fork_proof_of_the_largest_size_parses_and_a_longer_one_does_not():
    fixed = len(ForkProof(DIGEST, b"a" * 70_000, b"b")._encoded()) - 70_000
    longest = ForkProof(DIGEST, b"a" * (limits.MAX_FORK - fixed), b"b")
    assert len(longest.to_payload()) == limits.MAX_FORK
    with pytest.raises(MalformedError):
        ForkProof(DIGEST, b"a" * (limits.MAX_FORK - fixed + 1), b"b").to_payload()


def test_a_fork_of_the_two_largest_indexes_has_room_in_its_proof():
    lab = FakePublisher(1)
    catalog = TrustedCatalog()
    for data in lab.publish("demo", {"a": b"1"}).packed:
        catalog.offer(data, 0)
    sides = []
    for created in (5, 6):
        small, _ = lab.sign_index(writer_seq=9, parents=(), seq=1, created=created)
        index = Index.from_payload(small.payload)
        payload = padded(index, limits.MAX_INDEX)
        sides.append(sign_payload("index", payload, [lab.key("release")]))
    proof = sign(ForkProof(lab.publisher.digest, sides[0].pack(), sides[1].pack()), [])
    catalog.offer(proof.pack(), 0)
    assert catalog.state(lab.publisher).forked
