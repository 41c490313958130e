"""What a document says, in plain words: for whoever is asked to sign it.

Nothing is believed here. What is said of a document comes from its payload alone, and the person
who reads it decides.
"""

from collections.abc import Sequence

from p2phub.formats.documents import Document
from p2phub.formats.ids import PublisherId, commit_id
from p2phub.formats.manifest import Release
from p2phub.formats.notices import (
    Revocation,
    RevokedFile,
    RevokedKey,
    RevokedRelease,
    Withdrawal,
)
from p2phub.formats.publisher import Delegation, Head, Index, KeySet, ReleaseKey, Root
from p2phub.key_results import Told
from p2phub.trust.envelope import Envelope
from p2phub.trust.verdict import moment

FILES = 20
"""Files of a release that are named; of more, the number is."""

Known = Root | Delegation | Release | Revocation | Withdrawal | Head | Index
_KINDS: dict[str, type[Known]] = {
    kind.TYPE: kind for kind in (Root, Delegation, Release, Revocation, Withdrawal, Head, Index)
}


def read_document(envelope: Envelope) -> Known | None:
    """The document in an envelope; None for a type that nobody signs by hand.

    Raises `MalformedError`.
    """
    kind = _KINDS.get(envelope.type)
    return None if kind is None else kind.from_payload(envelope.payload)


def publisher_of(document: Known, first_root: bytes | None) -> PublisherId | None:
    """Whose document it is. A root does not say it: its first root does."""
    if isinstance(document, Root):
        if document.v == 1:
            return PublisherId(document.digest)
        return PublisherId(first_root) if first_root is not None else None
    return PublisherId(document.publisher)


def describe(document: Document) -> tuple[Told, ...]:
    """What it says, a line for each thing."""
    match document:
        case Root():
            return tuple(_root(document))
        case Delegation():
            return tuple(_delegation(document))
        case Release():
            return tuple(_release(document))
        case Revocation():
            return tuple(_revocation(document))
        case Withdrawal():
            return (
                Told("takes back its signature of", f"release {commit_id(document.release)}"),
                Told("because", document.reason),
            )
        case Head() | Index():
            return (Told("index", f"number {document.seq}"),)
    return ()


def _root(root: Root) -> Sequence[Told]:
    previous = f"follows {root.previous.hex()[:16]}" if root.previous else "the first"
    told = [Told("root", f"number {root.v}, {previous}"), Told("root keys", _keys(root.keys))]
    recovery = _keys(root.recovery) if root.recovery else "none: nobody could recover it"
    return [*told, Told("recovery keys", recovery)]


def _delegation(delegation: Delegation) -> Sequence[Told]:
    told = [Told("delegation", f"version {delegation.version}")]
    told += (Told("release key", _release_key(key)) for key in delegation.keys)
    told.append(Told("needed on a release", f"{delegation.threshold} signatures"))
    if delegation.revocations_from > 1:
        said = f"only by root {delegation.revocations_from} and later"
        told.append(Told("revocations count", said))
    return told


def _release_key(key: ReleaseKey) -> str:
    limits = [f"only {', '.join(key.repos)}"] if key.repos else []
    if key.not_after:
        limits.append(f"until {moment(key.not_after)}")
    return f"{key.key.hex()}{' (' + '; '.join(limits) + ')' if limits else ''}"


def _release(release: Release) -> Sequence[Told]:
    previous = ", ".join(commit_id(parent)[:16] for parent in release.parents)
    told = [
        Told("release of", f"{release.kind} {release.name}"),
        Told("made", moment(release.created)),
        Told("previous version", previous or "none: it is the first"),
        Told("size", f"{release.total_size} bytes in {len(release.files)} files"),
    ]
    if release.message:
        told.append(Told("message", release.message))
    for made in release.lineage:
        base = f"release {made.release.hex()}" if made.release else made.upstream
        told.append(Told("made from", f"{base} ({made.relation})"))
    for file in release.files[:FILES]:
        told.append(Told("file", f"{'/'.join(file.path)} ({file.size} bytes)"))
    if len(release.files) > FILES:
        told.append(Told("file", f"and {len(release.files) - FILES} more"))
    return told


def _revocation(notice: Revocation) -> Sequence[Told]:
    match notice.revoked:
        case RevokedKey(key=key, last_seq=seq):
            since = f"after index {seq}" if seq else "from its first index on"
            said = f"release key {key.hex()}: nothing that it signed {since} counts"
        case RevokedRelease(release=release):
            said = f"release {commit_id(release)}"
        case RevokedFile(sha256=digest):
            said = f"every release with the file {digest.hex()}"
    return [Told("takes back", said), Told("because", notice.reason)]


def _keys(keys: KeySet) -> str:
    named = ", ".join(key.hex() for key in keys.keys)
    return f"{keys.threshold} of {len(keys.keys)}: {named}"
