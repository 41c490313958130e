"""Releases of our own publisher that too few keys have signed yet: kept, counted, carried in files.

A proposal is in no index: `main` stays what it was until enough of the keys that the delegation
names have signed. Signatures are collected by hand, in a parcel that `p2phub key sign` adds to, or
from other nodes of our publisher (`proposing`).

Rules it keeps:
 * nothing is kept as a proposal that our gate would refuse for another reason than signatures that
   are missing: it is of our publisher, and every signature on it verifies;
 * a file that exists is replaced only by one with more signatures on the same release.

Everything here blocks; a node calls it from the store's threads.
"""

from dataclasses import dataclass
from pathlib import Path

from p2phub.errors import (
    MalformedError,
    NotFoundError,
    RefusedError,
    UntrustedError,
    UsageError,
    WrongBytesError,
)
from p2phub.formats.ids import PublisherId, commit_id, is_commit_prefix
from p2phub.formats.manifest import Release
from p2phub.formats.parcel import SUFFIX
from p2phub.formats.publisher import Delegation
from p2phub.node.author import counting, own_delegation
from p2phub.node.parcel_files import read_parcel_file, write_parcel_file
from p2phub.node.services import Services
from p2phub.store.proposals import Proposal
from p2phub.trust import envelope, parcels
from p2phub.trust.envelope import Envelope


@dataclass(frozen=True, slots=True)
class Proposed:
    """A release, the signatures on it, and how many of them count."""

    signed: Envelope
    release: Release
    counted: frozenset[bytes]
    needed: int

    @property
    def digest(self) -> bytes:
        return self.signed.digest

    @property
    def is_enough(self) -> bool:
        return len(self.counted) >= self.needed

    def __str__(self) -> str:
        return f"{len(self.counted)} of {self.needed} signatures"


def proposed(delegation: Delegation, signed: Envelope) -> Proposed:
    """What there is to say of a release that may lack signatures.

    Raises `UntrustedError` if it is another publisher's, `WrongBytesError` if a signature on it
    does not verify, `MalformedError`.
    """
    release = Release.from_payload(signed.payload)
    subject = f"release {commit_id(signed.digest)[:16]} of {release.name}"
    if release.publisher != delegation.publisher:
        raise UntrustedError(
            f"{subject} is of publisher {PublisherId(release.publisher)}, not of this machine's",
            remedy="finish it on a node of that publisher",
        )
    if len(signed.signed_by()) != len(signed.signatures):
        raise WrongBytesError(
            f"{subject} has a signature that does not verify: somebody changed it",
            remedy="ask for the file again, or publish again with --prepare",
        )
    counted = counting(delegation, signed, release.name, release.created)
    return Proposed(signed, release, counted, delegation.threshold)


def keep(services: Services, made: Proposed, *, tag: str | None = None, ours: bool) -> Proposed:
    """Keep a proposal, with every signature on it that ever came here.

    Raises `RefusedError` if too many wait already.
    """
    known, delegation = services.store.proposals.get(made.digest), own_delegation(services)
    signed = made.signed.only(key.key for key in delegation.keys)
    if known is not None:
        signed = envelope.merge(envelope.unpack(known.data), signed)
    files = {file.content for file in made.release.files}
    proposal = Proposal(made.digest, services.now(), tag or "", ours, signed.pack())
    services.store.proposals.put(proposal, files)
    return proposed(delegation, signed)


def with_known_signatures(services: Services, signed: Envelope) -> Envelope:
    """The same release, also with the signatures that came here another way."""
    known = services.store.proposals.get(signed.digest)
    return signed if known is None else envelope.merge(signed, envelope.unpack(known.data))


def like(services: Services, release: Release) -> Proposed | None:
    """The proposal here that says the same as `release`, but for the moment it was made at."""
    for proposal in services.store.proposals.all(services.now()):
        made = proposed(own_delegation(services), envelope.unpack(proposal.data))
        if _content(made.release) == _content(release):
            return made
    return None


def _content(release: Release) -> tuple[object, ...]:
    said = release.parents, release.message, release.lineage
    return release.name, release.kind, release.files, *said


def find(services: Services, commit: str) -> tuple[Proposal, Proposed]:
    """The proposal whose commit begins with these digits, 8 at least.

    Raises `NotFoundError`, `UsageError` where there are several.
    """
    if not is_commit_prefix(commit):
        raise UsageError(
            f"{commit!r} is no commit", remedy="`p2phub key proposals` lists those that wait"
        )
    waiting = services.store.proposals.all(services.now())
    found = [each for each in waiting if commit_id(each.digest).startswith(commit)]
    if not found:
        raise NotFoundError(
            f"no release {commit} waits for signatures here",
            remedy="`p2phub key proposals` lists those that do",
        )
    if len(found) > 1:
        raise UsageError(f"{commit} is the beginning of several commits", remedy="write more of it")
    return found[0], proposed(own_delegation(services), envelope.unpack(found[0].data))


def drop(services: Services, digest: bytes) -> None:
    """Forget a proposal, and the files that nothing else needs."""
    for content in services.store.proposals.drop(digest):
        services.store.blobs.remove(content)


def missing_files(services: Services, release: Release) -> list[str]:
    """The files of a release that are not on this disk."""
    has = services.store.blobs.has
    return ["/".join(file.path) for file in release.files if not has(file.content)]


# ---------------------------------------------------------------- files


def parcel_path(wanted: Path, name: str, digest: bytes) -> Path:
    """Where a proposal is written: into a folder under a name of its own, or just there."""
    return wanted / f"{name}-{commit_id(digest)[:8]}{SUFFIX}" if wanted.is_dir() else wanted


def write_parcel(path: Path, signed: Envelope) -> None:
    """Write a release to a file, with the signatures of the one that is there.

    Raises `RefusedError` if another file is there, or the folder is missing.
    """
    if not path.parent.is_dir():
        raise UsageError(f"there is no folder {path.parent}", remedy="make it, or name another")
    there = _release_there(path)
    if there is not None and there.digest != signed.digest:
        raise RefusedError(
            f"{path} exists and is never overwritten", remedy="give another name for the file"
        )
    parcel = parcels.packed([signed] if there is None else [signed, there])
    write_parcel_file(path, parcel, replace=there is not None)


def _release_there(path: Path) -> Envelope | None:
    """The release in a file of that name; None if there is no such file, or none of ours."""
    try:
        return read_release(path)
    except (NotFoundError, MalformedError, UsageError):
        return None


def read_release(path: Path) -> Envelope:
    """The one release in a parcel file.

    Raises `NotFoundError`, `MalformedError` for what is no parcel, `UsageError` for one without a
    release or with several.
    """
    releases = parcels.envelopes(read_parcel_file(path), Release.TYPE)
    if len(releases) != 1:
        raise UsageError(
            f"{path} holds {len(releases)} releases, where one was expected",
            remedy="give the file that `p2phub publish --prepare` wrote",
        )
    return releases[0]
