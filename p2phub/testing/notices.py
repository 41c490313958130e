"""What a fake publisher takes back, and the forks it is caught at: notices for tests.

>>> from p2phub.testing.publishers import FakePublisher
>>> lab = FakePublisher(1)
>>> revoke_release(lab, b"r" * 32).type, withdraw(lab, b"r" * 32).type
('revocation', 'withdrawal')
"""

from collections.abc import Sequence

from p2phub.formats.notices import (
    ForkProof,
    Revocation,
    Revoked,
    RevokedFile,
    RevokedKey,
    RevokedRelease,
    Withdrawal,
)
from p2phub.testing.publishers import FakePublisher
from p2phub.trust.envelope import Envelope, sign
from p2phub.trust.keys import SigningKey

REASON = "it was a mistake"


def revoke(
    lab: FakePublisher,
    revoked: Revoked,
    *,
    root_v: int = 0,
    signers: Sequence[SigningKey] | None = None,
    reason: str = REASON,
) -> Envelope:
    """A revocation by root `root_v` (0: the newest)."""
    v = root_v or len(lab.roots)
    notice = Revocation(lab.publisher.digest, v, revoked, lab.created, reason)
    return sign(notice, lab.root_signers(v) if signers is None else signers)


def revoke_release(lab: FakePublisher, release: bytes) -> Envelope:
    return revoke(lab, RevokedRelease(release))


def revoke_file(lab: FakePublisher, sha256: bytes) -> Envelope:
    return revoke(lab, RevokedFile(sha256))


def revoke_key(
    lab: FakePublisher, name: str, last_seq: int = 0, last_index: bytes = b""
) -> Envelope:
    """Of the release key `name`, nothing counts after this index."""
    return revoke(lab, RevokedKey(lab.key(name).public, last_seq, last_index))


def withdraw(
    lab: FakePublisher, release: bytes, *, signers: Sequence[str] = ("release",)
) -> Envelope:
    """These release keys take their signature of `release` back."""
    notice = Withdrawal(lab.publisher.digest, release, lab.created, REASON)
    return sign(notice, [lab.key(name) for name in signers])


def fork_proof(lab: FakePublisher, first: Envelope, second: Envelope) -> Envelope:
    """The proof that these two make, as somebody who found it sends it."""
    return sign(ForkProof(lab.publisher.digest, first.pack(), second.pack()), [])
