"""What a site says of itself across an air gap: an inventory, and receipts for what came.

A **site** is a node, named by its own Ed25519 key, the one in its libp2p peer id. Its *inventory*
says which releases it has, as the first `PREFIX` bytes of their digests, and which repos it wants:
a few KB, small enough for a sheet of paper. A *receipt* names the releases that came, by their
whole digests, and who had put them on the medium. Each is signed by the key it names;
`p2phub.trust.sites` checks that.

Rules they keep:
 * `number` grows with each one that a site signs, so that an old one counts for nothing beside a
   newer;
 * a site that claims to have what it lacks does not get it, and harms nobody else; prefixes that
   meet by chance (1 in 2^64) are cured by naming the release.

>>> mine = Inventory(b"k" * 32, 1, 1_700_000_000, has=prefixes([b"a" * 32]))
>>> Inventory.from_payload(mine.to_payload()) == mine
True
>>> mine.holds(b"a" * 32), mine.holds(b"b" * 32)
(True, False)
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Final, Self

from p2phub.formats import limits
from p2phub.formats.codec import Value
from p2phub.formats.documents import Document, Extra, Fields, joined

PREFIX: Final = 8
"""Bytes of a release's digest in an inventory."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A repo that a site wants."""

    publisher: bytes
    name: str
    extra: Extra = field(default_factory=dict, hash=False)

    @classmethod
    def read(cls, fields: Fields) -> Self:
        return cls(fields.digest("publisher"), fields.name(), fields.rest())

    @property
    def order(self) -> tuple[bytes, str]:
        """What a list of them is sorted by."""
        return self.publisher, self.name


@dataclass(frozen=True, slots=True)
class Inventory(Document):
    """What a site has and wants."""

    TYPE: ClassVar[str] = "inventory"

    site: bytes
    """The public key of the node, 32 bytes."""
    number: int
    """Grows with each document that the site signs."""
    made: int
    """When, in unix seconds by the clock of the site."""
    has: bytes = b""
    """Prefixes of the digests of releases, sorted, `PREFIX` bytes each."""
    name: str = ""
    """What the site calls itself: a claim."""
    wants: tuple[Wanted, ...] | None = None
    """The repos it wants; None: whatever there is."""
    recipient: bytes = b""
    """The X25519 key that can open what is sealed for it, 32 bytes; empty: it tells none."""
    requires: tuple[str, ...] = ()
    extra: Extra = field(default_factory=dict, hash=False)

    def holds(self, release: bytes) -> bool:
        """Whether the site says that it has the release of this digest."""
        at = bisect_left(range(self.count), release[:PREFIX], key=self._prefix)
        return at < self.count and self._prefix(at) == release[:PREFIX]

    def asks_for(self, publisher: bytes, name: str) -> bool:
        """Whether the site wants this repo."""
        return self.wants is None or (publisher, name) in {each.order for each in self.wants}

    @property
    def count(self) -> int:
        """How many releases it has."""
        return len(self.has) // PREFIX

    def _prefix(self, at: int) -> bytes:
        return self.has[at * PREFIX : (at + 1) * PREFIX]

    @classmethod
    def _read(cls, fields: Fields, requires: tuple[str, ...]) -> Self:
        has = fields.data("has", limits.MAX_INVENTORY_RELEASES * PREFIX, default=b"")
        found = [has[at : at + PREFIX] for at in range(0, len(has), PREFIX)]
        if len(has) % PREFIX or found != sorted(set(found)):
            raise fields.wrong("has", "is not a sorted set of prefixes")
        return cls(
            fields.data("site", limits.KEY, limits.KEY),
            fields.number("number", 1),
            fields.time("made"),
            has,
            fields.text("name", limits.MAX_PROFILE_NAME, default=""),
            _read_wants(fields),
            fields.data("recipient", limits.KEY, limits.KEY, default=b""),
            requires,
            fields.rest(),
        )

    def _write(self) -> Mapping[str, Value]:
        wants = None if self.wants is None else [_written(each) for each in self.wants]
        return {
            "site": self.site,
            "number": self.number,
            "made": self.made,
            "has": self.has or None,
            "name": self.name or None,
            "wants": wants,
            "recipient": self.recipient or None,
        }


@dataclass(frozen=True, slots=True)
class Receipt(Document):
    """A site has these releases, verified, from what another put on a medium."""

    TYPE: ClassVar[str] = "receipt"

    site: bytes
    """Who got them: the public key of the node, 32 bytes."""
    sender: bytes
    """Who had put them on the medium, as the medium says: the same of another node."""
    number: int
    """Grows with each document that the site signs."""
    made: int
    """When they were whole and verified, in unix seconds by the clock of the site."""
    releases: tuple[bytes, ...]
    """Their digests, sorted."""
    size: int
    """Bytes of their files."""
    requires: tuple[str, ...] = ()
    extra: Extra = field(default_factory=dict, hash=False)

    @classmethod
    def _read(cls, fields: Fields, requires: tuple[str, ...]) -> Self:
        return cls(
            fields.data("site", limits.KEY, limits.KEY),
            fields.data("sender", limits.KEY, limits.KEY),
            fields.number("number", 1),
            fields.time("made"),
            fields.keys("releases", limits.MAX_RECEIPT_RELEASES),
            fields.number("size"),
            requires,
            fields.rest(),
        )

    def _write(self) -> Mapping[str, Value]:
        return {
            "site": self.site,
            "sender": self.sender,
            "number": self.number,
            "made": self.made,
            "releases": self.releases,
            "size": self.size,
        }


def prefixes(releases: Iterable[bytes]) -> bytes:
    """What an inventory says of these releases.

    >>> prefixes([b"b" * 32, b"a" * 32, b"a" * 32])
    b'aaaaaaaabbbbbbbb'
    """
    return b"".join(sorted({digest[:PREFIX] for digest in releases}))


def _read_wants(fields: Fields) -> tuple[Wanted, ...] | None:
    if not fields.has("wants"):
        return None
    found = tuple(map(Wanted.read, fields.parts("wants", limits.MAX_INVENTORY_WANTS)))
    orders = [each.order for each in found]
    if orders != sorted(set(orders)):
        raise fields.wrong("wants", "is not sorted, or has a repo twice")
    return found


def _written(wanted: Wanted) -> Value:
    return joined({"publisher": wanted.publisher, "name": wanted.name}, wanted.extra)
