"""Where the history of our own publisher ends, as this disk knows it.

*Tips* are indexes, by us or by another writer, that nothing newer here includes: the next index
follows all of them. *Side releases* lost `main` to another writer's and are followed by no release
yet: the next release of that repo does. Neither is told to anybody; both could be worked out from
the documents, at the price of reading all of them.

At most `MAX_TIPS` and, for a repo, `MAX_SIDES` are kept; the newest count.
"""

from collections.abc import Iterable

from p2phub.store.index import Index

MAX_TIPS = 64
"""Indexes that wait for the one that follows them."""
MAX_SIDES = 16
"""Releases of one repo that wait for one that follows them."""


class Tips:
    """Tips and side releases of one store. Thread-safe."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def all(self) -> list[bytes]:
        """The digests of the tips, oldest first."""
        with self._index.read() as statements:
            return [digest for (digest,) in statements.all("tips.all")]

    def replace(self, tips: Iterable[bytes], sides: Iterable[tuple[str, bytes]] = ()) -> None:
        """These are the tips now, oldest first; and these releases (repo, digest) lost `main`."""
        kept = list(dict.fromkeys(tips))[-MAX_TIPS:]
        with self._index.write() as statements:
            statements.run("tips.drop_all")
            statements.many("tips.add", enumerate(kept))
            for name, release in sides:
                statements.run("tips.add_side", name, release)
                statements.run("tips.trim_sides", name, name, MAX_SIDES)

    def sides(self, name: str) -> list[bytes]:
        """The side releases of a repo, oldest first."""
        with self._index.read() as statements:
            return [digest for (digest,) in statements.all("tips.sides", name)]

    def drop_sides(self, name: str, releases: Iterable[bytes]) -> None:
        """These are followed by a release now, or by nothing ever."""
        with self._index.write() as statements:
            statements.many("tips.drop_side", ((name, release) for release in releases))
