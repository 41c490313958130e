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
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from p2phub.errors import MalformedError, NotFoundError, P2PHubError, WrongBytesError
from p2phub.formats import limits
from p2phub.formats.digest import sha256
from p2phub.formats.ids import PublisherId
from p2phub.formats.manifest import Release
from p2phub.formats.notices import Revocation, RevokedKey
from p2phub.formats.publisher import Index, Page, RepoEntry
from p2phub.node.services import Services
from p2phub.store.documents import Documents
from p2phub.trust import envelope
from p2phub.trust.catalog import PublisherState
from p2phub.trust.merging import MAIN, holds, merge, merged_profile, outrun
from p2phub.trust.notices import Notices, standing_of

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
    """The releases (repo, digest) that `main` named at one of these ends, and does not any more."""
    left: tuple[bytes, ...] = ()
    """The ends of the history that one index cannot follow as well."""
    profile: Mapping[str, str] = field(default_factory=dict)
    """What the publisher says of itself."""

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
    included: list[Ending] = []
    left: list[bytes] = []
    entries: tuple[RepoEntry, ...] = ()
    profile: Mapping[str, str] = {}
    for ending in endings:
        is_held = bool(followed) and holds(entries, ending.entries)
        if is_held and not _says_more(ending, profile, followed):
            included.append(ending)
            continue
        if len(followed) == limits.MAX_PARENTS:
            left.append(ending.digest)
            continue
        followed.append(ending)
        entries = merge([entries, ending.entries])
        profile = merged_profile(profile, ending.index.profile)
    return Base(
        tuple(each.digest for each in followed),
        max((each.index.seq for each in followed), default=0) + 1,
        {entry.name: entry for entry in entries},
        tuple(side for each in (*followed, *included) for side in outrun(entries, each.entries)),
        tuple(left),
        profile,
    )


def _says_more(ending: Ending, profile: Mapping[str, str], followed: Sequence[Ending]) -> bool:
    """Whether this end says something of the publisher that those which are followed do not. An
    older one may just not know what was taken out of the profile since.
    """
    is_as_new = ending.index.seq >= followed[0].index.seq
    return is_as_new and not ending.index.profile.keys() <= profile.keys()


def _endings(
    services: Services, publisher: PublisherId, state: PublisherState | None
) -> Iterable[Ending]:
    """The newest index, then every other end of our history, the newest first."""
    documents = services.store.documents
    if state is None:
        return
    notices, newest = _revocations(services, publisher), _read(documents, state.index, publisher)
    others: dict[bytes, Ending] = {}
    for digest in services.store.tips.all():
        found = _try_read(documents, digest, publisher)
        if found is not None and state.identity.release_key(found.index.writer) is not None:
            others[digest] = found
    good = [
        each
        for ending in (newest, *others.values())
        for each in _good(services, ending, notices, state)
    ]
    distinct = {each.digest: each for each in good}
    first = distinct.pop(newest.digest, None)
    if first is not None:
        yield first
    ordered = sorted(distinct.values(), key=lambda each: (each.index.seq, each.digest))
    yield from reversed(ordered)


def _good(
    services: Services, ending: Ending, notices: Notices, state: PublisherState
) -> Iterable[Ending]:
    """This index, or in the place of one by a key that was stolen, what it goes back to."""
    documents, identity, publisher = services.store.documents, state.identity, state.publisher
    todo, seen = [ending], {ending.digest}
    while todo and len(seen) < HISTORY:
        each = todo.pop(0)
        writer = each.index.writer
        standing = standing_of(notices, identity, writer, None, each.digest)
        if standing is None or standing.good:
            yield each
            continue
        notice = notices.revoked_key(identity, writer)
        last = (
            notice.revoked.last_index
            if notice is not None and isinstance(notice.revoked, RevokedKey)
            else b""
        )
        for digest in (*each.index.parents, last):
            found = _try_read(documents, digest, publisher) if digest not in seen else None
            seen.add(digest)
            if found is not None:
                todo.append(found)


def _revocations(services: Services, publisher: PublisherId) -> Notices:
    found = Notices()
    for data in services.knowledge.notices(publisher):
        signed = envelope.unpack(data)
        if signed.type == Revocation.TYPE:
            notice = Revocation.from_payload(signed.payload)
            found.revoke(signed.digest, notice, signed.signed_by())
    return found


def _try_read(documents: Documents, digest: bytes, publisher: PublisherId) -> Ending | None:
    """An older index, if it is here as it should be."""
    try:
        return _read(documents, digest, publisher) if digest else None
    except P2PHubError as error:
        log.warning("an older index of ours is left out of the next: %s", error.message)
        return None


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


def parents_of_next(services: Services, base: Base, name: str) -> tuple[bytes, ...]:
    """What the next release of our repo `name` follows: the release that `main` names, and those
    of other writers that lost to it and are known here.
    """
    entry = base.entry(name)
    if entry is None or MAIN not in entry.refs:
        return ()
    main, documents, tips = entry.refs[MAIN].release, services.store.documents, services.store.tips
    past, known = _past(documents, main), tips.sides(name)
    tips.drop_sides(name, [side for side in known if side in past])
    sides = dict.fromkeys((*known, *(side for repo, side in base.sides if repo == name)))
    here = [side for side in sides if side not in past and documents.get(side) is not None]
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
