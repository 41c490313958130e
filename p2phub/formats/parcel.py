"""Documents that travel by hand, in a file, between machines that may never meet.

A parcel is one canonical map `{documents, type}`; each document is a packed envelope, as peers send
it. It says nothing by itself: whoever reads one offers its documents to the gate. The envelopes in
it may have too few signatures yet: that is how a root that others must sign, or a release of an
organisation, goes from hand to hand.

Rules it keeps:
 * 1 to `MAX_PARCEL_DOCUMENTS` documents, none twice, in the order they were put in;
 * the file has at most `MAX_PARCEL` bytes, and that is asked before it is decoded;
 * a key that this version does not know is refused: a newer p2phub wrote it.

Merging the signatures of two parcels is left to `p2phub.trust.parcels`, reading files to the node.

>>> Parcel.from_bytes(Parcel((b"one", b"two")).to_bytes()).documents
(b'one', b'two')
>>> Parcel.from_bytes(b"junk")
Traceback (most recent call last):
...
p2phub.errors.MalformedError: this is no parcel of documents: not msgpack: unpack(b) received \
extra data.
"""

from dataclasses import dataclass
from typing import Final, Self

from p2phub.errors import MalformedError, NewerVersionError
from p2phub.formats import limits
from p2phub.formats.codec import decode, encode
from p2phub.formats.documents import Fields

SUFFIX: Final = ".p2phub"
"""How the names of parcel files end."""
TYPE: Final = "parcel"
MOST_IN_A_DOCUMENT: Final = limits.MAX_RELEASE + limits.MAX_ENVELOPE_OVERHEAD
"""Bytes of the largest document."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """Packed envelopes that travel together."""

    documents: tuple[bytes, ...]

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The parcel that `data` spells. Raises `MalformedError` or `NewerVersionError`."""
        if len(data) > limits.MAX_PARCEL:
            raise MalformedError(
                f"this parcel has {len(data)} bytes; at most {limits.MAX_PARCEL} are allowed"
            )
        fields = _fields(data)
        count = limits.MAX_PARCEL_DOCUMENTS
        documents = fields.data_list("documents", count, MOST_IN_A_DOCUMENT)
        if fields.rest():
            raise NewerVersionError(
                f"a newer p2phub wrote this parcel (it has: {', '.join(sorted(fields.rest()))})",
                remedy="Update p2phub, then try again.",
            )
        if len(set(documents)) < len(documents):
            raise fields.wrong("documents", "has one twice")
        return cls(documents)

    def to_bytes(self) -> bytes:
        """The file. Raises `MalformedError` if nobody would read it."""
        data = encode({"documents": self.documents, "type": TYPE})
        self.from_bytes(data)
        return data


def _fields(data: bytes) -> Fields:
    try:
        fields = Fields(decode(data, limit=limits.MAX_PARCEL), "this parcel")
        found = fields.text("type", limits.MAX_WORD)
    except MalformedError as error:
        raise MalformedError(f"this is no parcel of documents: {error.message}") from error
    if found != TYPE:
        raise MalformedError(f"this is no parcel of documents but a {found!r}")
    return fields
