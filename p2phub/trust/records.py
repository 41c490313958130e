"""Head records: what any DHT server can check from the record alone, and which of two is newer.

A head carries the roots and the delegation of its publisher, so a server that never heard of the
publisher can refuse what its release keys did not sign. The catalog takes the same steps first and
then its own.

Rules it keeps:
 * nothing but the record and its key is needed: no clock, no memory;
 * a cheap question is asked before a dear one, and the size before any;
 * a head may be long past its `not_after` and still be a record: it is stale, not wrong.

It leaves to `catalog` what was seen before: rolled back, forked, wanted.

>>> from p2phub.formats.publisher import Delegation, Head, KeySet, ReleaseKey, Root
>>> from p2phub.trust.envelope import sign
>>> from p2phub.trust.keys import SigningKey
>>> key, release = SigningKey(b"k" * 32), SigningKey(b"r" * 32)
>>> root = Root(1, b"", KeySet((key.public,)), bytes(32))
>>> signed = sign(Delegation(root.digest, 1, (ReleaseKey(release.public),)), [key]).pack()
>>> head = Head(root.digest, bytes(32), 1, 1, 1, 0, (sign(root, [key]).pack(),), signed)
>>> record = sign(head, [release]).pack()
>>> check_head(head_key(PublisherId(root.digest)), record).order
(1, 1, 1)
>>> best([record, record])
1
"""

from collections.abc import Sequence
from dataclasses import dataclass

from p2phub.errors import MalformedError, UntrustedError
from p2phub.formats import limits
from p2phub.formats.ids import PublisherId, head_key
from p2phub.formats.publisher import Head
from p2phub.trust.envelope import Envelope, unpack
from p2phub.trust.identity import Comparison, Identity, compare, verify_chain, verify_identity
from p2phub.trust.refusals import Refusal, Trail
from p2phub.trust.signers import require_signers
from p2phub.trust.verdict import Verdict


@dataclass(frozen=True, slots=True)
class HeadRecord:
    """A head that holds by itself. Only `check_head` and `read_head` make one."""

    envelope: Envelope
    """With the signatures of release keys only."""
    digest: bytes
    head: Head
    identity: Identity

    @property
    def publisher(self) -> PublisherId:
        return self.identity.publisher

    @property
    def order(self) -> tuple[int, int, int]:
        """(root v, delegation version, seq): the greater is the newer."""
        return self.head.order

    @property
    def fresh_until(self) -> int | None:
        """The last second at which the head is fresh; None: it always is.

        That is its own not-after, or that of the last of its signers' keys if it comes earlier.
        """
        keys = [self.identity.release_key(made.key) for made in self.envelope.signatures]
        ends = [key.not_after for key in keys if key is not None]
        latest = 0 if 0 in ends else max(ends)
        return min((end for end in (self.head.not_after, latest) if end), default=None)


def check_head(key: str, record: bytes) -> HeadRecord:
    """The head in a DHT record found under `key`. Raises `Refusal` with the step that failed."""
    return read_head(record, Trail(f"the record at {key[:60]}"), key)


def read_head(record: bytes, trail: Trail, key: str | None = None) -> HeadRecord:
    """The head in a record, wherever it came from; the steps taken are written to `trail`."""
    # 1. It is no larger than a record may be.
    size = len(record)
    detail = f"{size} bytes, {limits.MAX_HEAD} are allowed"
    trail.require(size <= limits.MAX_HEAD, "small enough", detail, Verdict.CORRUPT)
    # 2. It is an envelope with a head in it.
    with trail.step("an envelope"):
        envelope = unpack(record, limits.MAX_HEAD)
        if envelope.type != Head.TYPE:
            raise MalformedError(f"it holds a {envelope.type}, not a head")
    # 3. The head parses, and every number in it is within its limit.
    with trail.step("parses as a head") as finding:
        head = Head.from_payload(envelope.payload)
        finding.detail = f"digest {envelope.digest.hex()}"
    publisher = PublisherId(head.publisher)
    # 4. It lies under its publisher's key.
    if key is not None:
        belongs = head_key(publisher)
        trail.require(
            key == belongs, "at its publisher's key", f"it is {belongs}'s", Verdict.UNTRUSTED_KEY
        )
    # 5. Its roots are a chain that begins with the publisher id.
    with trail.step("the roots form a chain") as finding:
        envelopes = [unpack(data, limits.MAX_HEAD) for data in head.roots]
        if envelopes[0].digest != publisher.digest:
            raise UntrustedError(f"the first root is not that of {publisher}")
        chain = verify_chain(envelopes)
        finding.detail = ", ".join(f"root {link.root.v} by {link.how}" for link in chain)
        finding.detail += f"; the digest of root 1 is {publisher}"
    # 6. The delegation is signed by the newest root.
    with trail.step("the root delegates") as finding:
        identity = verify_identity(chain, unpack(head.delegation, limits.MAX_HEAD))
        finding.detail = _told(identity)
    # 7. The numbers that decide which head is newer are those of the documents.
    real = (identity.root.v, identity.delegation.version, head.seq)
    trail.require(
        head.order == real, "the numbers agree", f"{head.order} for {real}", Verdict.CORRUPT
    )
    # 8. A release key has signed it.
    signers = require_signers(envelope, trail)
    release_keys = signers & identity.release_keys
    found = ", ".join(key.hex()[:16] for key in sorted(release_keys))
    detail = f"{len(release_keys)} of {len(signers)} signers hold one{found and ': '}{found}"
    trail.require(bool(release_keys), "signed by a release key", detail, Verdict.UNTRUSTED_KEY)
    return HeadRecord(envelope.only(release_keys), envelope.digest, head, identity)


def _told(identity: Identity) -> str:
    """Whom the newest root lets sign, in words."""
    root, delegation = identity.root, identity.delegation
    keys = ", ".join(made.key.hex()[:16] for made in delegation.keys)
    return (
        f"{root.keys.threshold} of {len(root.keys.keys)} keys of root {root.v} signed delegation"
        f" {delegation.version}: {delegation.threshold} of {len(delegation.keys)} release keys"
        f" ({keys})"
    )


def newer(first: HeadRecord, second: HeadRecord) -> bool:
    """Whether `second` takes the place of `first`: of equals the later one does.

    A recovered chain of roots beats the one it overrules, whatever the numbers of a thief say.
    """
    comparison = compare(first.identity.chain, second.identity.chain)
    if comparison in (Comparison.OVERRULES, Comparison.OVERRULED):
        return comparison is Comparison.OVERRULES
    return second.order >= first.order


def best(records: Sequence[bytes]) -> int:
    """The place of the newest of these records of one key; of equals the last.

    The last, because a server that keeps the first would never let the life of a record be
    extended. Records that do not hold are passed over. Raises `MalformedError` if none does.
    """
    found: tuple[int, HeadRecord] | None = None
    for place, data in enumerate(records):
        try:
            record = read_head(data, Trail("a record"))
        except Refusal:
            continue
        if found is None or (record.publisher == found[1].publisher and newer(found[1], record)):
            found = place, record
    if found is None:
        raise MalformedError(f"none of {len(records)} records is a head")
    return found[0]
