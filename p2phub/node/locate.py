"""The release that a reference names, from the documents on this disk: nobody is asked.

Rows of the index say where to look, never what is true: the release that is found comes from its
document, which passes the gate, and is of the repo that was asked for. What has to be fetched, and
how, is `resolve.py`'s business.

Everything here blocks; a node calls it from the store's threads, once for each look-up.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from p2phub.errors import NoRevisionError, NotFoundError, QuarantinedError, UsageError
from p2phub.formats.ids import PublisherId, Reference, RepoId, commit_id, is_commit_prefix
from p2phub.formats.manifest import Release
from p2phub.formats.publisher import Ref, RepoEntry
from p2phub.node.claims import resolve_publisher
from p2phub.node.knowledge import Knowledge, Missing
from p2phub.store.store import Store
from p2phub.trust.verdict import Judgement

DEFAULT_REVISION = "main"


@dataclass(frozen=True, slots=True)
class ResolvedRelease:
    """A release that passed the gate, and how it was named."""

    repo: RepoId
    revision: str
    digest: bytes
    release: Release
    judgement: Judgement
    refs: Mapping[str, Ref]
    """What the publisher's index says that the refs of the repo name."""
    called: str
    """What it is called on this machine, such as `lab/minilm@main`."""
    refused: tuple[str, ...] = ()
    """What the gate said of heads that peers sent and that were not believed."""
    teller: str = ""
    """The source that the release was fetched from just now; empty if it was here."""
    shown: str = ""
    """The commit that it is shown as, where it is a copy of another hub's; empty: its own."""

    @property
    def commit(self) -> str:
        return self.shown or commit_id(self.digest)


def locate(
    store: Store, knowledge: Knowledge, reference: Reference, *, waiting: bool = False
) -> ResolvedRelease:
    """The release that `reference` names, as far as this disk knows; one that waits in quarantine
    only if `waiting`.

    Raises `NotFoundError` for what is not known here, `UsageError` for digits that several commits
    begin with, `UntrustedError` for documents that the gate refused or that have rotted,
    `QuarantinedError`.
    """
    publisher, entry, revision, digest = _named(store, knowledge, reference)
    if not waiting:
        require_let_in(store, digest, str(reference))
    knowledge.expect(digest, publisher)
    accepted = knowledge.document(digest, Release)
    if accepted is None:
        raise NotFoundError(
            f"the manifest of {reference} is not on this disk",
            remedy=f"`p2phub pull {reference}` fetches it",
        )
    assert isinstance(accepted.document, Release)
    if accepted.document.name != reference.name:
        raise _no_such(reference.name, revision)
    repo = RepoId(publisher, reference.name)
    return ResolvedRelease(
        repo,
        revision,
        digest,
        accepted.document,
        accepted.judgement,
        entry.refs,
        name_of(store, repo, revision),
    )


def require_let_in(store: Store, digest: bytes, called: str) -> None:
    """Raise `QuarantinedError` for a release that came in a bundle and that nobody let in: for
    everybody but who decides about it, it is not here.
    """
    case = store.quarantine.get(digest)
    if case is None:
        return
    if case.state == "rejected":
        raise QuarantinedError(
            f"{called} came to the gate of this node and was rejected: {case.reason}",
            remedy=f"`p2phub quarantine allow {commit_id(digest)[:16]}` lets it come again",
        )
    raise QuarantinedError(
        f"{called} is commit {commit_id(digest)[:16]}, which waits in quarantine",
        remedy="`p2phub quarantine ls` tells for what; an older commit that is here can be named",
    )


def locate_digest(store: Store, knowledge: Knowledge, digest: bytes) -> ResolvedRelease:
    """The release of this digest, called by a ref that names it now, or by its commit.

    Raises as `locate`.
    """
    repo = store.repos.repo_of(digest)
    if repo is None:
        raise NotFoundError(
            f"release {digest.hex()} is not known here", remedy="pull it from its publisher"
        )
    exact = Reference(str(repo.publisher), repo.name, commit_id(digest))
    return by_ref(store, locate(store, knowledge, exact))


def by_ref(store: Store, resolved: ResolvedRelease) -> ResolvedRelease:
    """The same release, called by a ref that names it now, if there is one."""
    revision = ref_of(resolved.refs, resolved.digest)
    if revision is None:
        return resolved
    return replace(resolved, revision=revision, called=name_of(store, resolved.repo, revision))


def ref_of(refs: Mapping[str, Ref], digest: bytes) -> str | None:
    """A ref that names a release: `main` if it does, else the first by name."""
    named = sorted(
        (name != DEFAULT_REVISION, name) for name in refs if refs[name].release == digest
    )
    return named[0][1] if named else None


def digest_of(store: Store, knowledge: Knowledge, reference: Reference) -> tuple[RepoId, bytes]:
    """Which release `reference` names, whether the gate would take it or not.

    Raises what `locate` raises before it has the release.
    """
    publisher, entry, _, digest = _named(store, knowledge, reference)
    require_let_in(store, digest, str(reference))
    return RepoId(publisher, entry.name), digest


def _named(
    store: Store, knowledge: Knowledge, reference: Reference
) -> tuple[PublisherId, RepoEntry, str, bytes]:
    publisher = publisher_of(store, reference)
    entry = knowledge.find(publisher, reference.name)
    if isinstance(entry, Missing) and entry.damage is not None:
        raise entry.damage
    if isinstance(entry, Missing):
        raise NotFoundError(
            f"the index of {called(store, publisher)} is not on this disk",
            remedy=f"`p2phub pull {reference}` fetches it",
        )
    revision = reference.revision or DEFAULT_REVISION
    ref = entry.refs.get(revision)
    digest = ref.release if ref else _commit(store, publisher, entry, revision)
    return publisher, entry, revision, digest


def publisher_of(store: Store, reference: Reference) -> PublisherId:
    """Who a reference means: a pinned alias, a full id, or this machine's own publisher when it
    names nobody.

    Raises `NotFoundError` for an alias that is not pinned, `UsageError` when there is no own
    publisher."""
    if reference.publisher is not None:
        return resolve_publisher(store, reference.publisher)
    own = store.documents.own_publisher()
    if own is None:
        raise UsageError(
            f"{reference.name} names no publisher, and this machine has none of its own",
            remedy="write publisher/name, or run `p2phub init` to become a publisher",
        )
    return own


def called(store: Store, publisher: PublisherId) -> str:
    """A publisher as this machine's people call it: by alias where one is pinned."""
    return store.documents.aliases().alias_of(publisher) or str(publisher)


def name_of(store: Store, repo: RepoId, revision: str) -> str:
    """A release as this machine's people call it."""
    return f"{called(store, repo.publisher)}/{repo.name}@{revision}"


def _commit(store: Store, publisher: PublisherId, entry: RepoEntry, prefix: str) -> bytes:
    """A release that a ref names, or an older one of which the index keeps a row."""
    if not is_commit_prefix(prefix):
        raise _no_such(entry.name, prefix)
    named = {ref.release for ref in entry.refs.values()}
    found = {digest for digest in named if commit_id(digest).startswith(prefix)}
    found.update(store.repos.find_commit(publisher, entry.name, prefix))
    if len(found) > 1:
        raise UsageError(
            f"{prefix} is the beginning of several commits of {entry.name}",
            remedy="write more of its digits",
        )
    if not found:
        raise _no_such(entry.name, prefix)
    return found.pop()


def _no_such(name: str, revision: str) -> NoRevisionError:
    return NoRevisionError(
        f"{name} has no revision {revision} here", remedy="`p2phub info REF` lists them"
    )
