"""What this node shows to peers: documents, piece tables, heads, and the bytes of files.

Two planes ask the same shelf: the control protocol (small documents, heads, who has what) and the
data plane (ranges of files, larger documents). Everything is synchronous and thread-safe. Only what
the gate accepted and what was verified is on the shelf: whole blobs whose stamp on disk still
matches, and the verified ranges of files that are still being fetched. What waits in quarantine is
kept back here. All repos are public so far; private ones will be kept back here too, by `peer`.
"""

from collections.abc import Callable, Sequence

from p2phub.errors import NotFoundError
from p2phub.formats.ids import ContentId, PublisherId
from p2phub.protocol.batch import Opener
from p2phub.protocol.ports import FileReader, Holding
from p2phub.store.store import Store


class Library:
    """The shelf of one store; a `protocol.serve.Library`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def holding(self, content: ContentId, peer: str | None) -> Holding | None:
        """What is here of a file: all of it, or byte ranges, which may be none yet while it is
        being fetched; None if nothing is or will be here.
        """
        if self._store.quarantine.hides(content):
            return None
        if self._store.blobs.has(content):
            return Holding(complete=True)
        partial = self._store.partials.get(content)
        return None if partial is None else Holding(complete=False, ranges=partial.ranges())

    def document(self, digest: bytes, peer: str | None) -> bytes | None:
        """A document, a page or a piece table."""
        if self._store.quarantine.hides_document(digest):
            return None
        return self._store.documents.get(digest) or self._store.blobs.packed_table(digest)

    def content_of_sha256(self, digest: bytes, peer: str | None) -> ContentId | None:
        """The file that this node hashed whole and found to have this SHA-256."""
        return next(iter(self._store.blobs.by_sha256(digest)), None)

    def open(self, content: ContentId) -> FileReader:
        """Open what `holding` named. Raises `NotFoundError` or `DamagedBlobError`."""
        if self._store.quarantine.hides(content):
            raise NotFoundError(f"there is no {content} here")
        return self._store.shelf.open(content)

    def openers(self, contents: Sequence[ContentId], peer: str | None) -> Sequence[Opener | None]:
        """For each of many small files what opens it; None if not all of it is here."""
        hidden = self._store.quarantine.hidden(contents)
        openers = self._store.shelf.openers(contents)
        return [
            None if content in hidden else opener
            for content, opener in zip(contents, openers, strict=True)
        ]

    def head(self, publisher: bytes, peer: str | None) -> bytes | None:
        """The newest head that is known of a publisher."""
        return head_record(self._store)(PublisherId(publisher))


def head_record(store: Store) -> Callable[[PublisherId], bytes | None]:
    """Gives the newest head of a publisher from the store, as it is put into the DHT."""

    def of(publisher: PublisherId) -> bytes | None:
        digest = store.documents.head(publisher)
        return store.documents.get(digest) if digest is not None else None

    return of
