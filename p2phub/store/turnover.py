"""A change of who we are, in one transaction: our papers, what was revoked with it, and the head
that tells of them.

Whoever pulls the plug in the middle finds the old identity or the new one, whole. Nothing is judged
here: what comes passed the gate.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from p2phub.formats.ids import PublisherId
from p2phub.store.index import Index

Row = tuple[bytes, str, bytes]
"""Digest, type and packed bytes of a document."""


@dataclass(frozen=True, slots=True)
class NewHead:
    """The head that tells of the change, and what it stands for."""

    digest: bytes
    index: bytes
    """The digest of the index that it names."""
    order: tuple[int, int, int]
    """(root v, delegation version, seq)."""


@dataclass(frozen=True, slots=True)
class Turnover:
    """Everything that changes together."""

    publisher: PublisherId
    roots: Sequence[bytes]
    """The digests of our roots, oldest first."""
    delegation: bytes
    """The digest of our delegation."""
    documents: Sequence[Row]
    """All documents that were not here: roots, delegation, head, index, pages, releases."""
    notices: Sequence[Row] = ()
    head: NewHead | None = None
    """None where nothing was published yet."""
    tips: Sequence[bytes] | None = None
    """The ends of our history from now on (`store.tips`); None if they stay as they are."""


def turn_over(index: Index, change: Turnover, now: int) -> None:
    """Keep all of it, or nothing. `now`: unix seconds."""
    publisher, head = str(change.publisher), change.head
    with index.write() as statements:
        statements.many("documents.put", (*change.documents, *change.notices))
        statements.run("documents.set_own", publisher, change.delegation)
        statements.run("documents.drop_own_roots")
        statements.many("documents.add_own_root", enumerate(change.roots))
        for digest, _, _ in change.notices:
            statements.run("seen.add_notice", digest, publisher, now)
        if head is not None:
            statements.run("documents.set_head", publisher, head.digest, head.index, now)
            statements.run("seen.saw", publisher, *head.order)
        if change.tips is not None:
            statements.run("tips.drop_all")
            statements.many("tips.add", enumerate(change.tips))
