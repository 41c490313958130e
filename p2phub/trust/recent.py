"""What was read and checked lately, so that the same bytes are not read and checked again.

A document is offered to the gate whenever it is needed, and every step is taken each time. Two of
them depend on the bytes alone, and cost nearly all of the time: parsing, and checking signatures.
Their outcome is kept here for documents that were accepted, by the digest of the payload, which
binds both.

A release can be 32 MiB, so what is kept is bounded by bytes, not by number; what does not fit is
read again when it comes again.

>>> recent = RecentDocuments(limit=10_000)
>>> release = Release(
...     publisher=bytes(32), name="demo", kind="model", created=0, files=(), total_size=0
... )
>>> recent.keep(b"one", Checked(release), 6_000)
>>> recent.keep(b"two", Checked(release), 6_000)
>>> recent.document(b"one", Release) is None, recent.document(b"two", Release) is release
(True, True)
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final, TypeVar

from p2phub.formats import limits
from p2phub.formats.manifest import Release
from p2phub.formats.publisher import Index, Page
from p2phub.trust.envelope import Envelope, Signature

KEPT: Final = 8 * limits.MIB
"""Bytes of payload of all documents kept."""
LEAST: Final = 2 * limits.KIB
"""What the smallest document counts for: an object has its own size."""

Document = TypeVar("Document", Index, Page, Release)


@dataclass(frozen=True, slots=True)
class Checked:
    """What a payload says, and which signatures under it verify."""

    document: Index | Page | Release
    signatures: tuple[Signature, ...] = ()
    signers: frozenset[bytes] = frozenset()


class RecentDocuments:
    """The documents used last, whose payloads together have at most `limit` bytes."""

    def __init__(self, limit: int = KEPT) -> None:
        self._limit = limit
        self._used = 0
        self._kept: OrderedDict[bytes, tuple[Checked, int]] = OrderedDict()

    def document(self, digest: bytes, kind: type[Document]) -> Document | None:
        """The document with this digest; None if it was not accepted lately."""
        checked = self._checked(digest)
        return checked.document if checked and isinstance(checked.document, kind) else None

    def signers(self, digest: bytes, envelope: Envelope) -> frozenset[bytes] | None:
        """Who signed `envelope`, whose payload has this digest; None if that was not checked
        lately, or with other signatures.
        """
        checked = self._checked(digest)
        return checked.signers if checked and checked.signatures == envelope.signatures else None

    def keep(self, digest: bytes, checked: Checked, size: int) -> None:
        """Keep a document whose payload has `size` bytes; the oldest make room."""
        size = max(size, LEAST)
        _, before = self._kept.pop(digest, (checked, 0))
        self._kept[digest] = (checked, size)
        self._used += size - before
        while self._used > self._limit:
            _, (_, dropped) = self._kept.popitem(last=False)
            self._used -= dropped

    def _checked(self, digest: bytes) -> Checked | None:
        found = self._kept.get(digest)
        if found is None:
            return None
        self._kept.move_to_end(digest)
        return found[0]
