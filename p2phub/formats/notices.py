"""What a publisher takes back, and the proof that it said two things.

A *revocation* is signed by the threshold of a root's keys and takes back a release key, a release
or a file. A *withdrawal* is how a release key takes back its own signature of a release at once,
while the root is offline. A *fork proof* is two documents of one publisher where only one may be;
it needs no signature of its own, because the two have theirs.

Notices travel in envelopes like every document (a fork proof in one without signatures), and are
kept for ever. Whether one counts is `p2phub.trust.notices`'s business.

>>> notice = Revocation(bytes(32), 1, RevokedRelease(b"r" * 32), 1_700_000_000, "wrong licence")
>>> Revocation.from_payload(notice.to_payload()) == notice
True
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Self

from p2phub.formats import limits
from p2phub.formats.codec import Value
from p2phub.formats.documents import Document, Extra, Fields


@dataclass(frozen=True, slots=True)
class RevokedKey:
    """A release key of which only what it signed up to one index is good."""

    key: bytes
    last_seq: int = 0
    """The seq of the last good index; 0: nothing it ever signed is good."""
    last_index: bytes = b""
    """The digest of that index; empty with seq 0."""


@dataclass(frozen=True, slots=True)
class RevokedRelease:
    """A release, by its digest."""

    release: bytes


@dataclass(frozen=True, slots=True)
class RevokedFile:
    """Every release of this publisher that has a file with this SHA-256."""

    sha256: bytes


Revoked = RevokedKey | RevokedRelease | RevokedFile


@dataclass(frozen=True, slots=True)
class Revocation(Document):
    """A root takes back a key, a release or a file."""

    TYPE: ClassVar[str] = "revocation"

    publisher: bytes
    root_v: int
    """The root whose keys sign this."""
    revoked: Revoked
    created: int
    """Unix seconds."""
    reason: str
    requires: tuple[str, ...] = ()
    extra: Extra = field(default_factory=dict, hash=False)

    @classmethod
    def _read(cls, fields: Fields, requires: tuple[str, ...]) -> Self:
        return cls(
            fields.digest("publisher"),
            fields.number("root_v", 1),
            _read_revoked(fields),
            fields.time("created"),
            fields.text("reason", limits.MAX_REASON),
            requires,
            fields.rest(),
        )

    def _write(self) -> Mapping[str, Value]:
        return {
            "publisher": self.publisher,
            "root_v": self.root_v,
            "created": self.created,
            "reason": self.reason,
            **_write_revoked(self.revoked),
        }


def _read_revoked(fields: Fields) -> Revoked:
    named = [name for name in ("key", "release", "file") if fields.has(name)]
    if len(named) != 1:
        raise fields.wrong("a key, a release or a file", f"is missing or not alone: {named}")
    if named == ["release"]:
        return RevokedRelease(fields.digest("release"))
    if named == ["file"]:
        return RevokedFile(fields.digest("file"))
    key = fields.data("key", limits.KEY, limits.KEY)
    seq = fields.number("last_seq", default=0)
    index = fields.digest("last_index", default=b"")
    if (seq == 0) != (index == b""):
        raise fields.wrong("last_index", "must be there with a last_seq, and only then")
    return RevokedKey(key, seq, index)


def _write_revoked(revoked: Revoked) -> Mapping[str, Value]:
    match revoked:
        case RevokedRelease():
            return {"release": revoked.release}
        case RevokedFile():
            return {"file": revoked.sha256}
        case RevokedKey():
            return {
                "key": revoked.key,
                "last_seq": revoked.last_seq or None,
                "last_index": revoked.last_index or None,
            }


@dataclass(frozen=True, slots=True)
class Withdrawal(Document):
    """A release key takes its signature of a release back."""

    TYPE: ClassVar[str] = "withdrawal"

    publisher: bytes
    release: bytes
    created: int
    """Unix seconds."""
    reason: str
    requires: tuple[str, ...] = ()
    extra: Extra = field(default_factory=dict, hash=False)

    @classmethod
    def _read(cls, fields: Fields, requires: tuple[str, ...]) -> Self:
        return cls(
            fields.digest("publisher"),
            fields.digest("release"),
            fields.time("created"),
            fields.text("reason", limits.MAX_REASON),
            requires,
            fields.rest(),
        )

    def _write(self) -> Mapping[str, Value]:
        return {
            "publisher": self.publisher,
            "release": self.release,
            "created": self.created,
            "reason": self.reason,
        }


@dataclass(frozen=True, slots=True)
class ForkProof(Document):
    """Two signed documents of one publisher, where only one may be.

    Two indexes with one writer and writer number, two delegations with one version, or two roots
    that follow the same root in the same way.
    """

    TYPE: ClassVar[str] = "fork"

    publisher: bytes
    first: bytes
    """An envelope as bytes."""
    second: bytes
    """The other one; the greater of the two."""
    requires: tuple[str, ...] = ()
    extra: Extra = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        first, second = sorted((self.first, self.second))
        object.__setattr__(self, "first", first)
        object.__setattr__(self, "second", second)

    @classmethod
    def _read(cls, fields: Fields, requires: tuple[str, ...]) -> Self:
        first = fields.data("first", limits.MAX_FORK)
        second = fields.data("second", limits.MAX_FORK)
        if first >= second:
            raise fields.wrong("second", "must be greater than the first")
        return cls(fields.digest("publisher"), first, second, requires, fields.rest())

    def _write(self) -> Mapping[str, Value]:
        return {"publisher": self.publisher, "first": self.first, "second": self.second}


Notice = Revocation | Withdrawal | ForkProof
NOTICES: Mapping[str, type[Notice]] = {
    kind.TYPE: kind for kind in (Revocation, Withdrawal, ForkProof)
}
"""The notices by their type."""
