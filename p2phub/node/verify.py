"""Verify a release on this disk, and say how one knows: documents first, then every byte of every
file.

The steps are those of the gate (head, index, release), then for each file: its place in the
snapshot, its pieces against the signed table, its SHA-256 against the signed claim. They are
numbered in the order in which they were taken; each says what was compared with what. Nothing is
taken from memory: files are read again in full. Works on a store that is open for reading only, and
with no network.
"""

from collections.abc import Sequence
from dataclasses import replace

from p2phub.errors import NotFoundError, UntrustedError
from p2phub.formats.ids import PublisherId, RepoId, commit_id
from p2phub.formats.manifest import FileEntry, Release
from p2phub.formats.publisher import Head, Index
from p2phub.node.events import Report, Verifying
from p2phub.node.knowledge import Knowledge, Missing
from p2phub.node.values import StepTaken, Verification
from p2phub.store.disk import Progress, no_progress
from p2phub.store.store import Store
from p2phub.trust.catalog import Accepted
from p2phub.trust.envelope import unpack
from p2phub.trust.refusals import Refusal, verdict_of
from p2phub.trust.verdict import Step, Verdict


def verify_release(
    store: Store,
    knowledge: Knowledge,
    repo: RepoId,
    digest: bytes,
    ref: str,
    *,
    report: Report,
    yields: Progress = no_progress,
) -> Verification:
    """Check everything about a release that is on this disk; never raises for what is wrong.

    `yields` is called after each piece, and may block to let others work.
    """
    report(Verifying(ref))
    steps: list[StepTaken] = []
    stale_since: int | None = None
    try:
        accepted = _documents(knowledge, repo, digest, steps)
    except UntrustedError as error:
        verdict = verdict_of(error).value
        if not isinstance(error, Refusal):
            steps.append(StepTaken("documents", False, error.message))
    else:
        files = _files(store, repo, digest, accepted, ref, report, yields)
        steps += files
        judgement = accepted.judgement
        right = all(step.ok for step in files)
        verdict = judgement.text if right else Verdict.CORRUPT.value
        stale_since = judgement.stale_since if right else None
    numbered = tuple(replace(step, number=at) for at, step in enumerate(steps, 1))
    found = Verification(ref, verdict, stale_since, numbered)
    return _with_origin(found, store, knowledge, repo.publisher, digest)


def _with_origin(
    found: Verification, store: Store, knowledge: Knowledge, publisher: PublisherId, digest: bytes
) -> Verification:
    """Who signed the release and how old it is, as far as its documents can be read."""
    found = replace(
        found,
        publisher_id=str(publisher),
        commit=commit_id(digest),
        heard=store.documents.head_seen(publisher),
    )
    try:
        state, data = knowledge.state(publisher), store.documents.get(digest)
        envelope = unpack(data) if data is not None else None
        release = Release.from_payload(envelope.payload) if envelope is not None else None
    except UntrustedError:  # rotten: the steps say so
        return found
    signers = sorted(envelope.signed_by()) if envelope is not None else ()
    return replace(
        found,
        signed_by=tuple(key.hex() for key in signers),
        created=release.created if release is not None else None,
        fresh_until=state.fresh_until if state is not None else None,
        as_of=_dated(store, state.index) if state is not None else None,
    )


def _dated(store: Store, index: bytes) -> int | None:
    """When an index was signed, whatever is wrong with its publisher; None if it is not here."""
    data = store.documents.get(index)
    try:
        return Index.from_payload(unpack(data).payload).created if data is not None else None
    except UntrustedError:  # rotten: the steps say so
        return None


def _files(
    store: Store,
    repo: RepoId,
    digest: bytes,
    accepted: Accepted,
    ref: str,
    report: Report,
    yields: Progress,
) -> list[StepTaken]:
    """The steps of the folder and of every file."""
    release = accepted.document
    assert isinstance(release, Release)
    steps = _snapshot(store, repo, digest, release)
    here = 0
    for file in release.files:
        report(Verifying(ref, "/".join(file.path)))
        checked = _file(store, file, yields)
        here += bool(checked)
        steps += checked
    steps.append(_count(here, release.files))
    return steps


def _documents(
    knowledge: Knowledge, repo: RepoId, digest: bytes, steps: list[StepTaken]
) -> Accepted:
    """The release, after its publisher's head, index and pages and itself passed the gate again."""
    publisher, name = repo.publisher, repo.name
    try:
        state = knowledge.state(publisher)
        head = knowledge.document(state.head, Head) if state is not None else None
        if head is None:
            raise UntrustedError(f"no head of publisher {publisher} is on this disk")
        steps += _told("head", head.judgement.steps)
        steps += _listed(knowledge, publisher, name, digest)
        knowledge.expect(digest, publisher)
        release = knowledge.document(digest, Release)
        if release is None or not isinstance(release.document, Release):
            raise UntrustedError(f"the manifest of commit {commit_id(digest)} is not on this disk")
    except Refusal as error:
        steps += _told("documents", error.steps)
        raise
    steps += _told("release", release.judgement.steps)
    return release


def _listed(
    knowledge: Knowledge, publisher: PublisherId, name: str, digest: bytes
) -> list[StepTaken]:
    """Whether the publisher's newest index here still points at the release; it need not."""
    try:
        entry = knowledge.find(publisher, name)
    except NotFoundError as error:
        return [StepTaken("index", True, f"{error.message} any more; the release was listed once")]
    if isinstance(entry, Missing) and entry.damage is not None:
        raise entry.damage
    if isinstance(entry, Missing):
        return [StepTaken("index", True, "the newest index is not on this disk")]
    refs = sorted(ref for ref, to in entry.refs.items() if to.release == digest)
    where = f"as {', '.join(refs)}" if refs else "no more: a newer release took its place"
    return [StepTaken("index", True, f"the newest index lists it {where}")]


def _told(subject: str, steps: Sequence[Step]) -> list[StepTaken]:
    return [StepTaken(f"{subject}: {step.name}", step.ok, step.detail) for step in steps]


def _snapshot(store: Store, repo: RepoId, digest: bytes, release: Release) -> list[StepTaken]:
    """Whether the folder that people load from shows these files and no others."""
    commit = commit_id(digest)
    if not store.snapshots.path(repo, commit).is_dir():
        return []
    found = store.snapshots.check(
        repo, commit, [(file.path, file.content) for file in release.files]
    )
    if not found.wrong:
        return [StepTaken("folder", True, f"{len(found.present)} files lead where they should")]
    return [
        StepTaken("folder", False, f"{'/'.join(wrong.path)}: {wrong.reason}")
        for wrong in found.wrong
    ]


def _file(store: Store, file: FileEntry, yields: Progress) -> list[StepTaken]:
    """The steps of one file; none if it is not on this disk."""
    name = "/".join(file.path)
    try:
        found = store.blobs.examine(file.content, yields)
    except NotFoundError:
        return []
    except UntrustedError as error:
        return [StepTaken("pieces", False, f"{name}: {error.message}")]
    if found.bad_pieces:
        wrong = ", ".join(map(str, found.bad_pieces[:8]))
        return [StepTaken("pieces", False, f"{name}: wrong pieces {wrong}")]
    pieces = StepTaken("pieces", True, f"{name}: {found.pieces} match the signed table")
    if found.sha256 == file.sha256:
        return [pieces, StepTaken("sha256", True, f"{name}: {file.sha256.hex()}")]
    claim = f"{name}: the publisher claims {file.sha256.hex()}, it is {found.sha256.hex()}"
    return [pieces, StepTaken("sha256", False, claim)]


def _count(here: int, files: Sequence[FileEntry]) -> StepTaken:
    if here == len(files):
        return StepTaken("files", True, f"all {here} files are here")
    return StepTaken("files", here > 0, f"{here} of {len(files)} files are here")
