"""Signed documents, and what hangs on them: heads, aliases, our own publisher, what we have signed.

Nothing is judged here. What is put in came through the gate (`trust.catalog`), and passes it again
when it is read after a start; a digest names the payload, so later data for the same digest can
only differ in its signatures.

A sequence number is on the disk before it is handed out: two indexes of one key with one number
would prove a fork. After a restore from an old backup, `saw_writer_seq` moves it past what the
network has seen.
"""

from collections.abc import Iterable, Iterator, Sequence

from p2phub.errors import AliasTakenError
from p2phub.formats.ids import PublisherId, check_alias
from p2phub.store.index import Index, Statements
from p2phub.trust.aliases import Aliases

INDEXES_AT_ONCE = 64
"""Indexes that are held in memory while all are looked through."""


class Documents:
    """The documents of one store. Thread-safe."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def put(self, digest: bytes, type: str, data: bytes) -> None:
        """Keep a document that the gate took."""
        self.put_many([(digest, type, data)])

    def put_many(self, documents: Iterable[tuple[bytes, str, bytes]]) -> None:
        """Keep several (digest, type, data), all or none."""
        with self._index.write() as statements:
            statements.many("documents.put", documents)

    def get(self, digest: bytes) -> bytes | None:
        """The document with this digest; None if it is not here."""
        return self.many([digest]).get(digest)

    def many(self, digests: Iterable[bytes]) -> dict[bytes, bytes]:
        """Those of these documents that are here."""
        found = {}
        with self._index.read() as statements:
            for digest in digests:
                row = statements.one("documents.get", digest)
                if row is not None:
                    found[digest] = row[0]
        return found

    def of_type(self, type: str) -> list[bytes]:
        """The digests of every document of one type."""
        with self._index.read() as statements:
            return [digest for (digest,) in statements.all("documents.of_type", type)]

    def drop(self, digests: Iterable[bytes]) -> None:
        """Forget these documents."""
        with self._index.write() as statements:
            statements.many("documents.drop", [(digest,) for digest in digests])

    def set_head(self, publisher: PublisherId, head: bytes, index: bytes, now: int) -> None:
        """Remember a publisher's newest head, which was `put` before, and the index it names."""
        with self._index.write() as statements:
            statements.run("documents.set_head", str(publisher), head, index, now)

    def head(self, publisher: PublisherId) -> bytes | None:
        """The digest of the newest head of a publisher."""
        row = self._head(publisher)
        return row[0] if row else None

    def newest_index(self, publisher: PublisherId) -> bytes | None:
        """The digest of the index that this head names."""
        row = self._head(publisher)
        return row[1] if row else None

    def head_seen(self, publisher: PublisherId) -> int | None:
        """When that head was last set: unix seconds."""
        row = self._head(publisher)
        return row[2] if row else None

    def publishers(self) -> list[PublisherId]:
        """Every publisher whose head is here."""
        with self._index.read() as statements:
            rows = statements.all("documents.publishers")
            with statements.decoding():
                return [PublisherId.parse(text) for (text,) in rows]

    def newest_indexes(self) -> Iterator[tuple[PublisherId, bytes]]:
        """Every publisher whose newest index is here, and that index as it was signed."""
        after = ""
        while True:
            with self._index.read() as statements:
                rows = statements.all("documents.newest_indexes", after, INDEXES_AT_ONCE)
                with statements.decoding():
                    found = [(PublisherId.parse(text), data) for text, data in rows]
            yield from found
            if len(found) < INDEXES_AT_ONCE:
                return
            after = str(found[-1][0])

    def _head(self, publisher: PublisherId) -> tuple[bytes, bytes, int] | None:
        with self._index.read() as statements:
            row = statements.one("documents.head", str(publisher))
        return (row[0], row[1], row[2]) if row else None

    def aliases(self) -> Aliases:
        """Every pinned alias."""
        with self._index.read() as statements:
            rows = statements.all("documents.aliases")
            with statements.decoding():
                return Aliases({alias: PublisherId.parse(text) for alias, text in rows})

    def save_alias(self, alias: str, publisher: PublisherId, now: int) -> None:
        """Pin an alias. Raises `AliasTakenError` if it is pinned to somebody else."""
        check_alias(alias)
        with self._index.write() as statements:
            pin(statements, alias, publisher, now)

    def drop_alias(self, alias: str) -> bool:
        """Unpin an alias; whether there was one."""
        with self._index.write() as statements:
            return statements.run("documents.drop_alias", alias) > 0

    def next_writer_seq(self, key: bytes, at_least: int = 1, step: int = 1) -> int:
        """The next number this release key may sign: on the disk before it is returned.

        It is `at_least` that, and greater than the last one by `step` or more.
        """
        with self._index.write() as statements:
            row = statements.one("documents.next_writer_seq", key, at_least, step)
        assert row is not None
        return int(row[0])

    def saw_writer_seq(self, key: bytes, seq: int) -> None:
        """This key has signed `seq` somewhere: what comes next is greater."""
        with self._index.write() as statements:
            statements.run("documents.saw_writer_seq", key, seq)

    def own_publisher(self) -> PublisherId | None:
        """Our own publisher; None before `init`."""
        with self._index.read() as statements:
            row = statements.one("documents.own")
            with statements.decoding():
                return PublisherId.parse(row[0]) if row else None

    def own_documents(self) -> tuple[tuple[bytes, ...], bytes] | None:
        """The digests of our roots, oldest first, and of our delegation."""
        with self._index.read() as statements:
            row = statements.one("documents.own")
            roots = statements.all("documents.own_roots")
        return (tuple(root for (root,) in roots), row[1]) if row else None

    def set_own_publisher(
        self, publisher: PublisherId, roots: Sequence[bytes], delegation: bytes
    ) -> None:
        """Say who we are. The roots and the delegation were `put` before."""
        with self._index.write() as statements:
            statements.run("documents.set_own", str(publisher), delegation)
            statements.run("documents.drop_own_roots")
            statements.many("documents.add_own_root", enumerate(roots))


def pin(statements: Statements, alias: str, publisher: PublisherId, now: int) -> None:
    """Pin an alias in a transaction that is going on. Raises `AliasTakenError`."""
    row = statements.one("documents.alias", alias)
    if row is not None and row[0] != str(publisher):
        raise AliasTakenError(
            f"the alias {alias} is pinned to {row[0]}, not to {publisher}",
            remedy=f"choose another alias, or run `p2phub trust rm {alias}` first",
        )
    statements.run("documents.save_alias", alias, str(publisher), now)
