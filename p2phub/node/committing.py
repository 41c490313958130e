"""Commit changes to a repo of this node's publisher: the next release, without a folder.

A commit is what is added, replaced and deleted, after the release that `main` names. Its files are
blobs already (`store.uploads`). It is signed, passes our own gate and is announced as any release
that is published; whoever commits at the same time comes after it, or is told that `main` has moved
if the commit names what it was made after.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from p2phub.errors import (
    NoFileError,
    NoRevisionError,
    NotFoundError,
    ParentMovedError,
    RefusedError,
    UsageError,
)
from p2phub.formats.ids import Kind, PublisherId, check_name, check_new_ref, commit_id
from p2phub.formats.manifest import FileEntry, Release
from p2phub.formats.paths import FilePath, check_path
from p2phub.node.author import author_of, own_delegation
from p2phub.node.drafting import Draft, message_of
from p2phub.node.events import Report
from p2phub.node.ingesting import card_of
from p2phub.node.listing import release_of, set_ref
from p2phub.node.own_history import base_of
from p2phub.node.own_index import on_newest
from p2phub.node.parameters import counted
from p2phub.node.publish import (
    TELL_PATIENCE,
    Outcome,
    announce,
    come_up_to_date,
    published,
    sign_and_keep,
)
from p2phub.node.services import Services
from p2phub.node.values import Published, PublishRequest
from p2phub.store.uploads import Kept
from p2phub.trust.merging import MAIN

README: Final = ("README.md",)


@dataclass(frozen=True, slots=True)
class Put:
    """A file that is new, or takes the place of one."""

    path: FilePath
    file: Kept


@dataclass(frozen=True, slots=True)
class Drop:
    """A file that goes, or everything in a folder."""

    path: FilePath
    folder: bool = False


@dataclass(frozen=True, slots=True)
class CommitRequest:
    """What changes, in this order."""

    name: str
    kind: Kind
    message: str
    changes: Sequence[Put | Drop]
    parent: str | None = None
    """The commit that `main` must name; None: whatever it names."""
    new: bool = False
    """Whether the repo must not exist yet."""
    ref: str = MAIN
    """The branch; one that is not there yet begins where `main` is."""


@dataclass(frozen=True, slots=True)
class RefRequest:
    """A branch or a tag for a release that a repo has."""

    name: str
    ref: str
    commit: str
    tag: bool = False
    expected: str | None = None
    """What the ref must name now; None: it must not be there."""


async def commit(services: Services, request: CommitRequest, report: Report) -> Published:
    """Sign and announce the next release of a repo.

    Raises `NotFoundError` for a repo that is not there (and not to be made), `NoFileError` for a
    file that cannot be deleted, `ParentMovedError`, `RefusedError` where one key is not enough, and
    what `publish` raises.
    """
    check_name(request.name)
    own = (await services.on_disk(author_of, services)).publisher
    if (await services.on_disk(own_delegation, services)).threshold > 1:
        raise RefusedError(
            "releases of this publisher take several signatures, and a commit brings one",
            remedy="publish a folder: `p2phub publish` keeps it until enough have signed",
        )
    async with services.signing:
        await come_up_to_date(services, own, request.name, request.ref)
        work = partial(_commit, services, own, request, report)
        made = await on_newest(services, own, work)
    await announce(services, own, made.digest, made.release)
    return await services.on_disk(published, services, made, None)


def _commit(
    services: Services, own: PublisherId, request: CommitRequest, report: Report
) -> Outcome:
    entry = base_of(services, own).entry(request.name)
    main = release_of(services, own, entry, request.ref) or release_of(services, own, entry)
    _check(request, main)
    before = main[1].files if main is not None else ()
    files = changed(before, request.changes)
    asked = PublishRequest(Path(), request.name, request.message, kind=request.kind)
    if main is not None and _readme(files) == _readme(before):
        card = main[1].card
    else:
        card = card_of(services, files, report)
    card = counted(services, card, files, main[1] if main is not None else None)
    lineage = main[1].lineage if main is not None else ()
    draft = Draft(asked, message_of(request.message), (), files, card, lineage, request.ref)
    return sign_and_keep(services, own, draft, report)


async def set_revision(services: Services, request: RefRequest) -> None:
    """Let a branch or a tag name a release of a repo of ours, and tell others.

    Raises `NotFoundError`, `UsageError` for a name that none can have, `ParentMovedError` if the
    ref names something else than is expected.
    """
    check_new_ref(request.ref)
    own = (await services.on_disk(author_of, services)).publisher
    async with services.signing:
        await come_up_to_date(services, own, request.name)
        await on_newest(services, own, partial(_set_revision, services, own, request))
    services.announcer.publisher(own, changed=True)
    if services.network.peers():
        await services.announcer.told(own, TELL_PATIENCE)


def _set_revision(services: Services, own: PublisherId, request: RefRequest) -> None:
    base = base_of(services, own)
    entry = base.entry(request.name)
    now = entry.refs.get(request.ref) if entry is not None else None
    before = commit_id(now.release) if now is not None else None
    if before != request.expected:
        raise ParentMovedError(f"{request.ref} of {request.name} is at {before or 'nothing'} now")
    found = services.store.repos.find_commit(own, request.name, request.commit)
    if len(found) != 1:
        raise NoRevisionError(f"{request.name} has no commit {request.commit} here")
    author = author_of(services)
    set_ref(services, author, base, request.name, request.ref, found[0], tag=request.tag)


def _check(request: CommitRequest, main: tuple[bytes, Release] | None) -> None:
    if main is None:
        if not request.new:
            raise NotFoundError(f"there is no repo {request.name} here", remedy="create it first")
        return
    if request.new or main[1].kind != request.kind:
        raise UsageError(
            f"there is a {main[1].kind} called {request.name} already", remedy="choose another name"
        )
    if request.parent is not None and request.parent != commit_id(main[0]):
        raise ParentMovedError(
            f"{request.ref} is at commit {commit_id(main[0])}, and this one was made after"
            f" {request.parent}",
            remedy="look at what changed, and commit again",
        )


def changed(before: Sequence[FileEntry], changes: Sequence[Put | Drop]) -> tuple[FileEntry, ...]:
    """The files after these changes. Raises `NoFileError`, `UsageError` if none would be left."""
    files = {file.path: file for file in before}
    for change in changes:
        check_path(change.path)
        if isinstance(change, Put):
            files[change.path] = _entry(change, files.get(change.path))
            continue
        gone = [path for path in files if _is_meant(change, path)]
        if not gone:
            raise NoFileError(f"A file with this name doesn't exist: {'/'.join(change.path)}")
        for path in gone:
            del files[path]
    if not files:
        raise UsageError("a release needs a file, and this commit would leave none")
    return tuple(files[path] for path in sorted(files))


def _is_meant(change: Drop, path: FilePath) -> bool:
    return path[: len(change.path)] == change.path if change.folder else path == change.path


def _entry(change: Put, before: FileEntry | None) -> FileEntry:
    file = change.file
    if before is not None and before.content == file.content:
        return replace(before, git_sha1=file.git_sha1 or before.git_sha1)
    return FileEntry(change.path, file.content.size, file.sha256, file.content, file.git_sha1)


def _readme(files: Sequence[FileEntry]) -> FileEntry | None:
    return next((file for file in files if file.path == README), None)
