"""Our own index and head: written, signed, passed through the gate, kept.

The order makes a crash harmless. Every document that the new head leads to is on the disk before
the head is; until then the old release is what everybody sees. What a peer's gate would refuse is
refused by a gate that nobody sees, before anything is kept.

Whoever calls `sign_index` holds `Services.signing`: two at once would each leave the other out.
Another node of this publisher may still write at the same time. Of two such indexes everybody takes
the same one for the newest, and the node that wrote the other joins both as soon as it hears of it
(`merge_if_behind`); the one whose index won waits, so that the two do not answer each other for
ever.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

from p2phub.errors import (
    DamagedBlobError,
    NotFoundError,
    P2PHubError,
    RolledBackError,
    UsageError,
    WrongBytesError,
)
from p2phub.formats.ids import PublisherId
from p2phub.formats.manifest import Release
from p2phub.formats.publisher import Delegation, Head, Index, Page, RepoEntry, build_pages
from p2phub.node.author import Author, author_of, own_delegation, require_may_write
from p2phub.node.desk import key_in_force, own_papers
from p2phub.node.numbers import next_number
from p2phub.node.own_history import Base, base_of
from p2phub.node.resolve import bring_index
from p2phub.node.services import Services
from p2phub.trust import envelope
from p2phub.trust.catalog import TrustedCatalog
from p2phub.trust.keys import SigningKey

log = logging.getLogger(__name__)
Result = TypeVar("Result")

FRESH_FOR = 30 * 24 * 3600
"""Seconds until a head that nobody renews makes its publisher's releases stale."""
HEARD_MEANWHILE = 4
"""Heads by other nodes of ours that may be heard while one index is signed."""
JOINED_AT_ONCE = 16
"""Indexes that are signed at most to join all that is known: enough for every end that is kept."""


def sign_index(
    services: Services,
    author: Author,
    base: Base,
    entries: Sequence[RepoEntry] = (),
    releases: Sequence[envelope.Envelope] = (),
    profile: Mapping[str, str] | None = None,
) -> bytes:
    """A new index that follows `base`, with `entries` in the place of those it had, its pages and
    its head, and the releases that are new; all through the gate. Gives the index's digest.

    `profile`: what the publisher says of itself from now on; None: what it said.
    """
    documents, knowledge = services.store.documents, services.knowledge
    listed = {**(base.entries or {}), **{entry.name: entry for entry in entries}}
    root_page, pages = build_pages([listed[name] for name in sorted(listed)])
    index = Index(
        publisher=author.publisher.digest,
        writer=author.key.public,
        writer_seq=next_number(documents, author.key.public, base.parents, services.now()),
        parents=base.parents,
        seq=base.seq,
        created=services.now(),
        profile=base.profile if profile is None else profile,
        pages=root_page,
    )
    signed = envelope.sign(index, [author.key])
    head = sign_head(services, author.publisher, author.key, signed.digest, index.seq)
    below = _below(root_page, pages)
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
    services.store.tips.replace([*base.left, signed.digest], base.sides)
    return signed.digest


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
    papers = own_papers(services.store.documents)
    if papers is None:
        return False
    own, found = papers.publisher, key_in_force(services.keyring, papers.identity, services.now())
    try:
        state = services.knowledge.state(own)
    except WrongBytesError:
        if found is None:
            raise
        return _sign_lost_head(services, own, found[1])
    if state is None or state.fresh_until is None or found is None:
        return False
    if state.fresh_until - services.now() >= left:
        return False
    adopt_identity(services, own)
    head = sign_head(services, own, found[1], state.index, state.seq)
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


# ---------------------------------------------------------------- other writers


async def on_newest(services: Services, own: PublisherId, work: Callable[[], Result]) -> Result:
    """Do `work`, which reads our newest index and signs one after it. It is done again if a newer
    head was heard of meanwhile, whose index had to be fetched first.

    Whoever calls it holds `Services.signing`. Raises what `work` raises, and `NoSourceError` if
    nobody has the newest index.
    """
    for _ in range(HEARD_MEANWHILE):
        before = await services.on_disk(services.knowledge.state, own)
        try:
            return await services.on_disk(work)
        except (NotFoundError, RolledBackError):
            after = await services.on_disk(services.knowledge.state, own)
            lacking = await services.on_disk(services.knowledge.lacking, own)
            if after == before and lacking is None:
                raise
        await bring_index(services, own)
    return await services.on_disk(work)


async def merge_if_behind(services: Services) -> bool:
    """Join the newest index of our own publisher with what this node wrote or heard of, if it lacks
    any of that; whether an index was signed for it.

    To be called whenever a head of our own publisher was learnt. What stands in the way (nobody
    has the documents, this node may not write) is logged, and tried again by housekeeping.
    """
    try:
        return await join_writers(services)
    except P2PHubError as error:
        log.warning("what another node of this publisher wrote is not joined: %s", error.message)
        return False


async def join_writers(services: Services) -> bool:
    """The same. Raises `NoSourceError` if nobody has the newest index, `UntrustedError` if the key
    here may not write.
    """
    own = await services.on_disk(services.store.documents.own_publisher)
    if own is None:
        return False
    async with services.signing:
        await bring_index(services, own)
        joined = await on_newest(services, own, partial(_join, services, own))
    if joined:
        services.announcer.publisher(own, changed=True)
    return joined


def _join(services: Services, own: PublisherId) -> bool:
    """Sign indexes until one includes everything that is known here."""
    adopt_identity(services, own)
    base, signed = base_of(services, own), False
    for _ in range(JOINED_AT_ONCE):
        if not base.joins:
            break
        author = author_of(services)
        require_may_write(own_delegation(services), author.key, services.now())
        sign_index(services, author, base)
        base, signed = base_of(services, own), True
    if not signed and base.parents:
        services.store.tips.replace(base.parents, base.sides)
    return signed


def adopt_identity(services: Services, own: PublisherId) -> None:
    """Take over roots and delegation from our newest head, if another machine of ours changed them:
    a head with older ones would be refused everywhere.
    """
    documents, state = services.store.documents, services.knowledge.state(own)
    here, data = documents.own_documents(), documents.get(state.head) if state else None
    if state is None or here is None or data is None:
        return
    if (len(here[0]), own_delegation(services).version) >= state.order[:2]:
        return
    head = Head.from_payload(envelope.unpack(data).payload)
    delegation = envelope.unpack(head.delegation)
    roots = [envelope.unpack(packed) for packed in head.roots]
    documents.put_many((each.digest, each.type, each.pack()) for each in (*roots, delegation))
    documents.set_own_publisher(own, [root.digest for root in roots], delegation.digest)
