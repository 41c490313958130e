"""What this node believes about publishers: the gate, and the store behind it.

Every foreign document passes `learn`: it is offered to the `TrustedCatalog` and kept on disk only
if the gate took it. What is on disk passes the same gate again when a publisher is first touched
after a start, so that a rotten disk or an edited database is found by the same steps as a lying
peer. Everything here is synchronous and thread-safe; the node calls it from the store's threads.
Where documents come from is `resolve.py`'s business."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from p2phub.errors import (
    ForkedError,
    MalformedError,
    NotFoundError,
    UntrustedError,
    WrongBytesError,
)
from p2phub.formats.digest import sha256
from p2phub.formats.ids import PublisherId
from p2phub.formats.manifest import Release
from p2phub.formats.notices import NOTICES
from p2phub.formats.publisher import Head, Index, Page, RepoEntry, find_in_page
from p2phub.store.seen import Written
from p2phub.store.store import Store
from p2phub.trust.catalog import Accepted, PublisherState, TrustedCatalog
from p2phub.trust.envelope import Envelope, claimed_type, is_envelope, merge, sign, unpack
from p2phub.trust.forks import prove
from p2phub.trust.verdict import Verdict

log = logging.getLogger(__name__)
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
        self._proofs: list[bytes] = []

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
            try:
                accepted = self._offer(self._with_known_signatures(data, digest), digest, kind)
            except ForkedError:
                self._keep_proof(data)
                raise
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
            is_new = self._catalog.state(publisher) is None
            try:
                accepted = self._catalog.offer(data, self._now(), publisher)
            except ForkedError:
                self._keep_proof(data)
                raise
            self._keep(accepted)
            if is_new:
                self._recall(publisher)
            return accepted

    def learn_notice(self, data: bytes) -> Accepted:
        """The same for a revocation, a withdrawal or a fork proof of a publisher that is known."""
        with self._lock:
            if not is_envelope(data) or claimed_type(data) not in NOTICES:
                raise WrongBytesError("a notice was expected, and these bytes are something else")
            envelope = unpack(data)
            publisher = PublisherId(NOTICES[envelope.type].from_payload(envelope.payload).publisher)
            self._touch(publisher)
            accepted = self._catalog.offer(
                self._with_known_signatures(data, envelope.digest), self._now(), publisher
            )
            self._keep(accepted)
            return accepted

    def notices(self, publisher: PublisherId) -> tuple[bytes, ...]:
        """Everything a publisher took back, and its forks, packed."""
        return tuple(kept.data for kept in self._store.seen.notices(publisher))

    def notices_digest(self, publisher: PublisherId) -> bytes:
        """One digest over all those, signatures too, to compare with a peer's; empty if there are
        none.
        """
        digests = [sha256(data) for data in self.notices(publisher)]
        return sha256(b"".join(digests)) if digests else b""

    def has_notices(self, publisher: PublisherId) -> bool:
        """Whether a publisher took anything back, or forked."""
        return self._store.seen.has_notices(publisher)

    def taken_back(self, publisher: PublisherId, digest: bytes) -> Verdict | None:
        """What is known of a release by its digest alone, where its manifest is not here."""
        with self._lock:
            self._touch(publisher)
            history = self._catalog.history(publisher)
            if history is None:
                return None
            if history.notices.revoked_release(history.state.identity, digest, None) is not None:
                return Verdict.REVOKED
            return Verdict.WITHDRAWN if history.notices.withdrawn(digest) else None

    def take_proofs(self) -> tuple[bytes, ...]:
        """Proofs of forks that came to light here since this was asked last, packed."""
        with self._lock:
            found, self._proofs = tuple(self._proofs), []
            return found

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

    def lets_through(self, publisher: PublisherId) -> bool:
        """Whether something of a publisher may be here that is not signed as it should be."""
        return self._catalog.lets_through(publisher)

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
                alias = self._store.documents.aliases().alias_of(publisher)
                raise NotFoundError(
                    f"publisher {alias or publisher} has no repo named {name}",
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
        """Load what is on this disk; what is wrong with the head, if that is all there is."""
        if self._catalog.state(publisher) is not None:
            return None
        highest = self._store.seen.highest(publisher)
        if highest is not None:
            self._catalog.recall(publisher, highest)
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
        self._recall(publisher)
        return None

    def _recall(self, publisher: PublisherId) -> None:
        """Tell the gate what it knew of a publisher before the restart."""
        state = self._catalog.state(publisher)
        assert state is not None
        for each in self._store.seen.written(publisher):
            self._catalog.recall_index(publisher, each.writer, each.number, each.index)
        for kept in self._store.seen.notices(publisher):
            try:
                self._catalog.offer_known(kept.data)
            except UntrustedError as error:  # rotten, or its root was overruled by a recovery
                log.warning("a notice of %s counts no more: %s", publisher.short, error)

    def _with_known_signatures(self, data: bytes, digest: bytes) -> bytes:
        """What somebody sent, with the signatures that our copy has as well: they are a set, and
        nobody can take one away by sending fewer.
        """
        known = self._store.documents.get(digest)
        if known is None or known == data or not is_envelope(data) or not is_envelope(known):
            return data
        try:
            return merge(unpack(known), unpack(data)).pack()
        except UntrustedError:  # one of them is damaged: what came is judged by itself
            return data

    def _keep_proof(self, data: bytes) -> None:
        """Keep the proof of a fork that `data` brought to light, if both sides are here."""
        envelope = unpack(data)
        publisher = PublisherId(_publisher_of(envelope))
        state, history = self._catalog.state(publisher), self._catalog.history(publisher)
        if state is None or history is None or len(state.fork) != 2:
            return
        sides = {envelope.digest: data} | _inside(data) | _inside(history.record.envelope.pack())
        for digest in state.fork:
            known = sides.get(digest) or self._store.documents.get(digest)
            if known is None:
                return
            sides[digest] = known
        document = prove(publisher, *(sides[digest] for digest in state.fork))
        proof = sign(document, []).pack()
        try:
            self._keep(self._catalog.offer(proof, self._now(), publisher))
        except UntrustedError as error:
            log.info("no proof of the fork of %s: %s", publisher.short, error)
            return
        self._proofs.append(proof)

    def _keep(self, accepted: Accepted) -> None:
        """The document last: what is on the disk is in the catalog that people search, too."""
        documents, repos, seen = self._store.documents, self._store.repos, self._store.seen
        publisher, document = accepted.publisher, accepted.document
        state = self._catalog.state(publisher)
        if state is not None and accepted.type in NOTICES:
            notice = (accepted.digest, accepted.type, accepted.data)
            seen.add_notice(publisher, *notice, self._now())
            return
        if isinstance(document, Release):
            repos.record_release(accepted.digest, document)
        elif isinstance(document, Page):
            repos.record_many(publisher, document.entries)
        documents.put(accepted.digest, accepted.type, accepted.data)
        if state is not None and isinstance(document, Index):
            written = Written(document.writer, document.writer_seq, accepted.digest)
            seen.wrote(publisher, written)
        if state is not None and accepted.type == Head.TYPE and state.head == accepted.digest:
            documents.set_head(publisher, state.head, state.index, self._now())
            seen.saw(publisher, state.order)


def _publisher_of(envelope: Envelope) -> bytes:
    """Whose document it is. Raises `MalformedError` for what no publisher signs."""
    kinds: tuple[type[Head | Index | Release], ...] = (Head, Index, Release)
    for kind in kinds:
        if envelope.type == kind.TYPE:
            return kind.from_payload(envelope.payload).publisher
    raise MalformedError(f"no publisher signs a {envelope.type}")


def _inside(data: bytes) -> dict[bytes, bytes]:
    """The roots and the delegation in a packed head, by digest; nothing of other documents."""
    envelope = unpack(data)
    if envelope.type != Head.TYPE:
        return {}
    head = Head.from_payload(envelope.payload)
    return {unpack(each).digest: each for each in (*head.roots, head.delegation)}
