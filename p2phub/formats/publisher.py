"""Who a publisher is and what it has: root, delegation, index and head.

The *root* says which keys speak for a publisher, and commits to the next ones; the digest of the
first root is the publisher's id. The *delegation* names the release keys. The *index* names the
root page of everything the publisher has (`p2phub.formats.pages`). The *head* is the small record
in the DHT that holds the rest together. Keys are raw Ed25519 public keys of 32 bytes. The chain of
roots, signatures and time are `p2phub.trust`'s business.

>>> keys = KeySet((b"k" * 32,))
>>> root = Root(1, b"", keys, keys.digest)
>>> Root.from_payload(root.to_payload()) == root
True
>>> PublisherId(root.digest).short
'sxgiaklm'
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Self

from p2phub.formats import limits
from p2phub.formats.codec import Value, encode
from p2phub.formats.digest import sha256
from p2phub.formats.documents import Document, Extra, Fields, joined
from p2phub.formats.ids import PublisherId
from p2phub.formats.pages import Page, Ref, RepoEntry, build_pages, find_in_page

__all__ = [
    "Delegation",
    "Head",
    "Index",
    "KeySet",
    "Page",
    "PublisherId",
    "Ref",
    "ReleaseKey",
    "RepoEntry",
    "Root",
    "build_pages",
    "find_in_page",
]


@dataclass(frozen=True, slots=True)
class KeySet:
    """Public keys, kept sorted, and how many of them must sign."""

    keys: tuple[bytes, ...]
    threshold: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "keys", tuple(sorted(self.keys)))

    @property
    def digest(self) -> bytes:
        """What the root before commits to."""
        return sha256(encode({"keys": self.keys, "threshold": self.threshold}))

    @classmethod
    def read(cls, fields: Fields) -> Self:
        keys = fields.keys("keys", limits.MAX_ROLE_KEYS)
        return cls(keys, fields.number("threshold", 1, len(keys)))


@dataclass(frozen=True, slots=True)
class Root(Document):
    """Which keys speak for a publisher, which will next, and which can recover it."""

    TYPE: ClassVar[str] = "root"

    v: int
    previous: bytes
    """The digest of root v - 1; empty in the first."""
    keys: KeySet
    next: bytes
    """The digest of the `KeySet` of root v + 1."""
    recovery: KeySet | None = None
    requires: tuple[str, ...] = ()
    extra: Extra = field(default_factory=dict, hash=False)

    @classmethod
    def _read(cls, fields: Fields, requires: tuple[str, ...]) -> Self:
        v = fields.number("v", 1)
        previous = fields.digest("previous", default=b"")
        if (v == 1) != (previous == b""):
            raise fields.wrong("previous", "must be there in every root but the first")
        keys, recovery = KeySet.read(fields), fields.part("recovery")
        made = None if recovery is None else KeySet.read(recovery)
        if recovery is not None and recovery.rest():
            raise fields.wrong("recovery", "has an unknown key")
        return cls(v, previous, keys, fields.digest("next"), made, requires, fields.rest())

    def _write(self) -> Mapping[str, Value]:
        recovery = self.recovery
        return {
            "v": self.v,
            "previous": self.previous or None,
            "keys": self.keys.keys,
            "threshold": self.keys.threshold,
            "next": self.next,
            "recovery": None
            if recovery is None
            else {"keys": recovery.keys, "threshold": recovery.threshold},
        }


@dataclass(frozen=True, slots=True)
class ReleaseKey:
    """A key that may sign releases and indexes, and its limits."""

    key: bytes
    repos: tuple[str, ...] = ()
    """The only repos it may write; empty: all of them."""
    not_after: int = 0
    """Unix seconds; 0: never."""
    extra: Extra = field(default_factory=dict, hash=False)
    numbers_from: int = 1
    """Two indexes of this writer with one number below this prove nothing any more."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "repos", tuple(sorted(self.repos)))

    @classmethod
    def read(cls, fields: Fields) -> Self:
        key = fields.data("key", limits.KEY, limits.KEY)
        repos = fields.names("repos", limits.MAX_KEY_REPOS)
        not_after = fields.time("not_after", default=0)
        numbers_from = fields.number("numbers_from", 1, default=1)
        return cls(key, repos, not_after, fields.rest(), numbers_from)

    def write(self) -> Mapping[str, Value]:
        fields: dict[str, Value] = {
            "key": self.key,
            "repos": self.repos or None,
            "not_after": self.not_after or None,
            "numbers_from": None if self.numbers_from == 1 else self.numbers_from,
        }
        return joined(fields, self.extra)


@dataclass(frozen=True, slots=True)
class Delegation(Document):
    """The release keys of a publisher, kept sorted; signed by its root, replaced as a whole."""

    TYPE: ClassVar[str] = "delegation"

    publisher: bytes
    version: int
    keys: tuple[ReleaseKey, ...]
    threshold: int = 1
    """How many release keys must sign a release before a ref to it counts."""
    revocations_from: int = 1
    """Revocations by the keys of older roots count no more: those keys were stolen."""
    oms_keys: tuple[bytes, ...] = ()
    """Compressed points of P-256, the keys of its OpenSSF model signatures."""
    requires: tuple[str, ...] = ()
    extra: Extra = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "keys", tuple(sorted(self.keys, key=lambda made: made.key)))
        object.__setattr__(self, "oms_keys", tuple(sorted(self.oms_keys)))

    def find(self, key: bytes) -> ReleaseKey | None:
        """The entry of public key `key`."""
        return next((made for made in self.keys if made.key == key), None)

    @classmethod
    def _read(cls, fields: Fields, requires: tuple[str, ...]) -> Self:
        keys = tuple(map(ReleaseKey.read, fields.parts("keys", limits.MAX_RELEASE_KEYS)))
        raw = [made.key for made in keys]
        if not raw or raw != sorted(set(raw)):
            raise fields.wrong("keys", "is empty, not sorted, or has one twice")
        return cls(
            fields.digest("publisher"),
            fields.number("version", 1),
            keys,
            fields.number("threshold", 1, len(keys)),
            fields.number("revocations_from", 1, default=1),
            cls._oms_keys(fields),
            requires,
            fields.rest(),
        )

    @staticmethod
    def _oms_keys(fields: Fields) -> tuple[bytes, ...]:
        keys = fields.optional_keys("oms_keys", limits.MAX_OMS_KEYS, limits.OMS_KEY)
        if any(key[0] not in (2, 3) for key in keys):
            raise fields.wrong("oms_keys", "has what is no compressed point of P-256")
        return keys

    def _write(self) -> Mapping[str, Value]:
        return {
            "publisher": self.publisher,
            "version": self.version,
            "keys": [made.write() for made in self.keys],
            "threshold": self.threshold,
            "revocations_from": None if self.revocations_from == 1 else self.revocations_from,
            "oms_keys": self.oms_keys or None,
        }


@dataclass(frozen=True, slots=True)
class Index(Document):
    """What a publisher has, as one of its writers saw it."""

    TYPE: ClassVar[str] = "index"

    publisher: bytes
    writer: bytes
    """The release key that wrote it."""
    writer_seq: int
    """Grows with every index this writer signs; two indexes with one number are a fork."""
    parents: tuple[bytes, ...]
    """Digests of the indexes this one merges; empty in the first."""
    seq: int
    """1, or one more than the highest among the parents."""
    created: int
    """Unix seconds."""
    profile: Mapping[str, str] = field(hash=False)
    """What the publisher says about itself: claims, not facts."""
    pages: bytes
    """The digest of the root page."""
    requires: tuple[str, ...] = ()
    extra: Extra = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "parents", tuple(sorted(self.parents)))

    @classmethod
    def _read(cls, fields: Fields, requires: tuple[str, ...]) -> Self:
        parents, seq = fields.digests("parents", limits.MAX_PARENTS), fields.number("seq", 1)
        if (seq == 1) != (not parents):
            raise fields.wrong("seq", f"is {seq}, and there are {len(parents)} parents")
        profile = Fields(fields.table("profile", limits.MAX_PROFILE, optional=True), "the profile")
        return cls(
            fields.digest("publisher"),
            fields.data("writer", limits.KEY, limits.KEY),
            fields.number("writer_seq", 1),
            parents,
            seq,
            fields.time("created"),
            profile.all_texts(limits.MAX_PROFILE_NAME, limits.MAX_PROFILE_TEXT),
            fields.digest("pages"),
            requires,
            fields.rest(),
        )

    def _write(self) -> Mapping[str, Value]:
        return {
            "publisher": self.publisher,
            "writer": self.writer,
            "writer_seq": self.writer_seq,
            "parents": self.parents or None,
            "seq": self.seq,
            "created": self.created,
            "profile": self.profile or None,
            "pages": self.pages,
        }


@dataclass(frozen=True, slots=True)
class Head(Document):
    """The DHT record of a publisher: everything needed to judge it alone."""

    TYPE: ClassVar[str] = "head"

    publisher: bytes
    index: bytes
    """The digest of the newest index."""
    root_v: int
    delegation_version: int
    seq: int
    """That index's seq."""
    not_after: int
    """Unix seconds; later than that, the head is stale. 0: never."""
    roots: tuple[bytes, ...]
    """The envelopes of root 1, 2, … as bytes."""
    delegation: bytes
    """The envelope of the delegation as bytes."""
    requires: tuple[str, ...] = ()
    extra: Extra = field(default_factory=dict, hash=False)

    @property
    def order(self) -> tuple[int, int, int]:
        """Of two heads of one publisher, the one with the greater order is the newer."""
        return self.root_v, self.delegation_version, self.seq

    @classmethod
    def _read(cls, fields: Fields, requires: tuple[str, ...]) -> Self:
        most = limits.MAX_HEAD_PAYLOAD
        return cls(
            fields.digest("publisher"),
            fields.digest("index"),
            fields.number("root_v", 1),
            fields.number("delegation_version", 1),
            fields.number("seq", 1),
            fields.time("not_after", default=0),
            fields.data_list("roots", limits.MAX_ROOT_CHAIN, most),
            fields.data("delegation", most),
            requires,
            fields.rest(),
        )

    def _write(self) -> Mapping[str, Value]:
        return {
            "publisher": self.publisher,
            "index": self.index,
            "root_v": self.root_v,
            "delegation_version": self.delegation_version,
            "seq": self.seq,
            "not_after": self.not_after or None,
            "roots": self.roots,
            "delegation": self.delegation,
        }
