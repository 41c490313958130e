"""What the gate remembers of one publisher: the newest head, and enough of the past to catch it
saying two things.

A publisher *forks* when it says two things where it may say one: two indexes with one writer and
one writer number, two delegations with one version, two roots that follow one root in the same way.
From then on nothing of it is believed until it has signed a new delegation; where its roots forked,
until a recovery overrules both.

Two *writers* of one publisher may well make indexes with the same seq at the same time; that is no
fork. Of their heads the one with the greater index digest counts, everywhere the same, until the
next index merges both.

What the publisher took back, and proofs of its forks, are in the history's `notices`.

Rules it keeps:
 * memory only, and little of it: the last `REMEMBERED` indexes. What must outlive this process is
   told to it again (`recall`): how far the publisher had come, and which numbers its writers used;
 * what was seen under an older delegation does not bind a newer one.

How high a seq is proves nothing: who holds a release key can jump ahead (TUF's fast-forward), an
honest publisher can have been away for long, and so no jump is refused. It does no lasting harm
either: a new delegation without that key outranks every seq under the old one.

It leaves to `catalog` which documents are wanted, and to `records` what a head says by itself.
"""

from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Final, NoReturn, TypeVar

from p2phub.formats.ids import PublisherId
from p2phub.formats.publisher import Index
from p2phub.trust.identity import Chain, Comparison, Identity, compare
from p2phub.trust.notices import Notices, standing_of
from p2phub.trust.policy import Rule
from p2phub.trust.records import HeadRecord
from p2phub.trust.refusals import Refusal, Trail
from p2phub.trust.verdict import Verdict

Key = TypeVar("Key")
Value = TypeVar("Value")

REMEMBERED: Final = 256
"""Indexes of one publisher that are kept in mind, to notice a second one with the same number."""
PUBLISHERS: Final = 4096
"""Publishers that are kept in mind."""

Order = tuple[int, int, int]
"""(root v, delegation version, seq) of a head."""


@dataclass(frozen=True, slots=True)
class PublisherState:
    """What is believed of a publisher now."""

    identity: Identity
    head: bytes
    """The digest of the newest head."""
    order: Order
    """That of this head."""
    index: bytes
    """The digest of the index it names, which need not be here yet."""
    fresh_until: int | None
    """The last second at which this is fresh; None: it always is."""
    forked: str = ""
    """What it said twice, with the digests of both; empty while it did not."""
    fork: tuple[bytes, ...] = ()
    """Those two digests."""

    @property
    def publisher(self) -> PublisherId:
        return self.identity.publisher

    @property
    def seq(self) -> int:
        """The seq of the newest index."""
        return self.order[2]


class History:
    """The past of one publisher, from the first head we saw on."""

    def __init__(self, first: HeadRecord) -> None:
        self.notices = Notices()
        self._begin(first)

    def _begin(self, record: HeadRecord) -> None:
        self.record = record
        self.state = _state_of(record)
        self._rival: Chain | None = None
        self._caught = False
        """Whether we saw both sides of the fork ourselves."""
        self._written: OrderedDict[tuple[bytes, int], bytes] = OrderedDict()
        self._seqs: OrderedDict[bytes, int] = OrderedDict()

    def take_head(self, record: HeadRecord, trail: Trail) -> None:
        """Believe a head from now on, or refuse it. It holds by itself already."""
        # 1. Its roots go on from those we know.
        if self._overruled_by(record, trail):
            self._begin(record)
            self.notice_forks()
            return
        # 2. The publisher did not sign two delegations with one version.
        self._check_delegation(record, trail)
        # 3. A key that was not revoked before has signed it.
        self._check_signers(record, trail)
        # 4. The publisher has not forked, or has signed a new delegation since.
        if self.state.forked:
            trail.require(
                self._is_settled_by(record), "not forked", self.state.forked, Verdict.FORKED
            )
        # 5. It is not older than what we have seen.
        trail.require(
            record.order >= self.state.order,
            "not rolled back",
            f"{_shown(record.order)}, the newest seen is {_shown(self.state.order)}",
            Verdict.ROLLED_BACK,
        )
        self._take(record)

    def take_index(self, index: Index, digest: bytes, trail: Trail) -> None:
        """Remember an index that its writer signed, or refuse it."""
        # 1. It counts on from its parents, as far as we know them.
        known = [self._seqs[parent] for parent in index.parents if parent in self._seqs]
        complete = len(known) == len(index.parents)
        highest = max(known, default=0)
        trail.require(
            index.seq == highest + 1 if complete else index.seq > highest,
            "counts on from its parents",
            f"seq {index.seq} after {highest}",
            Verdict.CORRUPT,
        )
        # 2. Its writer did not give its number to another index.
        number = (index.writer, index.writer_seq)
        if self._written.get(number, digest) != digest:
            said = (
                f"writer {index.writer.hex()[:16]} signed two indexes with number"
                f" {index.writer_seq}"
            )
            self._fork(said, "one index a number", trail, self._written[number], digest)
        trail.passed("one index a number", f"number {index.writer_seq} of its writer")
        _remember(self._written, number, digest)
        _remember(self._seqs, digest, index.seq)

    def recall_index(self, writer: bytes, number: int, digest: bytes) -> None:
        """That this writer gave this number to the index with this digest, before a restart."""
        _remember(self._written, (writer, number), digest)

    def notice_forks(self) -> None:
        """Look again whether a proof among the notices counts: the state says what it finds."""
        found = self.notices.forked(self.state.identity)
        if found is not None:
            self._set_forked(found.said, *found.digests)

    def _overruled_by(self, record: HeadRecord, trail: Trail) -> bool:
        """Whether `record` has roots that were recovered where ours were not; refuses those that
        ours overrule.
        """
        chain = record.identity.chain
        name, known = "its roots go on from those we know", self.state.identity.chain
        comparison = compare(known, chain)
        if comparison is Comparison.OVERRULED:
            trail.refuse(name, "a recovery has overruled them", Verdict.UNTRUSTED_KEY)
        if comparison is Comparison.FORKED and self._rival is None:
            self._rival = chain
            said = "it has two roots that follow the same root"
            self._fork(said, name, trail, *_parting(known, chain))
        overrules = comparison is Comparison.OVERRULES
        if self._rival is not None:
            overrules = overrules and compare(self._rival, chain) is Comparison.OVERRULES
            trail.require(overrules, name, self.state.forked, Verdict.FORKED)
        trail.passed(name, comparison.value)
        return overrules

    def _check_delegation(self, record: HeadRecord, trail: Trail) -> None:
        name, identity, known = "one delegation a version", record.identity, self.state.identity
        same_version = record.order[:2] == self.state.order[:2]
        if same_version and identity.delegation_digest != known.delegation_digest:
            said = f"it signed two delegations with version {known.delegation.version}"
            self._fork(said, name, trail, known.delegation_digest, identity.delegation_digest)
        trail.passed(name, f"version {identity.delegation.version}")

    def _check_signers(self, record: HeadRecord, trail: Trail) -> None:
        keys = [made.key for made in record.envelope.signatures]
        known = [standing_of(self.notices, record.identity, key, record.head.seq) for key in keys]
        objections = "; ".join(
            f"{key.hex()[:16]} {each.objection}"
            for key, each in zip(keys, known, strict=True)
            if each is not None and not each.good
        )
        good = any(each is None or each.good for each in known)
        trail.require(good, "signed by a key not revoked", objections, Verdict.REVOKED)

    def _is_settled_by(self, record: HeadRecord) -> bool:
        """Whether a head ends the fork: by a new delegation, or, where a proof showed us the fork, by
        whatever settles that.
        """
        newer = record.order[:2] > self.state.order[:2]
        other = record.identity.delegation_digest != self.state.identity.delegation_digest
        proved = not self._caught and self.notices.forked(record.identity) is None
        return (newer and other) or proved

    def _fork(self, said: str, step: str, trail: Trail, *digests: bytes) -> NoReturn:
        self._set_forked(said, *digests)
        self._caught = True
        trail.refuse(step, self.state.forked, Verdict.FORKED)

    def _set_forked(self, said: str, *digests: bytes) -> None:
        which = " and ".join(digest.hex() for digest in digests)
        self.state = replace(self.state, forked=f"{said}: {which}", fork=digests)

    def _take(self, record: HeadRecord) -> None:
        new, old = _state_of(record), self.state
        if new.order[:2] > old.order[:2]:
            self._written.clear()
        if _rank(new) >= _rank(old):
            self.record, self.state, self._caught = record, new, False
            self.notice_forks()


class Histories:
    """The histories of all publishers. The one not heard of for longest is forgotten first."""

    def __init__(self, most: int = PUBLISHERS) -> None:
        self._most = most
        self._histories: OrderedDict[PublisherId, History] = OrderedDict()
        self._floors: OrderedDict[PublisherId, Order] = OrderedDict()

    def state(self, publisher: PublisherId) -> PublisherState | None:
        history = self._histories.get(publisher)
        return None if history is None else history.state

    def of(self, publisher: PublisherId) -> History | None:
        """The history of a publisher; None if no head of it was accepted."""
        return self._histories.get(publisher)

    def recall(self, publisher: PublisherId, floor: Order) -> None:
        """How far a publisher had come before a restart: no head before that is taken first, unless
        its roots were recovered.
        """
        _remember(self._floors, publisher, floor, self._most)

    def take(self, record: HeadRecord, trail: Trail) -> PublisherId | None:
        """Believe a head, or refuse it. Says which publisher had to be forgotten for it, if any."""
        publisher = record.publisher
        history = self._histories.get(publisher)
        if history is not None:
            self._histories.move_to_end(publisher)
            history.take_head(record, trail)
            return None
        floor = self._floors.get(publisher)
        recovered = any(link.how == "recovery" for link in record.identity.chain)
        trail.require(
            floor is None or recovered or record.order >= floor,
            "not rolled back",
            "it is the first we see"
            if floor is None
            else f"{_shown(record.order)}, the newest seen is {_shown(floor)}",
            Verdict.ROLLED_BACK,
        )
        forgotten = self._oldest() if len(self._histories) >= self._most else None
        if forgotten is not None:
            del self._histories[forgotten]
        self._histories[publisher] = History(record)
        return forgotten

    def known(self, publisher: PublisherId, trail: Trail) -> History:
        """The history of a publisher of which a head was accepted."""
        history = self._histories.get(publisher)
        if history is None:
            said = "no head of it was accepted"
            trail.refuse("its publisher is known", said, Verdict.UNTRUSTED_KEY)
        self._histories.move_to_end(publisher)
        return history

    def believed(self, publisher: PublisherId, rule: Rule, trail: Trail) -> History:
        """The same for one that has not forked, unless `rule` lets those through."""
        history = self.known(publisher, trail)
        forked = history.state.forked
        try:
            trail.require(not forked, "its publisher has not forked", forked, Verdict.FORKED)
        except Refusal:
            if rule.decide(Verdict.FORKED) == "refuse":
                raise
        return history

    def _oldest(self) -> PublisherId:
        """Who is forgotten next: that somebody forked is remembered longer than anything else."""
        honest = (who for who, past in self._histories.items() if not past.state.forked)
        return next(honest, next(iter(self._histories)))


def _state_of(record: HeadRecord) -> PublisherState:
    return PublisherState(
        record.identity, record.digest, record.order, record.head.index, record.fresh_until
    )


def _rank(state: PublisherState) -> tuple[Order, bytes, bool, int]:
    """What makes one state of a publisher newer than another: of one index, the fresher head."""
    return state.order, state.index, state.fresh_until is None, state.fresh_until or 0


def _parting(one: Chain, other: Chain) -> tuple[bytes, bytes]:
    """The digests of the first two roots in which these chains differ."""
    pairs = zip(one, other, strict=False)
    return next((a.digest, b.digest) for a, b in pairs if a.digest != b.digest)


def _shown(order: Order) -> str:
    return "root {}, delegation {}, seq {}".format(*order)


def _remember(
    memory: OrderedDict[Key, Value], key: Key, value: Value, most: int | None = None
) -> None:
    memory[key] = value
    memory.move_to_end(key)
    if len(memory) > (REMEMBERED if most is None else most):
        memory.popitem(last=False)
