"""Whether a publisher has taken back what a model signature covers.

A model signature knows no revocation, and the files may lie anywhere, so the notices of the
publisher that this disk knows are asked: for each release that one of them names and that lists the
same files, what the gate says; and each SHA-256 that was revoked.
"""

from collections.abc import Collection
from dataclasses import dataclass

from p2phub.errors import RevokedError, UntrustedError
from p2phub.formats.ids import PublisherId
from p2phub.formats.manifest import Release
from p2phub.formats.notices import (
    Revocation,
    Revoked,
    RevokedFile,
    RevokedRelease,
    Withdrawal,
)
from p2phub.formats.oms import Statement, to_sign
from p2phub.node.knowledge import Knowledge
from p2phub.store.store import Store
from p2phub.trust.envelope import unpack
from p2phub.trust.history import PublisherState
from p2phub.trust.notices import Signed, in_force


def require_not_taken_back(
    store: Store, knowledge: Knowledge, state: PublisherState, statement: Statement
) -> None:
    """Raise `RevokedError`, or what the gate raises, if something of it was taken back.

    A release that was taken back does not matter where another one with the same files is good.
    Only SHA-256 digests of whole files can be compared.
    """
    if statement.shard_size or statement.algorithm != "sha256":
        return
    digests = {file.stretches[0].digest for file in statement.files}
    same = _SameFiles(store, knowledge, state.publisher, statement)
    refusals = []
    for data in knowledge.notices(state.publisher):
        envelope = unpack(data)
        if envelope.type == Withdrawal.TYPE:
            refusals.append(same.refusal(Withdrawal.from_payload(envelope.payload).release))
        elif envelope.type == Revocation.TYPE:
            signed = Signed(Revocation.from_payload(envelope.payload), envelope.signed_by())
            revoked = signed.notice.revoked
            if isinstance(revoked, RevokedRelease):
                refusals.append(same.refusal(revoked.release))
            if _names_one_of(revoked, digests) and in_force(signed, state.identity):
                raise RevokedError(f"a file of it was revoked: {signed.notice.reason}")
    refused = next(filter(None, refusals), None)
    if refused is not None and not same.is_good_elsewhere():
        raise refused


def _names_one_of(revoked: Revoked, digests: Collection[bytes]) -> bool:
    return isinstance(revoked, RevokedFile) and revoked.sha256 in digests


@dataclass(frozen=True, slots=True)
class _SameFiles:
    """The releases on this disk that list the same files as a statement."""

    store: Store
    knowledge: Knowledge
    publisher: PublisherId
    statement: Statement

    def refusal(self, digest: bytes) -> UntrustedError | None:
        """What the gate has against a release; None if nothing, or if it lists other files."""
        if not self._lists_the_same(digest):
            return None
        try:
            self.knowledge.expect(digest, self.publisher)
            self.knowledge.document(digest, Release)
        except UntrustedError as error:
            return error
        return None

    def is_good_elsewhere(self) -> bool:
        """Whether a release of that name lists these files and nothing is against it."""
        rows = self.store.repos.releases(self.publisher, self.statement.name)
        found = [row.digest for row in rows if self._lists_the_same(row.digest)]
        return any(self.refusal(digest) is None for digest in found)

    def _lists_the_same(self, digest: bytes) -> bool:
        data = self.store.documents.get(digest)
        if data is None:
            return False
        try:
            release = Release.from_payload(unpack(data).payload)
        except UntrustedError:  # it rotted on this disk, and says nothing any more
            return False
        return to_sign((each.path, each.sha256) for each in release.files) == self.statement.files
