"""Repos as their publishers list them, and which releases this disk holds.

Three kinds of knowledge, in rows of their own: what an index *lists* (found by search), which
*releases* have their manifest here, and which of those are *held*: their files are kept, and no
blob they need is dropped. A pull holds its release from its beginning, so that a removal beside it
cannot take away what it counts on.

Only what passed the gate is recorded; the rows can all be made again from the documents. The words
of the search are in `search`.
"""

import json
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from p2phub.errors import NotFoundError, QuarantinedError
from p2phub.formats.ids import ContentId, Kind, PublisherId, RepoId, commit_id
from p2phub.formats.manifest import Card, Release
from p2phub.formats.publisher import RepoEntry
from p2phub.store.index import Index, Statements
from p2phub.store.search import EVERYTHING, Filters, Hit, Order, search

_LAST_MOMENT = 2**63 - 1  # nanoseconds; what a database holds
MAX_SUMMARY = 4096
"""Characters of a README that search looks through."""


@dataclass(frozen=True, slots=True)
class ReleaseRow:
    """A release whose manifest is here."""

    digest: bytes
    created: int
    message: str
    files: int
    bytes: int

    @property
    def commit(self) -> str:
        return commit_id(self.digest)


@dataclass(frozen=True, slots=True)
class RepoRow:
    """A release that is held, and how much of it is on this disk."""

    repo: RepoId
    kind: Kind
    digest: bytes
    ref: str
    """A revision that names it now: the one that was asked for when it came, another one, or the
    beginning of its commit."""
    done: bool
    """Whether the pull or publish has finished."""
    since: int
    files: int
    bytes: int
    files_here: int
    bytes_here: int

    @property
    def commit(self) -> str:
        return commit_id(self.digest)

    @property
    def complete(self) -> bool:
        return self.files_here == self.files


class Repos:
    """What is known of repos. Thread-safe."""

    def __init__(self, index: Index) -> None:
        self._index = index

    # ------------------------------------------------------------ what publishers list

    def record(self, publisher: PublisherId, entry: RepoEntry) -> None:
        """Note a repo as its publisher's index lists it now."""
        self.record_many(publisher, [entry])

    def record_many(self, publisher: PublisherId, entries: Iterable[RepoEntry]) -> None:
        """The same for several, in one transaction; what is known already costs a look."""
        with self._index.read() as statements:
            news = [entry for entry in entries if not _same(statements, publisher, entry)]
        if not news:
            return
        with self._index.write() as statements:
            for entry in news:
                _put_entry(statements, publisher, entry)

    def keep_listed(self, publisher: PublisherId, names: Collection[str]) -> None:
        """The publisher's index lists these repos and no other: the rest is not found any more."""
        with self._index.write() as statements:
            for (name,) in statements.all("repos.names", str(publisher)):
                if name not in names:
                    statements.run("repos.unlist", str(publisher), name)

    def set_summary(self, repo: RepoId, text: str) -> None:
        """Let search look through the beginning of a README."""
        text = text[:MAX_SUMMARY]
        with self._index.write() as statements:
            statements.run("repos.set_summary", text, str(repo.publisher), repo.name, text)

    def search(
        self,
        text: str = "",
        filters: Filters = EVERYTHING,
        *,
        order: Order = "relevance",
        limit: int = 50,
    ) -> list[Hit]:
        """Listed repos that have every word of `text` and pass every filter."""
        with self._index.read() as statements:
            return search(statements, text, filters, order, limit)

    # ------------------------------------------------------------ releases

    def record_release(self, digest: bytes, release: Release) -> None:
        """Note a manifest that is here, and which contents it names."""
        publisher = PublisherId(release.publisher)
        with self._index.write() as statements:
            if statements.one("repos.release", digest):
                return
            found = statements.one("repos.id", str(publisher), release.name)
            repo = found[0] if found else _put_unlisted(statements, publisher, release)
            statements.run(
                "repos.add_release",
                digest,
                repo,
                release.created,
                release.message,
                len(release.files),
                release.total_size,
            )
            counts = Counter(file.content for file in release.files)
            statements.many(
                "repos.add_content",
                ((digest, content.digest, content.size, n) for content, n in counts.items()),
            )

    def releases(self, publisher: PublisherId, name: str) -> list[ReleaseRow]:
        """The releases of a repo whose manifests are here, newest first."""
        with self._index.read() as statements:
            rows = statements.all("repos.releases", str(publisher), name)
        return [ReleaseRow(*row) for row in rows]

    def find_commit(self, publisher: PublisherId, name: str, prefix: str) -> list[bytes]:
        """The release digests of a repo that begin with these hex digits."""
        first, last = bytes.fromhex(prefix.ljust(64, "0")), bytes.fromhex(prefix.ljust(64, "f"))
        with self._index.read() as statements:
            rows = statements.all("repos.commits", str(publisher), name, first, last)
        return [digest for (digest,) in rows]

    def repo_of(self, digest: bytes) -> RepoId | None:
        """The repo of a release whose manifest is here, or that an index lists now."""
        with self._index.read() as statements:
            row = statements.one("repos.of_release", digest) or statements.one(
                "repos.listing", digest
            )
            with statements.decoding():
                return None if row is None else RepoId(PublisherId.parse(row[0]), row[1])

    # ------------------------------------------------------------ what is held

    def pulling(self, digest: bytes, ref: str, now: int) -> None:
        """A pull of this release begins: from now on, nothing that it needs is dropped."""
        with self._index.write() as statements:
            _hold(statements, digest, ref, 0, now)

    def pulled(
        self, publisher: PublisherId, name: str, commit: str, *, digest: bytes, ref: str, now: int
    ) -> None:
        """The wanted files of a release are here."""
        with self._index.write() as statements:
            repo = statements.one("repos.release", digest)
            known = statements.one("repos.id", str(publisher), name)
            if repo is None or known != repo or commit_id(digest) != commit:
                raise NotFoundError(f"no release {commit} of {name} by {publisher} was recorded")
            _hold(statements, digest, ref, 1, now)

    def local(self) -> list[RepoRow]:
        """Every release that is held, whole or in part."""
        with self._index.read() as statements:
            rows = statements.all("repos.local")
            with statements.decoding():
                return [_row(*row) for row in rows]

    def count(self) -> int:
        """How many repos have a release that is held."""
        with self._index.read() as statements:
            row = statements.one("repos.count_held")
        return row[0] if row else 0

    def held_publishers(self) -> list[PublisherId]:
        """Whose repos are held here."""
        with self._index.read() as statements:
            rows = statements.all("repos.held_publishers")
            with statements.decoding():
                return [PublisherId.parse(text) for (text,) in rows]

    def held_releases(self) -> list[bytes]:
        """The digests of the releases that are here with every file."""
        with self._index.read() as statements:
            return [digest for (digest,) in statements.all("repos.held_releases")]

    def remove(self, digest: bytes) -> tuple[ContentId, ...] | None:
        """Let a release go: the contents that no held release needs any more; None if not held.

        What its publisher lists is still found by search.
        """
        with self._index.write() as statements:
            if not statements.run("repos.let_go", digest):
                return None
            rows = statements.all("repos.free_of", digest)
        return tuple(ContentId(*row) for row in rows)

    def awaited(self, content: ContentId) -> bool:
        """Whether a pull that began and has not finished needs it, and no later one took its place.

        What a repo's ref meant before, nobody waits for any more once its new release was asked
        for.
        """
        with self._index.read() as statements:
            return statements.one("repos.awaited", content.digest, content.size) is not None

    def unneeded(self, before: int, most: int) -> list[ContentId]:
        """Files that came before a moment (unix seconds), lie in the store, and that no held
        release and no proposal needs: at most so many.
        """
        with self._index.read() as statements:
            moment = max(0, min(before * 1_000_000_000, _LAST_MOMENT))  # whatever the clock says
            rows = statements.all("repos.unneeded", moment, most)
        return [ContentId(*row) for row in rows]

    def unreferenced(self, contents: Iterable[ContentId]) -> list[ContentId]:
        """Those of `contents` that no held release needs."""
        with self._index.read() as statements:
            return [
                content
                for content in contents
                if statements.one("blobs.referenced", content.digest, content.size) is None
            ]


def _row(
    publisher: str, name: str, kind: Kind, digest: bytes, ref: str, done: int, *numbers: int
) -> RepoRow:
    repo = RepoId(PublisherId.parse(publisher), name)
    return RepoRow(repo, kind, digest, ref, done == 1, *numbers)


def _hold(statements: Statements, digest: bytes, ref: str, done: int, now: int) -> None:
    if statements.one("repos.release", digest) is None:
        raise NotFoundError(f"no release {commit_id(digest)} was recorded")
    if statements.one("quarantine.find", digest) is not None:
        raise QuarantinedError(
            f"release {commit_id(digest)} came in a bundle meanwhile, and waits in quarantine",
            remedy="`p2phub quarantine ls` tells for what",
        )
    statements.run("repos.hold", digest, ref, done, now)


def _facets(card: Card) -> tuple[str, str, str, str, str, int]:
    languages, tags = json.dumps(card.languages), json.dumps(card.tags, ensure_ascii=False)
    return card.task, card.license, card.library, languages, tags, card.parameters


def _same(statements: Statements, publisher: PublisherId, entry: RepoEntry) -> bool:
    """Whether the rows say what the entry says."""
    row = statements.one("repos.find", str(publisher), entry.name)
    if row is None or row[1:] != (entry.kind, *_facets(entry.card), entry.size, entry.created, 1):
        return False
    return statements.all("repos.refs", row[0]) == _refs(entry)


def _refs(entry: RepoEntry) -> list[tuple[str, bytes, int, int]]:
    return sorted((ref, to.release, to.seq, int(to.tag)) for ref, to in entry.refs.items())


def _put_entry(statements: Statements, publisher: PublisherId, entry: RepoEntry) -> None:
    row = statements.one(
        "repos.put",
        str(publisher),
        entry.name,
        entry.kind,
        *_facets(entry.card),
        entry.size,
        entry.created,
        1,
    )
    assert row is not None
    statements.run("repos.drop_languages", row[0])
    statements.many("repos.add_language", ((word, row[0]) for word in entry.card.languages))
    statements.run("repos.drop_refs", row[0])
    statements.many("repos.add_ref", ((row[0], *ref) for ref in _refs(entry)))


def _put_unlisted(statements: Statements, publisher: PublisherId, release: Release) -> int:
    """A repo that is known by a release only, until an index lists it."""
    row = statements.one(
        "repos.put",
        str(publisher),
        release.name,
        release.kind,
        *_facets(release.card),
        release.total_size,
        release.created,
        0,
    )
    assert row is not None
    return int(row[0])
