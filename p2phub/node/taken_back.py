"""Whether a publisher has taken back what a model signature covers.

A model signature knows no revocation, and the files may lie anywhere, so the notices of the
publisher that this disk knows are asked: for each release that one of them names and that lists the
same files, what the gate says; and each SHA-256 that was revoked.
"""

from collections.abc import Collection

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

    Only SHA-256 digests of whole files can be compared.
    """
    publisher = state.publisher
    if statement.shard_size or statement.algorithm != "sha256":
        return
    digests = {file.stretches[0].digest for file in statement.files}
    for data in knowledge.notices(publisher):
        envelope = unpack(data)
        if envelope.type == Withdrawal.TYPE:
            named = Withdrawal.from_payload(envelope.payload).release
            _ask(store, knowledge, publisher, named, statement)
        elif envelope.type == Revocation.TYPE:
            signed = Signed(Revocation.from_payload(envelope.payload), envelope.signed_by())
            revoked = signed.notice.revoked
            if isinstance(revoked, RevokedRelease):
                _ask(store, knowledge, publisher, revoked.release, statement)
            if _names_one_of(revoked, digests) and in_force(signed, state.identity):
                raise RevokedError(f"a file of it was revoked: {signed.notice.reason}")


def _names_one_of(revoked: Revoked, digests: Collection[bytes]) -> bool:
    return isinstance(revoked, RevokedFile) and revoked.sha256 in digests


def _ask(
    store: Store, knowledge: Knowledge, publisher: PublisherId, digest: bytes, statement: Statement
) -> None:
    """Let the gate judge a release that lists the same files as the statement."""
    data = store.documents.get(digest)
    if data is None:
        return
    try:
        release = Release.from_payload(unpack(data).payload)
    except UntrustedError:  # it rotted on this disk, and says nothing any more
        return
    if to_sign((file.path, file.sha256) for file in release.files) == statement.files:
        knowledge.expect(digest, publisher)
        knowledge.document(digest, Release)
