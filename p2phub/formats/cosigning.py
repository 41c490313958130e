"""What nodes of one publisher say to each other about releases that wait for signatures.

One kind of message, both ways: who I am (a release key that signs for this very conversation),
which proposals I have and who has signed them, and releases of which the other lacks something.
`lacks` names those of the other's that I want. A membership is no document: it is good for two
peers and a few minutes, and proves nothing to anybody else.

Rules it keeps: every list has a limit, and a message fits into one of the control plane; a release
that is too large for that travels by hand.

>>> said = Cosigning(Membership(b"k" * 32, 7, b"s" * 64), (Open(b"r" * 32, (b"k" * 32,)),))
>>> Cosigning.from_bytes(said.to_bytes()) == said
True
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Self

from p2phub.errors import GarbageError, MalformedError
from p2phub.formats import limits
from p2phub.formats.codec import Value, decode, encode
from p2phub.formats.documents import Fields

MAX_OPEN: Final = 64
"""Proposals in one message."""
MAX_PACKED: Final = limits.MAX_MESSAGE - 64 * limits.KIB
"""Bytes of releases in one message; the rest is for digests and keys."""
FRESH: Final = 600
"""Seconds by which the clock of a member may differ."""


@dataclass(frozen=True, slots=True)
class Membership:
    """Whose release key the speaker has; `signature` is over `statement`."""

    key: bytes
    at: int
    """Unix seconds."""
    signature: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Open:
    """A proposal, and the public keys that have signed it, sorted."""

    release: bytes
    keys: tuple[bytes, ...] = ()

    @classmethod
    def read(cls, fields: Fields) -> Self:
        keys = fields.optional_keys("keys", limits.MAX_SIGNATURES, limits.KEY)
        return cls(fields.digest("release"), keys)

    def write(self) -> Mapping[str, Value]:
        return {"release": self.release} | ({"keys": self.keys} if self.keys else {})


@dataclass(frozen=True, slots=True)
class Cosigning:
    """One message."""

    member: Membership
    open: tuple[Open, ...] = ()
    releases: tuple[bytes, ...] = ()
    """Packed envelopes."""
    lacks: tuple[bytes, ...] = ()
    """Digests of releases of which the speaker lacks signatures, or everything."""

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read a message. Raises `GarbageError`."""
        try:
            return cls._read(Fields(decode(data, limit=limits.MAX_MESSAGE), "this message"))
        except MalformedError as error:
            raise GarbageError(f"a peer sent no message about proposals: {error.message}") from None

    @classmethod
    def _read(cls, fields: Fields) -> Self:
        member = Membership(
            fields.data("key", limits.KEY, limits.KEY),
            fields.time("at"),
            fields.data("signature", limits.SIGNATURE, limits.SIGNATURE),
        )
        opened = tuple(map(Open.read, fields.parts("open", MAX_OPEN, optional=True)))
        releases: tuple[bytes, ...] = ()
        if fields.has("releases"):
            releases = fields.data_list("releases", MAX_OPEN, MAX_PACKED)
        return cls(member, opened, releases, fields.digests("lacks", MAX_OPEN))

    def to_bytes(self) -> bytes:
        """The one spelling of it. Raises `MalformedError` if it is too long to send."""
        fields: dict[str, Value] = {
            "key": self.member.key,
            "at": self.member.at,
            "signature": self.member.signature,
        }
        if self.open:
            fields["open"] = [each.write() for each in self.open]
        if self.releases:
            fields["releases"] = self.releases
        if self.lacks:
            fields["lacks"] = tuple(sorted(self.lacks))
        data = encode(fields)
        if len(data) > limits.MAX_MESSAGE:
            raise MalformedError(f"a message of {len(data)} bytes about proposals")
        return data


def statement(publisher: bytes, speaker: str, listener: str, at: int) -> bytes:
    """What a member signs to be known by one peer. Peer ids are text."""
    said: dict[str, Value] = {
        "publisher": publisher,
        "speaker": speaker,
        "listener": listener,
        "at": at,
    }
    return b"p2phub member\n" + encode(said)
