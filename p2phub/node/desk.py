"""Where our own identity is worked at: a store, the keys beside it, and a clock.

A running node is such a desk (`Services`); `open_desk` makes one of a store that no node runs on.
Here is also asked what everything starts from: our papers as they are now, and which of the keys
here signs for them.

Rules it keeps:
 * our papers are the newest that this disk knows: another machine of our publisher may have
   changed them, and its head came here;
 * the key that signs is one that those papers name: one that was revoked is passed over, however
   it is called.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from p2phub.config import Config
from p2phub.errors import DamagedBlobError, NotFoundError, UntrustedError, UsageError
from p2phub.formats.ids import PublisherId
from p2phub.formats.notices import Revocation, Withdrawal
from p2phub.node.knowledge import Knowledge
from p2phub.node.offline import knowledge_of, layout_of
from p2phub.store.documents import Documents
from p2phub.store.keyring import Keyring
from p2phub.store.store import Store
from p2phub.trust.envelope import unpack
from p2phub.trust.identity import Comparison, Identity, compare
from p2phub.trust.keys import SigningKey
from p2phub.trust.notices import Notices
from p2phub.trust.papers import Papers
from p2phub.trust.records import HeadRecord, read_head
from p2phub.trust.refusals import Trail

RELEASE_KEY = "release"
"""The key that signs what this machine publishes; those that replaced it have a number behind."""


class Desk(Protocol):
    """A store, what is believed of it, and the keys. `now()` gives unix seconds."""

    @property
    def store(self) -> Store: ...

    @property
    def knowledge(self) -> Knowledge: ...

    @property
    def keyring(self) -> Keyring: ...

    @property
    def now(self) -> Callable[[], int]: ...


@dataclass(frozen=True, slots=True)
class LocalDesk:
    """A desk without a node."""

    store: Store
    knowledge: Knowledge
    keyring: Keyring
    now: Callable[[], int]


@contextmanager
def open_desk(config: Config, home: Path, *, read_only: bool = False) -> Iterator[LocalDesk]:
    """Work at the store of `home`. Raises `StoreLockedError` while a node runs, unless reading."""
    layout = layout_of(config, home)
    store = Store.open(layout, read_only=read_only)
    try:
        yield LocalDesk(
            store, knowledge_of(store, config), Keyring(layout), lambda: int(time.time())
        )
    finally:
        store.close()


def own_papers(documents: Documents) -> Papers | None:
    """Who we are, by the newest papers on this disk; None before there is a publisher.

    Raises `DamagedBlobError` if our papers are gone or rotten, and no head brought others.
    """
    own = documents.own_publisher()
    if own is None:
        return None
    heard = heard_papers(documents, own)
    try:
        kept = _kept_papers(documents)
    except UntrustedError:
        if heard is None:
            raise
        return heard
    return heard if heard is not None and is_newer(kept.identity, heard.identity) else kept


def require_own_papers(documents: Documents) -> Papers:
    """The same. Raises `UsageError` where there is no publisher."""
    papers = own_papers(documents)
    if papers is None:
        raise UsageError(
            "this machine has no publisher identity yet", remedy="run `p2phub init` first"
        )
    return papers


def heard_papers(documents: Documents, publisher: PublisherId) -> Papers | None:
    """The papers in the newest head of a publisher that is on this disk; None without one that
    still holds.
    """
    record = heard_head(documents, publisher)
    return None if record is None else Papers.of_head(record)


def heard_head(documents: Documents, publisher: PublisherId) -> HeadRecord | None:
    """The newest head of a publisher on this disk, if it still holds."""
    digest = documents.head(publisher)
    data = documents.get(digest) if digest is not None else None
    if data is None:
        return None
    try:
        record = read_head(data, Trail(f"the head of {publisher.short}"))
    except UntrustedError:
        return None
    return record if record.publisher == publisher else None


def is_newer(known: Identity, other: Identity) -> bool:
    """Whether `other` is what became of `known`, two identities of one publisher."""
    match compare(known.chain, other.chain):
        case Comparison.EXTENDED | Comparison.OVERRULES:
            return True
        case Comparison.SAME:
            return other.delegation.version > known.delegation.version
    return False


def _kept_papers(documents: Documents) -> Papers:
    own = documents.own_documents()
    kept = documents.many([*own[0], own[1]]) if own is not None else {}
    if own is None or len(kept) < len(own[0]) + 1:
        raise DamagedBlobError(
            "this publisher's own root or delegation is gone from the store",
            remedy="restore the store from a backup, or run `p2phub key adopt` with a file that"
            " `p2phub key export` wrote",
        )
    return Papers.of([unpack(kept[root]) for root in own[0]], unpack(kept[own[1]]))


def notices_of(packed: Iterable[bytes]) -> Notices:
    """What a publisher took back, of the notices that passed our gate."""
    found = Notices()
    for data in packed:
        envelope = unpack(data)
        if envelope.type == Revocation.TYPE:
            revocation = Revocation.from_payload(envelope.payload)
            found.revoke(envelope.digest, revocation, envelope.signed_by())
        elif envelope.type == Withdrawal.TYPE:
            withdrawal = Withdrawal.from_payload(envelope.payload)
            for key in envelope.signed_by():
                found.withdraw(withdrawal.release, key, withdrawal.reason)
    return found


def release_keys(keyring: Keyring) -> tuple[tuple[str, SigningKey], ...]:
    """The keys here that may be release keys: by name, and the first one is the oldest."""
    found = []
    for name in sorted(keyring.names(), key=lambda name: (len(name), name)):
        if name.split("-")[0] == RELEASE_KEY and not keyring.is_locked(name):
            seed = keyring.load(name)
            assert seed is not None, "it was just listed"
            found.append((name, SigningKey(seed)))
    return tuple(found)


def key_in_force(keyring: Keyring, identity: Identity, now: int) -> tuple[str, SigningKey] | None:
    """The key here that signs for `identity`: the newest that is named and has not expired."""
    for name, key in reversed(release_keys(keyring)):
        known = identity.release_key(key.public)
        if known is not None and not 0 < known.not_after < now:
            return name, key
    return None


def require_key_in_force(keyring: Keyring, identity: Identity, now: int) -> SigningKey:
    """The same. Raises `NotFoundError` with what to do."""
    found = key_in_force(keyring, identity, now)
    if found is None:
        raise NotFoundError(
            f"no release key of {identity.publisher.short} is on this machine",
            remedy="`p2phub key new release-2` makes one; whoever holds the root lets it in with"
            " `p2phub key allow`",
        )
    return found[1]


def free_key_name(keyring: Keyring) -> str:
    """A name for another release key."""
    taken = frozenset(keyring.names())
    if RELEASE_KEY not in taken:
        return RELEASE_KEY
    number = 2
    while f"{RELEASE_KEY}-{number}" in taken:
        number += 1
    return f"{RELEASE_KEY}-{number}"
