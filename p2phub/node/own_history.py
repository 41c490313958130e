"""What the next index of our own publisher goes on from: every end of its history known here.

Several nodes of one publisher may write at once. Each remembers the indexes that nothing newer
includes (`store.tips`); together with the newest index they are what the next one follows. What
comes out when they are joined is `p2phub.trust.merging`'s business, and does not depend on who
joins them.

Rules it keeps:
 * nothing is taken from an index whose writer was revoked since, but from its last good one, nor
   from an older end of the history whose writer is no release key any more;
 * an index has at most `MAX_PARENTS` parents: what is left over is for the index after it;
 * a document on this disk is what its digest says, or it is damaged.

Everything here blocks; a node calls it from the store's threads.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from p2phub.errors import MalformedError, NotFoundError, P2PHubError, WrongBytesError
from p2phub.formats import limits
from p2phub.formats.digest import sha256
from p2phub.formats.ids import PublisherId
from p2phub.formats.manifest import Release
from p2phub.formats.publisher import Index, Page, RepoEntry
from p2phub.node.services import Services
from p2phub.store.documents import Documents
from p2phub.trust import envelope
from p2phub.trust.catalog import PublisherState
from p2phub.trust.merging import MAIN, holds, merge, outrun

log = logging.getLogger(__name__)

HISTORY = 256
"""Releases walked back to find out whether one follows another."""


@dataclass(frozen=True, slots=True)
class Ending:
    """An index and everything it lists."""

    digest: bytes
    index: Index
    entries: tuple[RepoEntry, ...]


@dataclass(frozen=True, slots=True)
class Base:
    """What the next index goes on from."""

    parents: tuple[bytes, ...] = ()
    """The indexes that it follows, the newest first; none before the first."""
    seq: int = 1
    """The seq of the next index."""
    entries: Mapping[str, RepoEntry] | None = None
    """Every repo, by name."""
    sides: tuple[tuple[str, bytes], ...] = ()
    """The releases (repo, digest) whose `main` is another writer's now."""
    left: tuple[bytes, ...] = ()
    """The ends of the history that one index cannot follow as well."""

    def entry(self, name: str) -> RepoEntry | None:
        """The repo called `name`."""
        return (self.entries or {}).get(name)

    @property
    def joins(self) -> bool:
        """Whether the next index says more than the newest one, even if nothing is published."""
        return len(self.parents) > 1 or bool(self.left)


def base_of(services: Services, publisher: PublisherId) -> Base:
    """What the next index of our own `publisher` goes on from.

    Raises `NotFoundError` or `WrongBytesError` if the newest index is not on this disk as it
    should be.
    """
    state = services.knowledge.state(publisher)
    endings = list(_endings(services, publisher, state))
    followed: list[Ending] = []
    left: list[bytes] = []
    entries: tuple[RepoEntry, ...] = ()
    for ending in endings:
        if followed and holds(entries, ending.entries):
            continue
        if len(followed) == limits.MAX_PARENTS:
            left.append(ending.digest)
            continue
        followed.append(ending)
        entries = merge([entries, ending.entries])
    return Base(
        tuple(each.digest for each in followed),
        max((each.index.seq for each in followed), default=0) + 1,
        {entry.name: entry for entry in entries},
        tuple(side for each in followed for side in outrun(entries, each.entries)),
        tuple(left),
    )


def _endings(
    services: Services, publisher: PublisherId, state: PublisherState | None
) -> Iterable[Ending]:
    """The newest index, then every other end of our history, the newest first."""
    documents = services.store.documents
    if state is not None:
        yield _read(documents, state.index, publisher)
    others = [
        digest for digest in services.store.tips.all() if state is None or digest != state.index
    ]
    found = []
    for digest in others:
        try:
            ending = _read(documents, digest, publisher)
        except P2PHubError as error:
            log.warning("an older index of ours is left out of the next: %s", error.message)
            continue
        if state is None or state.identity.release_key(ending.index.writer) is not None:
            found.append(ending)
    yield from sorted(found, key=lambda each: (each.index.seq, each.digest), reverse=True)


def _read(documents: Documents, digest: bytes, publisher: PublisherId) -> Ending:
    """An index on this disk and its pages; all of them passed the gate once, or were made here."""
    data = documents.get(digest)
    if data is None:
        raise _gone("index", digest)
    try:
        signed = envelope.unpack(data)
        index = Index.from_payload(signed.payload)
    except MalformedError as error:
        raise _damaged("index", digest) from error
    own = index.publisher == publisher.digest and index.writer in signed.signed_by()
    if signed.digest != digest or not own:
        raise _damaged("index", digest)
    return Ending(digest, index, tuple(_below(documents, index.pages)))


def _below(documents: Documents, digest: bytes) -> list[RepoEntry]:
    data = documents.get(digest)
    if data is None:
        raise _gone("page of the index", digest)
    if sha256(data) != digest:
        raise _damaged("page of the index", digest)
    page = Page.from_payload(data)
    found = list(page.entries)
    for _, child in page.children:
        found += _below(documents, child)
    return found


def parents_of_next(services: Services, name: str, main: bytes | None) -> tuple[bytes, ...]:
    """What the next release of our repo `name` follows: the release that `main` names, and those
    of other writers that lost to it and are known here.
    """
    if main is None:
        return ()
    documents, past = services.store.documents, _past(services.store.documents, main)
    lost = [side for side in services.store.tips.sides(name) if side not in past]
    here = [side for side in lost if documents.get(side) is not None]
    return (main, *here)[: limits.MAX_PARENTS]


def _past(documents: Documents, digest: bytes) -> set[bytes]:
    """This release and those it follows, as far as their manifests are here."""
    seen: set[bytes] = set()
    todo = [digest]
    while todo and len(seen) < HISTORY:
        each = todo.pop(0)
        data = documents.get(each) if each not in seen else None
        seen.add(each)
        if data is not None:
            todo += Release.from_payload(envelope.unpack(data).payload).parents
    return seen


def follows(services: Services, later: bytes, earlier: bytes) -> bool:
    """Whether one release comes after another, as far as the manifests here tell."""
    return later != earlier and earlier in _past(services.store.documents, later)


def _gone(what: str, digest: bytes) -> NotFoundError:
    return NotFoundError(
        f"the {what} {digest.hex()[:16]}… is not on this disk",
        remedy="restore the store from a backup, or pull the repo from a peer",
    )


def _damaged(what: str, digest: bytes) -> WrongBytesError:
    return WrongBytesError(
        f"the {what} {digest.hex()[:16]}… on this disk is damaged",
        remedy="pull one of the repos again from a peer that has it",
    )


__all__ = ["MAIN", "Base", "base_of", "follows", "parents_of_next"]
