"""What our publisher has, told anew after its papers changed: head, and index and releases if need
be.

A change of the release keys can take the ground from under what was published: an index whose
writer is gone, releases that too few keys of today have signed. So the key of this machine signs
them too, those that were good; and what a revoked key set after its last good index is left out.

Rules it keeps:
 * only a release that counted under the old papers is signed again, and none that was taken back;
   after a theft of the root none is: the thief may have let in the key that signed it;
 * a new index follows the newest one that will still be believed;
 * everything is offered to a gate that knows what ours knows, before a byte of it is kept.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from p2phub.errors import NotFoundError, RefusedError, UntrustedError, WrongBytesError
from p2phub.formats import limits
from p2phub.formats.digest import sha256
from p2phub.formats.ids import PublisherId
from p2phub.formats.manifest import Release
from p2phub.formats.notices import Revocation, RevokedKey
from p2phub.formats.publisher import Head, Index, Page, RepoEntry, build_pages
from p2phub.node.desk import Desk, heard_head
from p2phub.node.numbers import next_number
from p2phub.node.own_index import FRESH_FOR
from p2phub.store.documents import Documents
from p2phub.trust import envelope
from p2phub.trust.catalog import TrustedCatalog
from p2phub.trust.envelope import Envelope
from p2phub.trust.identity import Identity
from p2phub.trust.keys import SigningKey
from p2phub.trust.notices import Notices
from p2phub.trust.papers import Papers
from p2phub.trust.signers import objection
from p2phub.trust.survivors import survivors


@dataclass(frozen=True, slots=True)
class Listing:
    """An index and everything it lists."""

    digest: bytes
    index: Index
    entries: tuple[RepoEntry, ...]


@dataclass(frozen=True, slots=True)
class Reissued:
    """What tells of the change."""

    head: Envelope
    index: bytes
    """The digest of the index that the head names."""
    seq: int
    new_index: Envelope | None = None
    """None where the old one will do."""
    pages: tuple[tuple[bytes, bytes], ...] = ()
    """(digest, bytes) of the pages of the new index, parents before children."""
    releases: tuple[Envelope, ...] = ()
    """Those that were signed again."""
    dropped: tuple[str, ...] = ()
    lacking: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Change:
    """From which papers to which, and what is revoked with it."""

    before: Papers
    after: Papers
    notices: tuple[Envelope, ...] = ()
    key: SigningKey | None = None
    """The key of this machine that signs for the papers after."""
    revoked: Mapping[bytes, RevokedKey] = field(init=False)
    """Keys that are revoked now, each with its last good index."""

    def __post_init__(self) -> None:
        found = (
            Revocation.from_payload(each.payload).revoked
            for each in self.notices
            if each.type == Revocation.TYPE
        )
        revoked = {each.key: each for each in found if isinstance(each, RevokedKey)}
        object.__setattr__(self, "revoked", revoked)

    @property
    def after_theft(self) -> bool:
        """Whether the root was stolen: then no key that goes is vouched for."""
        before, after = self.before.identity.delegation, self.after.identity.delegation
        return after.revocations_from > before.revocations_from

    @property
    def gone(self) -> frozenset[bytes]:
        """The release keys that are none any more."""
        return self.before.identity.release_keys - self.after.identity.release_keys


def read_listing(documents: Documents, digest: bytes) -> Listing | None:
    """The index with this digest and its pages; None if one of them is not here.

    Only for a digest that is trusted: nothing but digests is checked. Raises `WrongBytesError` for
    what rotted.
    """
    data = documents.get(digest)
    if data is None:
        return None
    signed = envelope.unpack(data)
    if signed.digest != digest or signed.type != Index.TYPE:
        raise _damaged("index", digest)
    index = Index.from_payload(signed.payload)
    entries: list[RepoEntry] = []
    todo = [index.pages]
    while todo:
        each = todo.pop()
        payload = documents.get(each)
        if payload is None:
            return None
        if sha256(payload) != each:
            raise _damaged("page", each)
        page = Page.from_payload(payload)
        entries += page.entries
        todo += (child for _, child in page.children)
    return Listing(digest, index, tuple(sorted(entries, key=lambda entry: entry.name)))


def newest_listing(desk: Desk, head: Head) -> Listing | None:
    """The index that `head` names; of a publisher that forked, the newest one that was believed
    here. None if it is not on this disk.
    """
    documents, publisher = desk.store.documents, PublisherId(head.publisher)
    found = read_listing(documents, head.index)
    state = desk.knowledge.state(publisher)
    if found is not None or state is None or not state.forked:
        return found
    believed = desk.store.seen.written(publisher)
    writers = state.identity.release_keys
    listings = (read_listing(documents, each.index) for each in believed if each.writer in writers)
    known = [each for each in listings if each is not None]
    return max(known, key=lambda each: (each.index.seq, each.digest), default=None)


def reissue(desk: Desk, change: Change, notices: Notices) -> Reissued | None:
    """What tells of `change`; None where nothing was published yet. `notices`: all that count.

    Raises `RefusedError` if something must be signed and no key here may.
    """
    documents = desk.store.documents
    record = heard_head(documents, change.after.publisher)
    if record is None:
        return None
    if change.key is None:
        raise RefusedError(
            "no release key of this publisher is on this machine to tell of the change with",
            remedy="adopt the change on a machine that has one: `p2phub key adopt FILE`",
        )
    newest = newest_listing(desk, record.head)
    if newest is not None:
        return _Reissuing(desk, change, change.key, notices).of(newest)
    if not change.gone:
        return _head_alone(desk, change, change.key, record.head.index, record.head.seq)
    if change.revoked and not any(each.last_seq for each in change.revoked.values()):
        return _Reissuing(desk, change, change.key, notices).of_nothing()
    raise NotFoundError(
        "a release key goes, and the index that it may have written is not on this machine",
        remedy="run a node that is connected to one that has it, or keep that key for now",
    )


def _head_alone(desk: Desk, change: Change, key: SigningKey, index: bytes, seq: int) -> Reissued:
    """A head for an index that stays."""
    head = change.after.head(index, seq, desk.now() + FRESH_FOR)
    return Reissued(envelope.sign(head, [key]), index, seq)


class _Reissuing:
    """One change, told anew."""

    def __init__(self, desk: Desk, change: Change, key: SigningKey, notices: Notices) -> None:
        self._desk, self._change, self._key, self._notices = desk, change, key, notices
        self._documents = desk.store.documents
        self._known: dict[bytes, Envelope | None] = {}

    def of(self, newest: Listing) -> Reissued:
        change = self._change
        last: Listing | None = newest
        entries, dropped = newest.entries, tuple[str, ...]()
        for revoked in change.revoked.values():
            good, last = self._follow(newest, revoked)
            left = survivors(good, entries, seq=self._seq(last), counts=self._counts_still)
            entries, dropped = left.entries, (*dropped, *left.dropped)
        if change.after_theft:
            left = survivors((), entries, seq=self._seq(last), counts=self._may_count)
            entries, dropped = left.entries, (*dropped, *left.dropped)
        signed, lacking = self._sign_again(entries)
        writer_stays = newest.index.writer in change.after.identity.release_keys
        if entries == newest.entries and last is newest and writer_stays:
            alone = _head_alone(self._desk, change, self._key, newest.digest, newest.index.seq)
            return replace(alone, releases=signed, lacking=lacking)
        made = self._new_index(last, entries)
        return replace(made, releases=signed, dropped=dropped, lacking=lacking)

    def of_nothing(self) -> Reissued:
        """A first index again: nothing of what there was is good, and nothing of it is here."""
        return self._new_index(None, ())

    def _follow(
        self, newest: Listing, revoked: RevokedKey
    ) -> tuple[tuple[RepoEntry, ...], Listing | None]:
        """What was good when `revoked` was signed, and the index that the next one follows."""
        good = self._last_good(revoked)
        written_by_thief = newest.index.writer == revoked.key
        if written_by_thief and newest.digest != revoked.last_index:
            return (good.entries if good else ()), good
        if newest.index.seq >= limits.MAX_INTEGER:
            return (good.entries if good else ()), good
        return (good.entries if good else ()), newest

    def _last_good(self, revoked: RevokedKey) -> Listing | None:
        if not revoked.last_seq:
            return None
        good = read_listing(self._documents, revoked.last_index)
        if good is None:
            raise NotFoundError(
                f"the last good index {revoked.last_index.hex()[:16]}… is not on this disk",
                remedy="adopt the change on a node that has it, or name another with --last-good",
            )
        return good

    @staticmethod
    def _seq(last: Listing | None) -> int:
        return 1 if last is None else last.index.seq + 1

    def _new_index(self, last: Listing | None, entries: Sequence[RepoEntry]) -> Reissued:
        root_page, pages = build_pages(entries)
        parents = () if last is None else (last.digest,)
        index = Index(
            publisher=self._change.after.publisher.digest,
            writer=self._key.public,
            writer_seq=next_number(self._documents, self._key.public, parents, self._desk.now()),
            parents=parents,
            seq=self._seq(last),
            created=self._desk.now(),
            profile={} if last is None else last.index.profile,
            pages=root_page,
        )
        signed = envelope.sign(index, [self._key])
        alone = _head_alone(self._desk, self._change, self._key, signed.digest, index.seq)
        return replace(alone, new_index=signed, pages=tuple(_ordered(root_page, pages)))

    # ------------------------------------------------------------ releases

    def _sign_again(
        self, entries: Iterable[RepoEntry]
    ) -> tuple[tuple[Envelope, ...], tuple[str, ...]]:
        """The releases that need the key of this machine now, and the refs to those not here."""
        signed: dict[bytes, Envelope] = {}
        lacking = []
        for entry in entries:
            for name, ref in sorted(entry.refs.items()):
                known = self._release(ref.release)
                if known is None:
                    lacking.append(f"{entry.name}@{name}")
                elif self._needs_signature(known):
                    added = envelope.sign_payload(known.type, known.payload, [self._key])
                    signed[ref.release] = envelope.merge(known, added)
        return tuple(signed.values()), tuple(lacking) if self._change.gone else ()

    def _needs_signature(self, known: Envelope) -> bool:
        before, after = self._change.before.identity, self._change.after.identity
        release = Release.from_payload(known.payload)
        signers = known.signed_by()
        was_good = _counted(before, release, signers) >= before.delegation.threshold
        is_good = _counted(after, release, signers) >= after.delegation.threshold
        may = _counted(after, release, [self._key.public]) and self._key.public not in signers
        taken_back = bool(self._notices.withdrawn(known.digest)) or (
            self._notices.revoked_release(after, known.digest, release) is not None
        )
        return was_good and not is_good and bool(may) and not taken_back

    def _counts_still(self, repo: str, digest: bytes) -> bool:
        """Whether enough keys that are in force after the change have signed a release."""
        known, after = self._release(digest), self._change.after.identity
        if known is None:
            return False
        release = Release.from_payload(known.payload)
        counted = _counted(after, release, known.signed_by())
        return release.name == repo and counted >= after.delegation.threshold

    def _may_count(self, repo: str, digest: bytes) -> bool:
        """The same, or nobody here can tell: then it is left to whoever has the release."""
        return self._release(digest) is None or self._counts_still(repo, digest)

    def _release(self, digest: bytes) -> Envelope | None:
        if digest not in self._known:
            data = self._documents.get(digest)
            found = envelope.unpack(data) if data is not None else None
            whole = found is not None and found.digest == digest and found.type == Release.TYPE
            self._known[digest] = found if whole else None
        return self._known[digest]


def primed_gate(desk: Desk, papers: Papers) -> TrustedCatalog:
    """A gate that nobody sees, which knows of our publisher what ours has on this disk."""
    gate, documents, seen = TrustedCatalog(), desk.store.documents, desk.store.seen
    publisher = papers.publisher
    record = heard_head(documents, publisher)
    if record is None:
        return gate
    gate.offer(record.envelope.pack(), desk.now(), publisher)
    for each in seen.written(publisher):
        gate.recall_index(publisher, each.writer, each.number, each.index)
    for kept in seen.notices(publisher):
        try:
            gate.offer_known(kept.data)
        except UntrustedError:  # its root was overruled by a recovery
            continue
    return gate


def rehearse(gate: TrustedCatalog, made: Reissued, notices: Sequence[Envelope], now: int) -> None:
    """Offer everything to that gate: what a peer would refuse must not become our head.

    Raises the `Refusal` of the step that failed.
    """
    gate.offer(made.head.pack(), now)
    for notice in notices:
        gate.offer(notice.pack(), now)
    if made.new_index is not None:
        gate.offer(made.new_index.pack(), now)
    for _, page in made.pages:
        gate.offer(page, now)
    if made.new_index is not None:
        for release in made.releases:
            gate.offer(release.pack(), now)


def _ordered(root_page: bytes, pages: Mapping[bytes, bytes]) -> Iterable[tuple[bytes, bytes]]:
    """Every page, parents before children: a page is wanted once its parent was accepted."""
    todo = [root_page]
    while todo:
        digest = todo.pop()
        yield digest, pages[digest]
        todo += (child for _, child in Page.from_payload(pages[digest]).children)


def _counted(identity: Identity, release: Release, keys: Iterable[bytes]) -> int:
    """How many of these keys may sign that release."""
    found = (identity.release_key(key) for key in keys)
    return sum(not objection(known, release.name, release.created) for known in found)


def _damaged(what: str, digest: bytes) -> WrongBytesError:
    return WrongBytesError(
        f"the {what} {digest.hex()[:16]}… on this disk is damaged",
        remedy="pull one of the repos again from a peer that has it",
    )
