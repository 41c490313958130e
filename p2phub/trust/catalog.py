"""The gate: the one way for a foreign document to be believed.

`TrustedCatalog.offer(bytes, now)` takes a head, an index, a page, a release or a notice (a
revocation, a withdrawal, a fork proof), checks it in numbered steps, and answers what it is and
which digests are wanted next, or raises a `Refusal` that names the step. Roots and delegations
travel inside heads. What is on our own disk passes the same gate as what a stranger sends.

    head ──names──▶ index ──▶ root page ──▶ pages ──▶ releases
    signed by       signed by   each named by digest    signed by the threshold
    a release key   its writer  from above, unsigned    of release keys

Rules it keeps:
 * a length meets its limit before memory is spent, and a digest is wanted before it is parsed;
 * nothing is taken that an accepted document did not name, except heads, and notices of
   publishers that are known;
 * of what was seen, nothing older is taken again (rolled back), and of two things said where one
   may be said, neither (forked);
 * expiry makes a verdict stale and refuses nothing: what a key signed before it expired stays
   signed. A document that says itself that it is younger than its key is refused;
 * a refused document changes nothing, except that a fork is remembered;
 * the rule for a publisher can let a release through that is not signed as it should be, that was
   taken back or whose publisher forked, with that verdict; it changes nothing for what is believed
   of the publisher, or where bytes are not what was named.

It is not thread-safe, keeps nothing on disk, and forgets publishers it has not heard of for long:
the node offers what the store has whenever it needs a publisher whose `state` is None.

A release key that is limited to some repos cannot release others, nor point their refs anywhere in
the index it signs. It could still leave others out, or repeat an older release of them: the next
index of an unlimited writer merges that away.

>>> catalog = TrustedCatalog()
>>> catalog.is_wanted(bytes(32)), catalog.state(PublisherId(bytes(32)))
(False, None)
>>> catalog.offer(b"anything", now=0)
Traceback (most recent call last):
...
p2phub.trust.refusals.WrongBytesRefusal: this page: wanted? No: no accepted document names it
"""

from collections.abc import Callable
from dataclasses import dataclass

from p2phub.errors import MalformedError
from p2phub.formats import limits
from p2phub.formats.digest import sha256
from p2phub.formats.ids import PublisherId, commit_id
from p2phub.formats.manifest import Release
from p2phub.formats.notices import NOTICES, Notice
from p2phub.formats.publisher import Head, Index, Page, ReleaseKey
from p2phub.trust.envelope import Envelope, claimed_type, is_envelope
from p2phub.trust.history import Histories, History, Order, PublisherState
from p2phub.trust.notices import standing_of
from p2phub.trust.noticing import take_notice
from p2phub.trust.policy import Rule
from p2phub.trust.recent import Checked, RecentDocuments
from p2phub.trust.records import read_head
from p2phub.trust.refusals import Refusal, Trail
from p2phub.trust.releases import Case, judge_release, let_through, worse
from p2phub.trust.signers import require_release_keys, require_signers
from p2phub.trust.steps import (
    open_envelope,
    require_asked,
    require_own,
    require_size,
    require_wanted,
    require_writable,
)
from p2phub.trust.verdict import Judgement, Verdict, moment
from p2phub.trust.wants import Listing, WantedIndex, WantedPage, WantedRelease, Wants

__all__ = ["Accepted", "PublisherState", "TrustedCatalog"]


@dataclass(frozen=True, slots=True)
class Accepted:
    """A document that passed the gate."""

    type: str
    digest: bytes
    document: Head | Index | Page | Release | Notice
    data: bytes
    """The bytes to keep and to give on: without signatures that do not count."""
    publisher: PublisherId
    judgement: Judgement
    wants: tuple[bytes, ...]
    """The digests it names, which may be offered next."""


def _strict(publisher: PublisherId) -> Rule:
    """The rule for whom no rule was laid down."""
    return Rule()


class TrustedCatalog:
    """What this node believes, and the gate to it. `rule_of` says what a person has laid down for a
    publisher.
    """

    def __init__(self, rule_of: Callable[[PublisherId], Rule] = _strict) -> None:
        self._rule_of = rule_of
        self._histories = Histories()
        self._wants = Wants()
        self._recent = RecentDocuments()

    def offer(self, data: bytes, now: int, publisher: PublisherId | None = None) -> Accepted:
        """Believe a document and say what it names, or raise `Refusal`.

        `now` is unix seconds and decides about stale only. With a `publisher`, one of anybody else
        is refused.
        """
        if not is_envelope(data):
            return self._page(data, now, publisher, Trail("this page"))
        trail = Trail("this document")
        with trail.step("of a known type"):
            type = claimed_type(data)
        trail.subject = f"this {type}"
        match type:
            case Head.TYPE:
                return self._head(data, now, publisher, trail)
            case Index.TYPE:
                return self._index(data, now, publisher, trail)
            case Release.TYPE:
                return self._release(data, now, publisher, trail)
        if type in NOTICES:
            return self._notice(data, publisher, trail, known=False)
        with trail.step("offered alone"):
            raise MalformedError(f"a {type} is offered inside a head")

    def offer_known(self, data: bytes) -> Accepted:
        """A notice that was accepted before a restart."""
        trail = Trail("this notice")
        with trail.step("of a known type"):
            claimed_type(data)
        return self._notice(data, None, trail, known=True)

    def recall(self, publisher: PublisherId, floor: Order) -> None:
        """How far a publisher had come before a restart: no older head is taken."""
        self._histories.recall(publisher, floor)

    def recall_index(
        self, publisher: PublisherId, writer: bytes, number: int, digest: bytes
    ) -> None:
        """Which index of a known publisher had this number of its writer, before a restart."""
        history = self._histories.of(publisher)
        if history is not None:
            history.recall_index(writer, number, digest)

    def history(self, publisher: PublisherId) -> History | None:
        """All that is remembered of a publisher; None if no head of it was accepted."""
        return self._histories.of(publisher)

    def state(self, publisher: PublisherId) -> PublisherState | None:
        """What is believed of a publisher; None if no head of it was accepted."""
        return self._histories.state(publisher)

    def is_wanted(self, digest: bytes) -> bool:
        """Whether an accepted document, or `expect`, named `digest`."""
        return digest in self._wants

    def lets_through(self, publisher: PublisherId) -> bool:
        """Whether the rule for a publisher takes what is not signed as it should be."""
        return self._rule_of(publisher).decide(Verdict.UNSIGNED) != "refuse"

    def expect(self, digest: bytes, publisher: PublisherId) -> None:
        """Let a release be offered that somebody named by its commit id, listed or not."""
        if publisher not in self._wants.get(digest, WantedRelease):
            self._wants.add(publisher, digest, WantedRelease())

    def forget_wants(self, publisher: PublisherId) -> None:
        """Want nothing of `publisher` until its documents are offered again."""
        self._wants.forget(publisher)

    def _head(self, data: bytes, now: int, asked: PublisherId | None, trail: Trail) -> Accepted:
        # 1. to 8. It holds by itself: roots, delegation, signature.
        record = read_head(data, trail)
        publisher, head = record.publisher, record.head
        trail.subject = f"the head of {publisher.short}"
        # 9. It is of the publisher that was asked for.
        require_asked(asked, publisher, trail)
        # 10. It does not contradict what was seen, nor is it older.
        forgotten = self._histories.take(record, trail)
        if forgotten is not None:
            self._wants.forget(forgotten)
        self._wants.add(publisher, head.index, WantedIndex(head.seq))
        return self._accept(record.envelope, head, publisher, trail, now, (head.index,))

    def _index(self, data: bytes, now: int, asked: PublisherId | None, trail: Trail) -> Accepted:
        # 1. It is an envelope no larger than that of an index may be.
        envelope = open_envelope(data, trail)
        # 2. An accepted head named it.
        digest = envelope.digest
        named_by = require_wanted(self._wants, digest, WantedIndex, asked, trail)
        # 3. It parses, and every number in it is within its limit.
        with trail.step("parses as an index"):
            known = self._recent.document(digest, Index)
            index = known or Index.from_payload(envelope.payload)
        # 4. It is of the publisher whose head named it, and that one has not forked.
        publisher, want = require_own(index.publisher, named_by, trail)
        history = self._histories.believed(publisher, self._rule_of(publisher), trail)
        # 5. Its writer has signed it, and is a release key in force.
        identity, signers = history.state.identity, self._signers(envelope, digest, trail)
        writer = index.writer.hex()[:16]
        signed = index.writer in signers
        trail.require(signed, "signed by its writer", writer, Verdict.UNTRUSTED_KEY)
        require_release_keys(
            identity,
            frozenset({index.writer}),
            1,
            None,
            index.created,
            trail,
            lambda key: standing_of(history.notices, identity, key, None, digest),
        )
        # 6. Its seq is the one that the head gave it.
        seqs = f"seq {index.seq}, the head says {want.seq}"
        trail.require(index.seq == want.seq, "as its head says", seqs, Verdict.CORRUPT)
        # 7. It counts on from its parents, and is the only one with its writer's number.
        history.take_index(index, digest, trail)
        # A revoked key has no limits any more, and was within them when it wrote its last index.
        key = identity.release_key(index.writer) or ReleaseKey(index.writer)
        self._wants.add(publisher, index.pages, WantedPage(Listing(index.seq, key, digest)))
        self._remember(envelope, digest, index, signers)
        kept = envelope.only([index.writer])
        return self._accept(kept, index, publisher, trail, now, (index.pages,))

    def _page(self, data: bytes, now: int, asked: PublisherId | None, trail: Trail) -> Accepted:
        # 1. It is no larger than a page may be.
        require_size(data, limits.MAX_PAGE, trail)
        # 2. An accepted index or page named it.
        digest = sha256(data)
        named_by = require_wanted(self._wants, digest, WantedPage, asked, trail)
        # 3. It parses, and every number in it is within its limit.
        with trail.step("parses as a page"):
            page = self._recent.document(digest, Page) or Page.from_payload(data)
        # 4. It may stand where it was named. Several publishers may have named it: a stranger who
        #    names somebody's page cannot take it away.
        refusal: Refusal | None = None
        placed: list[Accepted] = []
        for publisher, want in named_by.items():
            try:
                placed.append(self._place(page, data, digest, publisher, want, trail.branch(), now))
            except Refusal as error:
                refusal = refusal or error
        if refusal is not None and not placed:
            raise refusal
        self._recent.keep(digest, Checked(page), len(data))
        return placed[0]

    def _place(
        self,
        page: Page,
        data: bytes,
        digest: bytes,
        publisher: PublisherId,
        want: WantedPage,
        trail: Trail,
        now: int,
    ) -> Accepted:
        # 1. Its publisher has not forked.
        self._histories.believed(publisher, self._rule_of(publisher), trail)
        # 2. It is the page that its parent says it is.
        with trail.step("where its parent says"):
            if want.parent is not None:
                want.parent.check_child(digest, page)
        # 3. It says nothing that its index could not, nor what its writer may not write.
        require_writable(page, want.listing, trail)
        names = self._want_below(page, publisher, want.listing)
        judgement = self._judgement(publisher, trail, now)
        return Accepted(Page.TYPE, digest, page, data, publisher, judgement, names)

    def _release(self, data: bytes, now: int, asked: PublisherId | None, trail: Trail) -> Accepted:
        # 1. It is an envelope no larger than that of a release may be.
        envelope = open_envelope(data, trail)
        # 2. An accepted page listed it, or somebody named its commit.
        digest = envelope.digest
        named_by = require_wanted(self._wants, digest, WantedRelease, asked, trail)
        # 3. It parses: every path is safe, every number within its limit.
        with trail.step("parses as a release") as finding:
            known = self._recent.document(digest, Release)
            release = known or Release.from_payload(envelope.payload)
            finding.detail = f"{len(release.files)} files, signed at {moment(release.created)}"
        # 4. It is of the publisher who listed it, and that one has not forked.
        publisher, want = require_own(release.publisher, named_by, trail)
        trail.subject = f"release {commit_id(digest)[:16]} of {publisher.short}/{release.name}"
        rule = self._rule_of(publisher)
        history = self._histories.believed(publisher, rule, trail)
        # 5. It is of the repo it is listed under.
        listed = not want.listed or (release.name, release.kind) in want.listed
        where = ", ".join(sorted(f"{kind} {name}" for name, kind in want.listed)) or "not listed"
        trail.require(listed, "of the repo that lists it", where, Verdict.UNTRUSTED_KEY)
        # 6. to 8. It is signed by enough release keys in force, and nobody took it back.
        verdict, signers = self._signed(envelope, digest, rule, trail)
        state, notices = history.state, history.notices
        since, listing = want.since, want.listing
        case = Case(digest, release, signers, state.identity, notices, since, listing, state.index)
        judged, counted = judge_release(case, rule, trail)
        if verdict is Verdict.VERIFIED:
            self._remember(envelope, digest, release, signers)
        if history.state.forked:
            judged = worse(judged, Verdict.FORKED)
        kept = envelope.only(counted) if signers else envelope
        return self._accept(kept, release, publisher, trail, now, (), worse(verdict, judged))

    def _notice(
        self, data: bytes, asked: PublisherId | None, trail: Trail, *, known: bool
    ) -> Accepted:
        # 1. It is an envelope no larger than that of a notice may be.
        envelope = open_envelope(data, trail)
        # 2. It parses, and every number in it is within its limit.
        with trail.step(f"parses as a {envelope.type}"):
            notice = NOTICES[envelope.type].from_payload(envelope.payload)
        publisher = PublisherId(notice.publisher)
        trail.subject = f"the {envelope.type} of {publisher.short}"
        require_asked(asked, publisher, trail)
        # 3. Its publisher is known.
        history = self._histories.known(publisher, trail)
        # 4. and 5. Whoever may has signed it, and there is room for it.
        kept = take_notice(history, envelope, notice, known, trail)
        judgement = Judgement(Verdict.VERIFIED, None, trail.steps)
        return Accepted(
            envelope.type, envelope.digest, notice, kept.pack(), publisher, judgement, ()
        )

    def _signed(
        self, envelope: Envelope, digest: bytes, rule: Rule, trail: Trail
    ) -> tuple[Verdict, frozenset[bytes]]:
        """Whoever signed a release; nobody, if that is what the rule lets through."""
        try:
            return Verdict.VERIFIED, self._signers(envelope, digest, trail)
        except Refusal as error:
            return let_through(error, rule), frozenset()

    def _signers(self, envelope: Envelope, digest: bytes, trail: Trail) -> frozenset[bytes]:
        return require_signers(envelope, trail, self._recent.signers(digest, envelope))

    def _remember(
        self,
        envelope: Envelope,
        digest: bytes,
        document: Index | Release,
        signers: frozenset[bytes],
    ) -> None:
        """Neither parse these bytes nor check these signatures again soon."""
        checked = Checked(document, envelope.signatures, signers)
        self._recent.keep(digest, checked, len(envelope.payload))

    def _accept(
        self,
        envelope: Envelope,
        document: Head | Index | Release,
        publisher: PublisherId,
        trail: Trail,
        now: int,
        names: tuple[bytes, ...],
        verdict: Verdict = Verdict.VERIFIED,
    ) -> Accepted:
        judgement = self._judgement(publisher, trail, now)
        if isinstance(document, Release) and judgement.verdict is Verdict.STALE:
            self._require_fresh_enough(publisher, judgement, trail)
        if verdict is not Verdict.VERIFIED:
            judgement = Judgement(verdict, None, trail.steps)
        return Accepted(
            envelope.type, envelope.digest, document, envelope.pack(), publisher, judgement, names
        )

    def _judgement(self, publisher: PublisherId, trail: Trail, now: int) -> Judgement:
        state = self._histories.state(publisher)
        return Judgement.of(trail.steps, state.fresh_until if state else None, now)

    def _require_fresh_enough(
        self, publisher: PublisherId, judgement: Judgement, trail: Trail
    ) -> None:
        allowed = self._rule_of(publisher).decide(Verdict.STALE) != "refuse"
        trail.require(allowed, "fresh enough", judgement.text, Verdict.STALE)

    def _want_below(
        self, page: Page, publisher: PublisherId, listing: Listing
    ) -> tuple[bytes, ...]:
        """Want what an accepted page names."""
        for _, child in page.children:
            self._wants.add(publisher, child, WantedPage(listing, page))
        releases: dict[bytes, WantedRelease] = {}
        for entry in page.entries:
            for ref in entry.refs.values():
                known = releases.get(ref.release, WantedRelease(since=ref.seq))
                listed = known.listed | {(entry.name, entry.kind)}
                since = min(ref.seq, known.since or ref.seq)
                releases[ref.release] = WantedRelease(listed, since, listing)
        for digest, want in releases.items():
            self._wants.add(publisher, digest, want)
        return (*(child for _, child in page.children), *releases)
