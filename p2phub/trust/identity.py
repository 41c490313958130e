"""Who a publisher is now: its chain of roots, its delegation, and how two chains compare.

A publisher is the digest of its first root. Every later root follows the one before it in one of
two ways. By *rotation* it reveals the keys that its predecessor committed to, signed by their
threshold: a thief who has the root keys of today cannot do that. By *recovery* it is signed by the
threshold of its predecessor's recovery keys: the way back after everything else was stolen.

Rules it keeps:
 * a chain begins with the root whose digest is the publisher id and has no gap;
 * chains compare where they first differ: there recovery beats rotation, and two of one kind mean
   that the publisher said two different things (forked);
 * the delegation is signed by the threshold of the newest root;
 * no clock: when a key expired is the catalog's question.

It leaves to others what has been seen before (`catalog`) and what release keys sign (`records`).

>>> from p2phub.formats.publisher import Delegation, KeySet, ReleaseKey, Root
>>> from p2phub.trust.envelope import sign
>>> from p2phub.trust.keys import SigningKey
>>> key, new, release = (SigningKey(bytes([n]) * 32) for n in (1, 2, 3))
>>> first = Root(1, b"", KeySet((key.public,)), KeySet((new.public,)).digest)
>>> second = Root(2, first.digest, KeySet((new.public,)), bytes(32))
>>> short = verify_chain([sign(first, [key])])
>>> long = verify_chain([sign(first, [key]), sign(second, [new])])
>>> long[-1].how, compare(short, long)
('rotation', <Comparison.EXTENDED: 'extended'>)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from p2phub.errors import MalformedError, UntrustedError, WrongBytesError
from p2phub.formats import limits
from p2phub.formats.ids import PublisherId
from p2phub.formats.publisher import Delegation, KeySet, ReleaseKey, Root
from p2phub.trust.envelope import Envelope

How = Literal["first", "rotation", "recovery"]


@dataclass(frozen=True, slots=True)
class Link:
    """One verified root of a chain, and by what right it is there."""

    root: Root
    digest: bytes
    how: How


Chain = tuple[Link, ...]


@dataclass(frozen=True, slots=True)
class Identity:
    """A publisher as its newest documents have it. Only `verify_identity` makes one."""

    publisher: PublisherId
    chain: Chain
    delegation: Delegation
    delegation_digest: bytes

    @property
    def root(self) -> Root:
        """The newest root."""
        return self.chain[-1].root

    def release_key(self, key: bytes) -> ReleaseKey | None:
        """The limits of a release key; None if it is none of this publisher's."""
        return self.delegation.find(key)

    @property
    def release_keys(self) -> frozenset[bytes]:
        """Every release key in force."""
        return frozenset(made.key for made in self.delegation.keys)


class Comparison(StrEnum):
    """What a second chain is to a first one."""

    SAME = "same"
    EXTENDED = "extended"
    """It goes on where the first one ends."""
    SHORTENED = "shortened"
    """It ends earlier: older, and not in conflict."""
    OVERRULES = "overrules"
    """It was recovered where the first one was rotated."""
    OVERRULED = "overruled"
    """The first one was recovered where it was rotated."""
    FORKED = "forked"
    """Both go on from one root in the same way, to different roots."""


def verify_chain(envelopes: Sequence[Envelope]) -> Chain:
    """The chain that these root envelopes make, from root 1 on.

    Raises `MalformedError` for what is no chain, `UntrustedError` for a root that nobody who may
    has signed.
    """
    if not 1 <= len(envelopes) <= limits.MAX_ROOT_CHAIN:
        raise MalformedError(f"a chain of {len(envelopes)} roots")
    chain = [_first(envelopes[0])]
    for envelope in envelopes[1:]:
        chain.append(follow(chain[-1], envelope))
    return tuple(chain)


def follow(before: Link, envelope: Envelope) -> Link:
    """The root after `before`, if whoever may make it has signed it.

    Which way it took is decided by its payload alone: a root that reveals the committed keys is a
    rotation, any other is a recovery. So nobody can change what it is by adding or dropping
    signatures, and who recovers chooses fresh keys. Raises `MalformedError` for a root that does
    not come next, `WrongBytesError` for one that follows another, `UntrustedError` for one that
    nobody who may has signed.
    """
    root = Root.from_payload(_payload(envelope, "root"))
    if root.v != before.root.v + 1:
        raise MalformedError(f"root {root.v} after root {before.root.v}")
    if root.previous != before.digest:
        raise WrongBytesError(f"root {root.v} follows another root {before.root.v}")
    signers = envelope.signed_by()
    rotates = root.keys.digest == before.root.next
    if before.root.recovery is not None and reached(before.root.recovery, signers).enough:
        return Link(root, envelope.digest, "rotation" if rotates else "recovery")
    if not rotates:
        raise UntrustedError(
            f"root {root.v} does not reveal the keys that root {before.root.v} committed to,"
            " and its recovery keys have not signed it"
        )
    signed = reached(root.keys, signers)
    if not signed.enough:
        raise UntrustedError(f"root {root.v} is signed by {signed} of the keys it reveals")
    return Link(root, envelope.digest, "rotation")


def verify_identity(chain: Chain, delegation: Envelope) -> Identity:
    """The publisher that this chain and its delegation make.

    Raises `MalformedError` for what is no delegation, `UntrustedError` unless it is this
    publisher's and the threshold of the newest root has signed it.
    """
    document = Delegation.from_payload(_payload(delegation, "delegation"))
    publisher = PublisherId(chain[0].digest)
    if document.publisher != publisher.digest:
        raise UntrustedError("the delegation is another publisher's")
    signed = reached(chain[-1].root.keys, delegation.signed_by())
    if not signed.enough:
        raise UntrustedError(
            f"delegation {document.version} is signed by {signed} keys of root {chain[-1].root.v}"
        )
    return Identity(publisher, chain, document, delegation.digest)


def compare(first: Chain, second: Chain) -> Comparison:
    """What `second` is to `first`, two chains of one publisher.

    Raises `UntrustedError` if they are chains of two publishers.
    """
    if first[0].digest != second[0].digest:
        raise UntrustedError("these are chains of two publishers")
    for one, other in zip(first, second, strict=False):
        if one.digest == other.digest:
            continue
        if one.how == other.how:
            return Comparison.FORKED
        return Comparison.OVERRULES if other.how == "recovery" else Comparison.OVERRULED
    if len(first) == len(second):
        return Comparison.SAME
    return Comparison.EXTENDED if len(second) > len(first) else Comparison.SHORTENED


@dataclass(frozen=True, slots=True)
class Reached:
    """How many of the keys that count have signed.

    >>> str(Reached(1, 2)), Reached(1, 2).enough
    ('1 of 2 needed', False)
    """

    signed: int
    needed: int

    @property
    def enough(self) -> bool:
        return self.signed >= self.needed

    def __str__(self) -> str:
        return f"{self.signed} of {self.needed} needed"


def reached(keys: KeySet, signers: frozenset[bytes]) -> Reached:
    """How far `signers` have come towards the threshold of `keys`."""
    return Reached(len(signers.intersection(keys.keys)), keys.threshold)


def _first(envelope: Envelope) -> Link:
    root = Root.from_payload(_payload(envelope, "root"))
    if root.v != 1:
        raise MalformedError(f"a chain that begins with root {root.v}")
    signed = reached(root.keys, envelope.signed_by())
    if not signed.enough:
        raise UntrustedError(f"root 1 is signed by {signed} of its own keys")
    return Link(root, envelope.digest, "first")


def _payload(envelope: Envelope, type: str) -> bytes:
    if envelope.type != type:
        raise MalformedError(f"a {envelope.type} where a {type} was expected")
    return envelope.payload
