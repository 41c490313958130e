"""What the gate waits for: the digests that accepted documents named, and what each must be.

A document is taken only if another one that was taken named its digest: a head names an index, an
index its root page, a page the pages below it or releases. So an unsigned page is as good as the
signature above it, and a correctly signed document that nobody lists counts for nothing.

Rules it keeps:
 * it stays small: at most `PER_PUBLISHER` digests of one publisher and `IN_ALL` together; the
   oldest give way, and offering the document that named them again brings them back;
 * one publisher's documents cannot push out another's until there are `IN_ALL`;
 * what was accepted stays wanted, so the same bytes can be offered again.

>>> wants, lab = Wants(), PublisherId(bytes(32))
>>> wants.add(lab, b"digest of an index", WantedIndex(seq=3))
>>> b"digest of an index" in wants, wants.get(b"digest of an index", WantedIndex)[lab]
(True, WantedIndex(seq=3))
>>> wants.forget(lab)
>>> b"digest of an index" in wants
False
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final, TypeVar

from p2phub.formats.ids import Kind, PublisherId
from p2phub.formats.publisher import Page, ReleaseKey

PER_PUBLISHER: Final = 8192
IN_ALL: Final = 65_536


@dataclass(frozen=True, slots=True)
class WantedIndex:
    """An index that a head named."""

    seq: int


@dataclass(frozen=True, slots=True)
class Listing:
    """The index that a page belongs to, and what its writer may write."""

    seq: int
    writer: ReleaseKey
    index: bytes
    """Its digest."""


@dataclass(frozen=True, slots=True)
class WantedPage:
    """A page that an index named (`parent` is None), or a page above it."""

    listing: Listing
    parent: Page | None = None


@dataclass(frozen=True, slots=True)
class WantedRelease:
    """A release, and as what it was listed. Nothing listed: somebody typed its commit id."""

    listed: frozenset[tuple[str, Kind]] = frozenset()
    since: int | None = None
    """The seq of the first index that listed it."""
    listing: Listing | None = None
    """The index that says so; None: no index lists it."""


Want = WantedIndex | WantedPage | WantedRelease
AWant = TypeVar("AWant", WantedIndex, WantedPage, WantedRelease)


class Wants:
    """The digests that may be offered, by publisher."""

    def __init__(self, per_publisher: int = PER_PUBLISHER, in_all: int = IN_ALL) -> None:
        self._per_publisher, self._in_all = per_publisher, in_all
        self._wants: OrderedDict[PublisherId, OrderedDict[bytes, Want]] = OrderedDict()
        self._publishers: dict[bytes, list[PublisherId]] = {}
        self._count = 0

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._publishers

    def __len__(self) -> int:
        return self._count

    def get(self, digest: bytes, kind: type[AWant]) -> dict[PublisherId, AWant]:
        """Whose documents named `digest` as a document of this kind; the latest first."""
        found = {}
        for publisher in reversed(self._publishers.get(digest, ())):
            want = self._wants[publisher][digest]
            if isinstance(want, kind):
                found[publisher] = want
        return found

    def add(self, publisher: PublisherId, digest: bytes, want: Want) -> None:
        """Want `digest` from now on, as the newest of all."""
        own = self._wants.setdefault(publisher, OrderedDict())
        if digest not in own:
            self._count += 1
        else:
            self._publishers[digest].remove(publisher)
        self._publishers.setdefault(digest, []).append(publisher)
        own[digest] = want
        own.move_to_end(digest)
        self._wants.move_to_end(publisher)
        if len(own) > self._per_publisher:
            self._drop(publisher, next(iter(own)))
        while self._count > self._in_all:
            oldest = next(iter(self._wants))
            self._drop(oldest, next(iter(self._wants[oldest])))

    def forget(self, publisher: PublisherId) -> None:
        """Want nothing of `publisher` any more."""
        for digest in tuple(self._wants.get(publisher, ())):
            self._drop(publisher, digest)

    def _drop(self, publisher: PublisherId, digest: bytes) -> None:
        own = self._wants[publisher]
        del own[digest]
        self._count -= 1
        if not own:
            del self._wants[publisher]
        self._publishers[digest].remove(publisher)
        if not self._publishers[digest]:
            del self._publishers[digest]
