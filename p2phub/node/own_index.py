"""Our own index and head: written, signed, passed through the gate, kept.

The order makes a crash harmless. Every document that the new head leads to is on the disk before
the head is; until then the old release is what everybody sees. What a peer's gate would refuse is
refused by a gate that nobody sees, before anything is kept.

Whoever calls `sign_index` holds `Services.signing`: two at once would each leave the other out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from p2phub.errors import DamagedBlobError, UsageError, WrongBytesError
from p2phub.formats.ids import PublisherId
from p2phub.formats.manifest import Release
from p2phub.formats.publisher import Delegation, Head, Index, Page, RepoEntry, build_pages
from p2phub.node.services import Services
from p2phub.trust import envelope
from p2phub.trust.catalog import PublisherState, TrustedCatalog
from p2phub.trust.keys import SigningKey

FRESH_FOR = 30 * 24 * 3600
"""Seconds until a head that nobody renews makes its publisher's releases stale."""
RELEASE_KEY = "release"
"""The key in the keyring that signs unless another is named."""


@dataclass(frozen=True, slots=True)
class Author:
    """Who publishes, and with which key."""

    publisher: PublisherId
    key: SigningKey


def sign_index(
    services: Services,
    author: Author,
    state: PublisherState | None,
    entry: RepoEntry,
    release: envelope.Envelope | None,
) -> None:
    """A new index with `entry` in it, its pages and its head, and the release that is new; all
    through the gate.
    """
    documents, knowledge = services.store.documents, services.knowledge
    entries = {found.name: found for found in knowledge.entries(author.publisher)}
    entries[entry.name] = entry
    _count_on(services, state)
    root_page, pages = build_pages([entries[name] for name in sorted(entries)])
    index = Index(
        publisher=author.publisher.digest,
        writer=author.key.public,
        writer_seq=documents.next_writer_seq(author.key.public),
        parents=(state.index,) if state else (),
        seq=(state.seq if state else 0) + 1,
        created=services.now(),
        profile={},
        pages=root_page,
    )
    signed = envelope.sign(index, [author.key])
    head = sign_head(services, author.publisher, author.key, signed.digest, index.seq)
    below = _below(root_page, pages)
    releases = [release] if release is not None else []
    _rehearse([head, signed], below, releases, services.now())
    for each in releases:
        services.store.repos.record_release(each.digest, Release.from_payload(each.payload))
    documents.put_many(
        [
            (signed.digest, Index.TYPE, signed.pack()),
            *((digest, Page.TYPE, payload) for digest, payload in below),
            *((each.digest, Release.TYPE, each.pack()) for each in releases),
        ]
    )
    knowledge.learn_head(author.publisher, head.pack())
    knowledge.learn(signed.pack(), signed.digest, Index)
    for digest, payload in below:
        knowledge.learn(payload, digest, Page)
    for each in releases:
        knowledge.learn(each.pack(), each.digest, Release)


def _count_on(services: Services, state: PublisherState | None) -> None:
    """Never give a number again that the newest index has: our store may be a restored one."""
    newest = services.knowledge.document(state.index, Index) if state is not None else None
    if newest is not None and isinstance(newest.document, Index):
        index = newest.document
        services.store.documents.saw_writer_seq(index.writer, index.writer_seq)


def _below(root_page: bytes, pages: dict[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    """Every page, parents before children: a page is wanted once its parent was accepted."""
    ordered, todo = [], [root_page]
    while todo:
        digest = todo.pop()
        ordered.append((digest, pages[digest]))
        todo += (child for _, child in Page.from_payload(pages[digest]).children)
    return ordered


def _rehearse(
    signed: Sequence[envelope.Envelope],
    pages: Sequence[tuple[bytes, bytes]],
    releases: Sequence[envelope.Envelope],
    now: int,
) -> None:
    """Offer everything to a gate that nobody sees: what a peer would refuse must not become our
    head.
    """
    gate = TrustedCatalog()
    for data in [
        *(each.pack() for each in signed),
        *(payload for _, payload in pages),
        *(each.pack() for each in releases),
    ]:
        gate.offer(data, now)


def sign_head(
    services: Services, publisher: PublisherId, key: SigningKey, index: bytes, seq: int
) -> envelope.Envelope:
    """A head for `index`, fresh for `FRESH_FOR` seconds. Raises `MalformedError` if it is too
    large.
    """
    documents = services.store.documents
    own = documents.own_documents()
    if own is None:
        raise UsageError("this machine has no publisher identity", remedy="run `p2phub init`")
    kept = documents.many([*own[0], own[1]])
    if len(kept) < len(own[0]) + 1:
        raise DamagedBlobError(
            "this publisher's own root or delegation is gone from the store",
            remedy="restore the store; the keys alone do not bring it back yet",
        )
    delegation = Delegation.from_payload(envelope.unpack(kept[own[1]]).payload)
    head = Head(
        publisher=publisher.digest,
        index=index,
        root_v=len(own[0]),
        delegation_version=delegation.version,
        seq=seq,
        not_after=services.now() + FRESH_FOR,
        roots=tuple(kept[digest] for digest in own[0]),
        delegation=kept[own[1]],
    )
    return envelope.sign(head, [key])


def renew_head(services: Services, left: int) -> bool:
    """Sign our own head again if it is fresh for fewer than `left` seconds, or rotted on this disk;
    whether it was.
    """
    own = services.store.documents.own_publisher()
    seed = services.keyring.load(RELEASE_KEY)
    if own is None:
        return False
    try:
        state = services.knowledge.state(own)
    except WrongBytesError:
        if seed is None:
            raise
        return _sign_lost_head(services, own, SigningKey(seed))
    if state is None or state.fresh_until is None or seed is None:
        return False
    if state.fresh_until - services.now() >= left:
        return False
    head = sign_head(services, own, SigningKey(seed), state.index, state.seq)
    services.knowledge.learn_head(own, head.pack())
    return True


def _sign_lost_head(services: Services, own: PublisherId, key: SigningKey) -> bool:
    """A new head for the index that the damaged one named. Raises `WrongBytesError` if that one
    is damaged too.
    """
    documents = services.store.documents
    digest = documents.newest_index(own)
    data = documents.get(digest) if digest is not None else None
    if digest is None or data is None or envelope.unpack(data).digest != digest:
        raise WrongBytesError(
            f"the head and the index of {own} on this disk are damaged",
            remedy="pull one of its repos from a peer that has it",
        )
    index = Index.from_payload(envelope.unpack(data).payload)
    services.knowledge.learn_head(own, sign_head(services, own, key, digest, index.seq).pack())
    return True
