"""The pages of an index: every repo of a publisher, sorted by name, in a tree that is fetched page
by page.

A page of level 0 holds repos; a page of level n holds the first name and the digest of each page
below it. Pages are not signed: the index names the root page by digest, and every page names its
children so. Which repos share a page depends on the names alone (a name whose digest starts with
few enough zeros ends its page), so that a new repo changes the pages on one path through the tree
and no others, whoever builds it.

>>> entry = RepoEntry("demo", "model", {"main": Ref(bytes(32), 1)}, size=6, created=0)
>>> root, pages = build_pages([entry])
>>> find_in_page(Page.from_payload(pages[root]), "demo") == entry
True
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import ClassVar, Final, Self

from p2phub.errors import MalformedError, UsageError
from p2phub.formats import limits
from p2phub.formats.codec import Value, encode
from p2phub.formats.digest import sha256
from p2phub.formats.documents import Document, Extra, Fields, joined
from p2phub.formats.ids import Kind, check_new_ref
from p2phub.formats.manifest import Card, read_kind

_ENDS_PAGE_BELOW: Final = 4
"""A name ends its page when the first byte of its digest is below this: one in 64 does."""
_PAGE_FRAME: Final = 64
"""Bytes of a page that are not its entries, at most."""


@dataclass(frozen=True, slots=True)
class Ref:
    """A branch or tag: the release it points to, and the index that set it so."""

    release: bytes
    seq: int
    tag: bool = False
    extra: Extra = field(default_factory=dict, hash=False)

    @classmethod
    def read(cls, fields: Fields) -> Self:
        return cls(
            fields.digest("release"), fields.number("seq", 1), fields.flag("tag"), fields.rest()
        )

    def write(self) -> Mapping[str, Value]:
        fields: dict[str, Value] = {
            "release": self.release,
            "seq": self.seq,
            "tag": self.tag or None,
        }
        return joined(fields, self.extra)


@dataclass(frozen=True, slots=True)
class RepoEntry:
    """One repo in an index: its refs, and what search needs of its newest release."""

    name: str
    kind: Kind
    refs: Mapping[str, Ref] = field(hash=False)
    card: Card = field(default_factory=Card)
    size: int = 0
    """Bytes of all files of the newest release."""
    created: int = 0
    """Unix seconds: when the newest release was made."""
    extra: Extra = field(default_factory=dict, hash=False)

    @classmethod
    def read(cls, fields: Fields) -> Self:
        return cls(
            fields.name(),
            read_kind(fields),
            _read_refs(fields),
            Card.read(fields.part("card")),
            fields.number("size"),
            fields.time("created"),
            fields.rest(),
        )

    def write(self) -> Mapping[str, Value]:
        fields: dict[str, Value] = {
            "name": self.name,
            "kind": self.kind,
            "refs": {name: ref.write() for name, ref in self.refs.items()},
            "card": self.card.write(),
            "size": self.size,
            "created": self.created,
        }
        return joined(fields, self.extra)


@dataclass(frozen=True, slots=True)
class Page(Document):
    """A page of repos (level 0), or of the pages below it, as (first name, digest)."""

    TYPE: ClassVar[str] = "page"

    level: int
    entries: tuple[RepoEntry, ...] = ()
    children: tuple[tuple[str, bytes], ...] = ()
    requires: tuple[str, ...] = ()
    extra: Extra = field(default_factory=dict, hash=False)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the repos, or the first name of each child; ascending."""
        if self.level:
            return tuple(name for name, _ in self.children)
        return tuple(entry.name for entry in self.entries)

    def check_child(self, digest: bytes, child: "Page") -> None:
        """Raise `MalformedError` unless `child` may stand under this page as `digest`."""
        place = next((at for at, (_, made) in enumerate(self.children) if made == digest), None)
        if place is None:
            raise MalformedError("a page that its parent does not name")
        names, firsts = child.names, self.names
        if child.level != self.level - 1 or not names or names[0] != firsts[place]:
            raise MalformedError("a page that does not begin where its parent says")
        if place + 1 < len(firsts) and names[-1] >= firsts[place + 1]:
            raise MalformedError("a page that reaches into the next one")

    @classmethod
    def _read(cls, fields: Fields, requires: tuple[str, ...]) -> Self:
        level = fields.number("level", 0, limits.MAX_PAGE_LEVEL)
        entries: tuple[RepoEntry, ...] = ()
        children: tuple[tuple[str, bytes], ...] = ()
        if level:
            children = tuple(map(_read_child, fields.parts("children", limits.MAX_FAN_OUT)))
            if not children:
                raise fields.wrong("children", "is empty")
        else:
            entries = tuple(map(RepoEntry.read, fields.parts("entries", limits.MAX_FAN_OUT)))
        page = cls(level, entries, children, requires, fields.rest())
        if list(page.names) != sorted(set(page.names)):
            raise fields.wrong("the order of names", "is not ascending")
        return page

    def _write(self) -> Mapping[str, Value]:
        if self.level:
            below: list[Value] = [{"first": name, "page": digest} for name, digest in self.children]
            return {"level": self.level, "children": below}
        return {"level": 0, "entries": [entry.write() for entry in self.entries]}


def find_in_page(page: Page, name: str) -> RepoEntry | bytes | None:
    """The repo called `name`, or the digest of the page to look in, or None: there is none.

    >>> find_in_page(Page(1, children=(("a", b"A" * 32), ("m", b"M" * 32))), "k")
    b'AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA'
    """
    place = bisect_right(page.names, name) - 1
    if place < 0:
        return None
    if page.level:
        return page.children[place][1]
    entry = page.entries[place]
    return entry if entry.name == name else None


def build_pages(entries: Iterable[RepoEntry]) -> tuple[bytes, dict[bytes, bytes]]:
    """The digest of the root page, and every page's payload by digest; the same for the same repos.

    Raises `UsageError` for two repos of one name, `MalformedError` for an entry no page may hold.
    """
    ordered = sorted(entries, key=lambda entry: entry.name)
    for one, other in pairwise(ordered):
        if one.name == other.name:
            raise UsageError(f"two repos called {one.name!r} in one index")
    payloads: dict[bytes, bytes] = {}
    sized = [(entry.name, len(encode(entry.write()))) for entry in ordered]
    level, pages = 0, [Page(0, tuple(ordered[a:b])) for a, b in _cuts(sized, 0)] or [Page(0)]
    while True:
        children = tuple(_keep(page, payloads) for page in pages)
        if len(children) == 1:
            return children[0][1], payloads
        level += 1
        sized = [(name, len(name) + limits.DIGEST + 16) for name, _ in children]
        pages = [Page(level, children=children[a:b]) for a, b in _cuts(sized, level)]


def _keep(page: Page, payloads: dict[bytes, bytes]) -> tuple[str, bytes]:
    payload = page.to_payload()
    digest = sha256(payload)
    payloads[digest] = payload
    return page.names[0] if page.names else "", digest


def _cuts(sized: Sequence[tuple[str, int]], level: int) -> Iterable[tuple[int, int]]:
    """Where pages begin and end, for items of these names and encoded sizes."""
    start, used = 0, _PAGE_FRAME
    fewest = 2 if level else 1
    for at, (_, size) in enumerate(sized):
        full = used + size > limits.MAX_PAGE or at - start == limits.MAX_FAN_OUT
        if full or (at - start >= fewest and _ends_page(sized[at - 1][0], level)):
            yield start, at
            start, used = at, _PAGE_FRAME
        used += size
    if start < len(sized):
        yield start, len(sized)


def _ends_page(name: str, level: int) -> bool:
    return sha256(b"%d:" % level + name.encode())[0] < _ENDS_PAGE_BELOW


def _read_refs(fields: Fields) -> dict[str, Ref]:
    refs = {}
    for name, value in fields.table("refs", limits.MAX_REFS).items():
        try:
            check_new_ref(name)
        except UsageError as error:
            raise fields.wrong("refs", f"has {error.message}") from error
        refs[name] = Ref.read(Fields(value, f"ref {name!r}"))
    if not refs:
        raise fields.wrong("refs", "is empty")
    return refs


def _read_child(fields: Fields) -> tuple[str, bytes]:
    first, digest = fields.name("first"), fields.digest("page")
    if fields.rest():
        raise fields.wrong("children", "has an unknown key")
    return first, digest
