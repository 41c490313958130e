"""What peers tell each other of publishers: heads and notices, unasked or asked for.

`tell` hands on documents that were new to whoever says it. `catalog` asks a peer for what is newer
than what the asker knows: it names publishers, each with its newest head and one digest over all
its notices, and gets heads that are newer and all notices of publishers whose digest is another
one. Documents are packed envelopes; what they say is a claim until the gate has taken them.

Rules it keeps:
 * a document is no larger than the largest notice, and there are few of them in one message;
 * publishers are sorted and named once;
 * an answer that is not whole says so, and whoever asks again says how many documents it has had:
   who answers keeps nothing in mind.

What a message is at all, and how it becomes bytes, is in `p2phub.formats.messages`. A message that
travels over gossip is a `TellRequest` of at most `limits.MAX_GOSSIP` bytes.

>>> from p2phub.formats.messages import decode_request, encode_message
>>> question = CatalogRequest((KnownPublisher(bytes(32), (1, 1, 7)),))
>>> decode_request(encode_message(question)) == question
True
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import ClassVar, Self

from p2phub.formats import limits
from p2phub.formats.codec import Value
from p2phub.formats.documents import Extra, Fields
from p2phub.formats.message_kind import Message


@dataclass(frozen=True, slots=True)
class TellRequest(Message):
    """These heads and notices are new to me; perhaps they are to you."""

    OP: ClassVar[str] = "tell"
    documents: tuple[bytes, ...]
    """Packed envelopes: at least one."""
    extra: Extra = field(default_factory=dict)

    @classmethod
    def _read(cls, fields: Fields) -> Self:
        documents = fields.data_list("documents", limits.MAX_TOLD, limits.MAX_TOLD_DOCUMENT)
        return cls(documents, fields.rest())

    def _write(self) -> Mapping[str, Value]:
        return {"documents": self.documents}


@dataclass(frozen=True, slots=True)
class TellReply(Message):
    """I have heard you. Whether any of it was right, or new, is not said."""

    OP: ClassVar[str] = "tell"
    extra: Extra = field(default_factory=dict)

    @classmethod
    def _read(cls, fields: Fields) -> Self:
        return cls(fields.rest())

    def _write(self) -> Mapping[str, Value]:
        return {}


@dataclass(frozen=True, slots=True)
class KnownPublisher:
    """What the asker of a catalog exchange knows of one publisher."""

    publisher: bytes
    """The digest of its id."""
    order: tuple[int, int, int] = (0, 0, 0)
    """(root v, delegation version, seq) of the newest head; zeros: no head is known."""
    head: bytes = b""
    """The digest of that head: one that was signed again has the same numbers and another digest.
    """
    notices: bytes = b""
    """One digest over all its notices; empty: none is known."""

    @classmethod
    def read(cls, fields: Fields) -> Self:
        """From one map of a message. Raises `MalformedError`."""
        found = cls(
            fields.digest("publisher"),
            (
                fields.number("root_v", default=0),
                fields.number("delegation_version", default=0),
                fields.number("seq", default=0),
            ),
            fields.digest("head", default=b""),
            fields.digest("notices", default=b""),
        )
        if fields.rest():
            raise fields.wrong("publisher", "has more beside it than its head and its notices")
        return found

    def written(self) -> dict[str, Value]:
        """As one map of a message."""
        root_v, delegation_version, seq = self.order
        values: dict[str, Value] = {
            "publisher": self.publisher,
            "root_v": root_v,
            "delegation_version": delegation_version,
            "seq": seq,
            "head": self.head,
            "notices": self.notices,
        }
        return {name: value for name, value in values.items() if value}


@dataclass(frozen=True, slots=True)
class CatalogRequest(Message):
    """This I know of these publishers; give me what is newer."""

    OP: ClassVar[str] = "catalog"
    known: tuple[KnownPublisher, ...]
    """Sorted by publisher, none twice; at least one."""
    skip: int = 0
    """So many documents of the answer to these very words have come already."""
    extra: Extra = field(default_factory=dict)

    @classmethod
    def _read(cls, fields: Fields) -> Self:
        parts = fields.parts("known", limits.MAX_CATALOG)
        known = tuple(KnownPublisher.read(part) for part in parts)
        if not known:
            raise fields.wrong("known", "is empty")
        if not all(one.publisher < other.publisher for one, other in pairwise(known)):
            raise fields.wrong("known", "is not sorted by publisher, or has one twice")
        skip = fields.number("skip", high=limits.MAX_CATALOG_SKIP, default=0)
        return cls(known, skip, fields.rest())

    def _write(self) -> Mapping[str, Value]:
        return {"known": [each.written() for each in self.known], "skip": self.skip or None}


@dataclass(frozen=True, slots=True)
class CatalogReply(Message):
    """Heads that are newer, and all notices of publishers of which other ones are known here."""

    OP: ClassVar[str] = "catalog"
    documents: tuple[bytes, ...] = ()
    """Packed envelopes. In a fixed order, so that `skip` means the same to both."""
    more: bool = False
    """Whether there are others that did not fit in."""
    extra: Extra = field(default_factory=dict)

    @classmethod
    def _read(cls, fields: Fields) -> Self:
        documents: tuple[bytes, ...] = ()
        if fields.has("documents"):
            documents = fields.data_list(
                "documents", limits.MAX_CATALOG_DOCUMENTS, limits.MAX_TOLD_DOCUMENT
            )
        return cls(documents, fields.flag("more"), fields.rest())

    def _write(self) -> Mapping[str, Value]:
        return {"documents": self.documents or None, "more": self.more or None}
