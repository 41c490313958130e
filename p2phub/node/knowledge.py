"""What this node believes about publishers: the gate, and the store behind it.

Every foreign document passes `learn`: it is offered to the `TrustedCatalog` and kept on disk only
if the gate took it. What is on disk passes the same gate again when a publisher is first touched
after a start, so that a rotten disk or an edited database is found by the same steps as a lying
peer. Everything here is synchronous and thread-safe; the node calls it from the store's threads.
Where documents come from is `resolve.py`'s business."""

import threading
from collections.abc import Callable
from dataclasses import dataclass

from p2phub.errors import MalformedError, NotFoundError, UntrustedError, WrongBytesError
from p2phub.formats.digest import sha256
from p2phub.formats.ids import PublisherId
from p2phub.formats.manifest import Release
from p2phub.formats.publisher import Head, Index, Page, RepoEntry, find_in_page
from p2phub.store.store import Store
from p2phub.trust.catalog import Accepted, PublisherState, TrustedCatalog
from p2phub.trust.envelope import claimed_type, is_envelope, unpack

Kind = type[Head] | type[Index] | type[Page] | type[Release]

CALLED: dict[Kind, str] = {
    Head: "head",
    Index: "index",
    Page: "page of the index",
    Release: "manifest",
}
"""What people call documents."""


@dataclass(frozen=True, slots=True)
class Missing:
    """A document that is needed next and is not on this disk, or not any more what it was."""

    digest: bytes
    kind: Kind
    damage: UntrustedError | None = None
    """What is wrong with the one that is on this disk."""


class Knowledge:
    """The trusted catalog of one node, fed from its store. `now()` gives unix seconds."""

    def __init__(self, store: Store, catalog: TrustedCatalog, now: Callable[[], int]) -> None:
        self._store, self._catalog, self._now = store, catalog, now
        self._lock = threading.RLock()

    def state(self, publisher: PublisherId) -> PublisherState | None:
        """What is known of a publisher; loads what is on disk on first touch.

        Raises `WrongBytesError` if the head on this disk rotted and no other was learnt since.
        """
        with self._lock:
            damage = self._touch(publisher)
            if damage is not None:
                raise damage
            return self._catalog.state(publisher)

    def learn(self, data: bytes, digest: bytes, kind: Kind) -> Accepted:
        """Offer what somebody sent as the document `digest` to the gate; keep it if the gate takes
        it.

        Raises `UntrustedError` or a child, with the step that failed.
        """
        with self._lock:
            accepted = self._offer(data, digest, kind)
            self._keep(accepted)
            return accepted

    def learn_head(self, publisher: PublisherId, data: bytes) -> Accepted:
        """The same for a head, after what is on disk about its publisher was loaded: an older one
        is refused.

        Raises `UntrustedError` also when the head is another publisher's.
        """
        with self._lock:
            self._touch(publisher)
            if not is_envelope(data) or claimed_type(data) != Head.TYPE:
                raise WrongBytesError(f"asked for the head of {publisher}, got something else")
            accepted = self._catalog.offer(data, self._now(), publisher)
            self._keep(accepted)
            return accepted

    def document(self, digest: bytes, kind: Kind) -> Accepted | None:
        """A document that is on this disk and passes the gate; None if it is not here.

        Raises `UntrustedError` if the disk no longer holds what it held.
        """
        data = self._store.documents.get(digest)
        if data is None:
            return None
        with self._lock:
            try:
                return self._offer(data, digest, kind)
            except (WrongBytesError, MalformedError) as error:
                raise WrongBytesError(
                    f"the {CALLED[kind]} {digest.hex()[:16]}… on this disk is damaged:"
                    f" {error.message}",
                    remedy="pull the repo again from a peer that has it",
                ) from error

    def _offer(self, data: bytes, digest: bytes, kind: Kind) -> Accepted:
        """To the gate as this document and as no other: whoever is asked for a manifest must not
        tell us of heads.
        """
        if is_envelope(data):
            same = claimed_type(data) == kind.TYPE and unpack(data).digest == digest
        else:
            same = kind is Page and sha256(data) == digest
        if not same:
            raise WrongBytesError(f"these bytes are not the {CALLED[kind]} {digest.hex()[:16]}…")
        return self._catalog.offer(data, self._now())

    def expect(self, digest: bytes, publisher: PublisherId) -> None:
        """Let a release be offered that an accepted release names as its parent."""
        with self._lock:
            self._catalog.expect(digest, publisher)

    def find(self, publisher: PublisherId, name: str) -> RepoEntry | Missing:
        """The index entry of a repo, or the next document that is needed to tell.

        Raises `NotFoundError` if the publisher's index has no such repo.
        """
        state = self.state(publisher)
        if state is None:
            raise NotFoundError(f"nothing is known of publisher {publisher}")
        index = self._look(state.index, Index)
        if isinstance(index, Missing):
            return index
        assert isinstance(index.document, Index)
        wanted = index.document.pages
        while True:
            page = self._look(wanted, Page)
            if isinstance(page, Missing):
                return page
            assert isinstance(page.document, Page)
            found = find_in_page(page.document, name)
            if found is None:
                raise NotFoundError(
                    f"publisher {publisher} has no repo named {name}",
                    remedy="check the spelling; `p2phub search` lists what is known",
                )
            if isinstance(found, RepoEntry):
                return found
            wanted = found

    def _look(self, digest: bytes, kind: Kind) -> Accepted | Missing:
        try:
            return self.document(digest, kind) or Missing(digest, kind)
        except UntrustedError as error:
            return Missing(digest, kind, error)

    def lacking(self, publisher: PublisherId) -> Missing | None:
        """A document of a publisher's newest index that is not on this disk as it should be."""
        state = self.state(publisher)
        todo: list[tuple[bytes, Kind]] = [(state.index, Index)] if state is not None else []
        while todo:
            found = self._look(*todo.pop())
            if isinstance(found, Missing):
                return found
            if isinstance(found.document, Index):
                todo.append((found.document.pages, Page))
            elif isinstance(found.document, Page):
                todo += ((child, Page) for _, child in found.document.children)
        return None

    def entries(self, publisher: PublisherId) -> tuple[RepoEntry, ...]:
        """Every repo of a publisher, by name. Raises `NotFoundError` if a page is not here."""
        state = self.state(publisher)
        if state is None:
            return ()
        index = self._here(state.index, Index)
        assert isinstance(index.document, Index)
        return tuple(self._below(index.document.pages))

    def _below(self, digest: bytes) -> list[RepoEntry]:
        page = self._here(digest, Page)
        assert isinstance(page.document, Page)
        found = list(page.document.entries)
        for _, child in page.document.children:
            found += self._below(child)
        return found

    def _here(self, digest: bytes, kind: Kind) -> Accepted:
        accepted = self.document(digest, kind)
        if accepted is None:
            raise NotFoundError(
                f"the {CALLED[kind]} {digest.hex()[:16]}… is not on this disk",
                remedy="restore the store from a backup, or pull the repo from a peer",
            )
        return accepted

    def _touch(self, publisher: PublisherId) -> WrongBytesError | None:
        """Load the head that is on this disk; what is wrong with it, if that is all there is."""
        if self._catalog.state(publisher) is not None:
            return None
        digest = self._store.documents.head(publisher)
        data = self._store.documents.get(digest) if digest else None
        if data is None:
            return None
        try:
            self._catalog.offer(data, self._now(), publisher)
        except UntrustedError as error:
            return WrongBytesError(
                f"the head of {publisher} on this disk is damaged: {error.message}",
                remedy="pull from a peer that knows this publisher",
            )
        return None

    def _keep(self, accepted: Accepted) -> None:
        """The document last: what is on the disk is in the catalog that people search, too."""
        documents, repos = self._store.documents, self._store.repos
        if isinstance(accepted.document, Release):
            repos.record_release(accepted.digest, accepted.document)
        elif isinstance(accepted.document, Page):
            repos.record_many(accepted.publisher, accepted.document.entries)
        documents.put(accepted.digest, accepted.type, accepted.data)
        if accepted.type == Head.TYPE:
            state = self._catalog.state(accepted.publisher)
            if state is not None and state.head == accepted.digest:
                documents.set_head(accepted.publisher, state.head, state.index, self._now())
