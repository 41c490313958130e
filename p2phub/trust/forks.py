"""Proof that a publisher said two things where it may say one: portable, and for anybody to check.

A fork is two indexes with one writer and one writer number, two delegations with one version, or
two roots that follow one root in the same way. Each of the two documents is signed by who may, so
nobody but the publisher (or a thief with its keys) can have made them.

Rules it keeps:
 * both documents are checked from the first byte on: who shows a proof is a stranger;
 * a fork counts until the publisher has settled it: a writer by a delegation that leaves it out or
   starts its numbers afresh, a delegation by a later one, roots by a recovery that overrules both;
 * whether it is settled depends on the papers of the publisher alone, not on who heard of it when:
   all who know the same papers and the same forks come to the same verdict. So a delegation that
   leaves everything as it was settles nothing: to whoever hears of it first, an old proof that is
   shown again would look like a new fork under it.

Who forked is not believed until then; that is `history`'s doing.

>>> from p2phub.testing.publishers import FakePublisher
>>> from p2phub.trust.records import check_head
>>> lab = FakePublisher(1)
>>> one, _ = lab.sign_index(writer_seq=1, parents=(), seq=1)
>>> two, _ = lab.sign_index(writer_seq=1, parents=(), seq=1, created=5)
>>> identity = check_head(lab.head_key, lab.sign_head().pack()).identity
>>> fork = read_fork(prove(lab.publisher, one.pack(), two.pack()), identity)
>>> fork.counts(identity), sorted(fork.digests) == sorted((one.digest, two.digest))
(True, True)
"""

from dataclasses import dataclass

from p2phub.errors import MalformedError, UntrustedError
from p2phub.formats import limits
from p2phub.formats.ids import PublisherId
from p2phub.formats.notices import ForkProof
from p2phub.formats.publisher import Delegation, Index, Root
from p2phub.trust.envelope import Envelope, unpack
from p2phub.trust.identity import Chain, How, Identity, follow, reached


@dataclass(frozen=True, slots=True)
class ForkedIndexes:
    """Two indexes of one writer with one number."""

    writer: bytes
    number: int
    digests: tuple[bytes, bytes]

    @property
    def said(self) -> str:
        return f"writer {self.writer.hex()[:16]} signed two indexes with number {self.number}"

    def counts(self, identity: Identity) -> bool:
        key = identity.release_key(self.writer)
        return key is not None and self.number >= key.numbers_from


@dataclass(frozen=True, slots=True)
class ForkedDelegations:
    """Two delegations of one root with one version."""

    root: bytes
    """The digest of the root that signed both."""
    version: int
    digests: tuple[bytes, bytes]

    @property
    def said(self) -> str:
        return f"it signed two delegations with version {self.version}"

    def counts(self, identity: Identity) -> bool:
        """Until there is a later one, or another root."""
        newest = identity.chain[-1].digest
        return self.root == newest and self.version >= identity.delegation.version


@dataclass(frozen=True, slots=True)
class ForkedRoots:
    """Two roots that follow one root in the same way."""

    v: int
    previous: bytes
    how: How
    digests: tuple[bytes, bytes]

    said = "it has two roots that follow the same root"

    def counts(self, identity: Identity) -> bool:
        """Until a recovery has overruled both, where they were rotations, or the root before them
        was overruled itself."""
        chain = identity.chain
        if len(chain) < self.v - 1 or chain[self.v - 2].digest != self.previous:
            return False
        if len(chain) < self.v or self.how == "recovery":
            return True
        return chain[self.v - 1].how != "recovery"


Fork = ForkedIndexes | ForkedDelegations | ForkedRoots


def forked_roots(one: Chain, other: Chain) -> ForkedRoots:
    """The fork at the first roots in which these chains, of one publisher, differ."""
    pairs = zip(one, other, strict=False)
    first, second = next((a, b) for a, b in pairs if a.digest != b.digest)
    digests = (first.digest, second.digest)
    return ForkedRoots(first.root.v, first.root.previous, first.how, digests)


def prove(publisher: PublisherId, first: bytes, second: bytes) -> ForkProof:
    """The proof that these two packed envelopes make, in whichever order they were found."""
    return ForkProof(publisher.digest, first, second)


def read_fork(proof: ForkProof, identity: Identity) -> Fork:
    """What `proof` proves of this publisher.

    Raises `MalformedError` for what is no fork at all, `UntrustedError` for documents that were not
    signed by who may.
    """
    first, second = (unpack(data, limits.MAX_FORK) for data in (proof.first, proof.second))
    if first.type != second.type or first.digest == second.digest:
        raise MalformedError("these are not two different documents of one type")
    match first.type:
        case Index.TYPE:
            return _indexes(first, second, identity)
        case Delegation.TYPE:
            return _delegations(first, second, identity)
        case Root.TYPE:
            return _roots(first, second, identity)
    raise MalformedError(f"two documents of type {first.type} prove nothing")


def _indexes(first: Envelope, second: Envelope, identity: Identity) -> Fork:
    one, two = Index.from_payload(first.payload), Index.from_payload(second.payload)
    _require_publisher(one.publisher, two.publisher, identity)
    if (one.writer, one.writer_seq) != (two.writer, two.writer_seq):
        raise MalformedError("these indexes have different writers or numbers")
    if one.writer not in first.signed_by() & second.signed_by():
        raise UntrustedError("their writer has not signed both indexes")
    return ForkedIndexes(one.writer, one.writer_seq, (first.digest, second.digest))


def _delegations(first: Envelope, second: Envelope, identity: Identity) -> Fork:
    one, two = Delegation.from_payload(first.payload), Delegation.from_payload(second.payload)
    _require_publisher(one.publisher, two.publisher, identity)
    if one.version != two.version:
        raise MalformedError("these delegations have different versions")
    for envelope in (first, second):
        if not reached(identity.root.keys, envelope.signed_by()).enough:
            raise UntrustedError("the newest root has not signed both delegations")
    root = identity.chain[-1].digest
    return ForkedDelegations(root, one.version, (first.digest, second.digest))


def _roots(first: Envelope, second: Envelope, identity: Identity) -> Fork:
    v = Root.from_payload(first.payload).v
    if not 2 <= v <= len(identity.chain) + 1:
        raise UntrustedError(f"no root {v - 1} of this publisher is known that these follow")
    before = identity.chain[v - 2]
    one, two = follow(before, first), follow(before, second)
    if one.how != two.how:
        raise MalformedError("one of these roots is a recovery, which overrules the other")
    return ForkedRoots(v, before.digest, one.how, (first.digest, second.digest))


def _require_publisher(one: bytes, two: bytes, identity: Identity) -> None:
    if {one, two} != {identity.publisher.digest}:
        raise UntrustedError("these documents are not both of this publisher")
