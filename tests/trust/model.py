"""What a node that heard of some documents must say of them: a model, simple and slow.

It shares no step with the gate: it looks at all documents at once, where the gate sees them one
after the other. What it says depends on the set of them alone.
"""

from dataclasses import dataclass

from p2phub.formats.manifest import Release
from p2phub.formats.notices import Revocation, RevokedKey, RevokedRelease, Withdrawal
from p2phub.formats.publisher import Delegation, Head, Root
from p2phub.trust.envelope import Envelope, unpack
from p2phub.trust.verdict import Verdict
from tests.trust.small_world import Documents, Made

Order = tuple[int, int, int]


def _delegated(head: Head) -> set[bytes]:
    """Who may sign a head, by the papers in it."""
    delegation = Delegation.from_payload(unpack(head.delegation).payload)
    return {made.key for made in delegation.keys}


@dataclass
class Model:
    """The truth about one publisher, as far as these documents tell it."""

    documents: Documents

    def __post_init__(self) -> None:
        every = [
            (Head.from_payload(each.payload), each.signed_by())
            for each in self.documents.heads.values()
        ]
        self.heads = [(head, signers) for head, signers in every if signers & _delegated(head)]
        self.forked = False
        self.chain = self._chain()
        self.delegation, self.delegation_digest = self._delegation()
        self.keys = {made.key: made for made in self.delegation.keys}
        self.revocations = self._revocations()
        self.revoked = self._revoked_keys()
        self.forked = self.forked or self._indexes_fork()
        self.order, self.index = self._newest()

    def _chain(self) -> list[Envelope]:
        """Root by root: a recovery beats a rotation, two of one kind are a fork."""
        roots = {root.digest: root for head, _ in self.heads for root in map(unpack, head.roots)}
        chain = [next(each for each in roots.values() if self._root(each).v == 1)]
        while True:
            last = self._root(chain[-1])
            after = [
                each for each in roots.values() if self._root(each).previous == chain[-1].digest
            ]
            rotated = [each for each in after if self._root(each).keys.digest == last.next]
            recovered = [each for each in after if each not in rotated]
            best = recovered or rotated
            if not best:
                return chain
            if len(best) > 1:
                self.forked = True
                return chain
            chain.append(best[0])

    @staticmethod
    def _root(envelope: Envelope) -> Root:
        return Root.from_payload(envelope.payload)

    def _of_chain(self) -> list[tuple[Head, frozenset[bytes]]]:
        """The heads that stand on the best chain, or where it forks, on what is before that."""
        digests = [each.digest for each in self.chain]
        return [
            (head, signers)
            for head, signers in self.heads
            if [unpack(root).digest for root in head.roots] == digests
        ]

    def _delegation(self) -> tuple[Delegation, bytes]:
        found = {}
        for head, _ in self._of_chain():
            envelope = unpack(head.delegation)
            found[envelope.digest] = Delegation.from_payload(envelope.payload)
        version = max(each.version for each in found.values())
        newest = {digest: each for digest, each in found.items() if each.version == version}
        if len(newest) > 1:
            self.forked = True
        digest = min(newest)
        return newest[digest], digest

    def _revocations(self) -> list[Revocation]:
        found = []
        for each in self.documents.notices.values():
            if each.type != Revocation.TYPE:
                continue
            notice = Revocation.from_payload(each.payload)
            if not self.delegation.revocations_from <= notice.root_v <= len(self.chain):
                continue
            keys = self._root(self.chain[notice.root_v - 1]).keys
            if len(each.signed_by() & set(keys.keys)) >= keys.threshold:
                found.append(notice)
        return found

    def _revoked_keys(self) -> dict[bytes, RevokedKey]:
        found: dict[bytes, RevokedKey] = {}
        for notice in self.revocations:
            revoked = notice.revoked
            if isinstance(revoked, RevokedKey):
                known = found.get(revoked.key, revoked)
                found[revoked.key] = min(known, revoked, key=lambda each: each.last_seq)
        return found

    def _indexes_fork(self) -> bool:
        numbers: dict[tuple[bytes, int], set[bytes]] = {}
        for made in self.documents.indexes.values():
            index = made.index
            numbers.setdefault((index.writer, index.writer_seq), set()).add(made.signed.digest)
        return any(
            len(digests) > 1
            and writer in self.keys
            and number >= self.keys[writer].numbers_from
            and writer not in self.revoked
            for (writer, number), digests in numbers.items()
        )

    def _newest(self) -> tuple[Order, bytes]:
        """The head that counts: (order, index)."""
        found = []
        for head, signers in self._of_chain():
            if unpack(head.delegation).digest != self.delegation_digest:
                continue
            if any(self._signs_head(key, head) for key in signers):
                found.append((head.order, head.index))
        return max(found, default=((0, 0, 0), b""))

    def _signs_head(self, key: bytes, head: Head) -> bool:
        if key not in self.keys:
            return False
        return key not in self.revoked or head.seq <= self.revoked[key].last_seq

    def verdicts(self, release: Envelope) -> set[Verdict]:
        """What may be said of a release: where several things are wrong, any of them."""
        if self.forked:
            return {Verdict.FORKED}
        document = Release.from_payload(release.payload)
        wrong: set[Verdict] = set()
        good = {key for key in release.signed_by() if self._signs(key, release, document)}
        if len(good) < self.delegation.threshold:
            wrong |= {Verdict.UNTRUSTED_KEY, Verdict.REVOKED}
        once_good = {key for key in release.signed_by() if self._was_good(key, release)}
        if wrong and len(good | once_good) >= self.delegation.threshold:
            wrong.add(Verdict.VERIFIED)
        if len(good - self._withdrawers(release.digest)) < self.delegation.threshold:
            wrong |= {Verdict.WITHDRAWN} if self._withdrawers(release.digest) else set()
        if any(notice.revoked == RevokedRelease(release.digest) for notice in self.revocations):
            wrong.add(Verdict.REVOKED)
            wrong.discard(Verdict.VERIFIED)
        return wrong or {Verdict.VERIFIED}

    def _signs(self, key: bytes, release: Envelope, document: Release) -> bool:
        if key in self.revoked:
            return self._listed_since(release.digest) <= self.revoked[key].last_seq
        limits = self.keys.get(key)
        return limits is not None and (not limits.repos or document.name in limits.repos)

    def _was_good(self, key: bytes, release: Envelope) -> bool:
        """Whether an index no younger than the last good one of a revoked key listed the release:
        who remembers that may go on, though the newest index does not list it any more.
        """
        last = self.revoked.get(key)
        return last is not None and any(
            ref.release == release.digest and max(ref.seq, made.index.seq) <= last.last_seq
            for made in self.documents.indexes.values()
            if made.index.writer not in self.revoked or made.signed.digest == last.last_index
            for entry in made.entries
            for ref in entry.refs.values()
        )

    def _listed_since(self, release: bytes) -> int:
        """The seq since which the newest index lists a release; far too high if it does not."""
        made: Made | None = self.documents.indexes.get(self.index)
        refs = [ref for entry in (made.entries if made else ()) for ref in entry.refs.values()]
        return min((ref.seq for ref in refs if ref.release == release), default=1 << 50)

    def _withdrawers(self, release: bytes) -> set[bytes]:
        found: set[bytes] = set()
        for each in self.documents.notices.values():
            if each.type != Withdrawal.TYPE:
                continue
            if Withdrawal.from_payload(each.payload).release == release:
                found |= each.signed_by()
        return found
