"""The papers of a publisher: its roots and its delegation as they were signed.

`Identity` says who a publisher is; papers are the envelopes that prove it, which a head carries
and which a change of identity builds on.

Rules it keeps:
 * papers hold by themselves: whoever has some has verified them;
 * papers that would make a head too large for the DHT are never made.

Whether papers are older than others, or in conflict with them, is `identity.compare`'s answer.

>>> from p2phub.testing.publishers import FakePublisher
>>> lab = FakePublisher(1)
>>> Papers.of(lab.roots, lab.delegation).publisher == lab.publisher
True
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

from p2phub.errors import MalformedError, RefusedError, UntrustedError
from p2phub.formats import limits
from p2phub.formats.ids import PublisherId
from p2phub.formats.publisher import Delegation, Head, KeySet, Root
from p2phub.trust.envelope import Envelope, Signature, merge, unpack
from p2phub.trust.identity import Chain, Identity, reached, verify_chain, verify_identity
from p2phub.trust.records import HeadRecord


@dataclass(frozen=True, slots=True)
class Papers:
    """The roots, oldest first, and the delegation. Only `of` and `of_head` make them."""

    roots: tuple[Envelope, ...]
    delegation: Envelope
    identity: Identity

    @classmethod
    def of(cls, roots: Sequence[Envelope], delegation: Envelope) -> Self:
        """The papers that these envelopes make, without signatures that do not count.

        Raises `MalformedError` for what makes none, `UntrustedError` where somebody who must has
        not signed, `RefusedError` if no head has room for them.
        """
        identity = verify_identity(verify_chain(roots), delegation)
        before: Root | None = None
        kept = []
        for envelope, link in zip(roots, identity.chain, strict=True):
            kept.append(envelope.only(_who_count(before, link.root)))
            before = link.root
        signed = delegation.only(identity.root.keys.keys)
        require_room(tuple(kept), signed)
        return cls(tuple(kept), signed, identity)

    @classmethod
    def of_head(cls, record: HeadRecord) -> Self:
        """The papers that a head carries."""
        roots = [unpack(data) for data in record.head.roots]
        return cls.of(roots, unpack(record.head.delegation))

    @property
    def publisher(self) -> PublisherId:
        return self.identity.publisher

    @property
    def envelopes(self) -> tuple[Envelope, ...]:
        return (*self.roots, self.delegation)

    def head(self, index: bytes, seq: int, not_after: int) -> Head:
        """A head with these papers for the index with that digest; `not_after`: unix seconds, 0 for
        never.
        """
        return Head(
            publisher=self.publisher.digest,
            index=index,
            root_v=len(self.roots),
            delegation_version=self.identity.delegation.version,
            seq=seq,
            not_after=not_after,
            roots=tuple(root.pack() for root in self.roots),
            delegation=self.delegation.pack(),
        )


def _who_count(before: Root | None, root: Root) -> frozenset[bytes]:
    """The keys whose signatures on `root` mean something."""
    recovery = before.recovery if before is not None else None
    return frozenset(root.keys.keys) | frozenset(recovery.keys if recovery is not None else ())


def require_room(roots: Sequence[Envelope], delegation: Envelope) -> None:
    """A head has room for these papers. Raises `RefusedError`."""
    version = Delegation.from_payload(delegation.payload).version
    head = Head(
        publisher=roots[0].digest,
        index=bytes(limits.DIGEST),
        root_v=len(roots),
        delegation_version=version,
        seq=limits.MAX_INTEGER,
        not_after=limits.MAX_TIME,
        roots=tuple(root.pack() for root in roots),
        delegation=delegation.pack(),
    )
    signature = Signature(bytes(limits.KEY), bytes(limits.SIGNATURE))
    try:
        Envelope(Head.TYPE, head.to_payload(), (signature,)).pack()
    except MalformedError as error:
        raise RefusedError(
            f"{len(roots)} roots and their delegation do not fit into a head: {error.message}",
            remedy="use fewer release keys, recovery keys or repos that keys are limited to",
        ) from error


def as_if_signed(envelope: Envelope, keys: KeySet) -> Envelope:
    """An envelope as large as this one will be once enough of `keys` have signed it."""
    if reached(keys, envelope.signed_by()).enough:
        return envelope
    needed = keys.keys[: keys.threshold]
    made = tuple(Signature(key, bytes(limits.SIGNATURE)) for key in needed)
    return Envelope(envelope.type, envelope.payload, made)


def find_papers(envelopes: Iterable[Envelope], publisher: PublisherId | None = None) -> Papers:
    """The papers that lie among these envelopes, also inside heads: the longest chain that holds.

    Without a `publisher`, that of the only first root there is. Raises `MalformedError` if there
    are none, or of several publishers; `UntrustedError` if they do not hold.
    """
    found = _unpacked(envelopes)
    roots = [each for each in found if each.type == Root.TYPE]
    delegations = [each for each in found if each.type == Delegation.TYPE]
    chain = find_chain(roots, publisher)
    links = verify_chain(chain)
    ours = [each for each in delegations if _may_follow(each, links)]
    if not ours:
        raise UntrustedError(
            f"there is no delegation that root {links[-1].root.v} has signed",
            remedy="ask for a file that `p2phub key export` wrote",
        )
    return Papers.of(chain, max(ours, key=_version))


def find_chain(
    envelopes: Iterable[Envelope], publisher: PublisherId | None = None
) -> tuple[Envelope, ...]:
    """The roots of one publisher among these, as far as they hold; where several follow one root,
    a recovery.

    Raises `MalformedError` if there is no first root, or several without a `publisher`.
    """
    roots = [each for each in _unpacked(envelopes) if each.type == Root.TYPE]
    firsts = {each.digest: each for each in roots if Root.from_payload(each.payload).v == 1}
    if publisher is not None:
        firsts = {digest: each for digest, each in firsts.items() if digest == publisher.digest}
    if len(firsts) != 1:
        raise MalformedError(
            "there is no first root among these documents"
            if not firsts
            else f"these documents are of {len(firsts)} publishers"
        )
    chain: tuple[Envelope, ...] = tuple(firsts.values())
    links = verify_chain(chain)
    while follower := _follower(chain, links, roots):
        chain = (*chain, follower)
        links = verify_chain(chain)
    return chain


def _follower(
    chain: tuple[Envelope, ...], links: Chain, roots: Sequence[Envelope]
) -> Envelope | None:
    best: Envelope | None = None
    for each in roots:
        root = Root.from_payload(each.payload)
        if root.previous != links[-1].digest:
            continue
        try:
            how = verify_chain((*chain, each))[-1].how
        except UntrustedError:
            continue
        if best is None or how == "recovery":
            best = each
    return best


def _may_follow(delegation: Envelope, links: Chain) -> bool:
    document = Delegation.from_payload(delegation.payload)
    if document.publisher != links[0].digest:
        return False
    return reached(links[-1].root.keys, delegation.signed_by()).enough


def _version(delegation: Envelope) -> int:
    return Delegation.from_payload(delegation.payload).version


def _unpacked(envelopes: Iterable[Envelope]) -> list[Envelope]:
    """These, and the roots and delegations inside the heads among them, each once."""
    kept: dict[tuple[str, bytes], Envelope] = {}
    for each in envelopes:
        inside = [each]
        if each.type == Head.TYPE:
            head = Head.from_payload(each.payload)
            inside += [unpack(data) for data in (*head.roots, head.delegation)]
        for found in inside:
            name = (found.type, found.digest)
            kept[name] = merge(kept.get(name, found), found)
    return list(kept.values())
