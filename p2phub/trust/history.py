"""What the gate remembers of one publisher: the newest head, and enough of the past to catch it
saying two things.

A publisher *forks* when it says two things where it may say one: two indexes with one writer and
one writer number, two delegations with one version, two roots that follow one root in the same way.
From then on nothing of it is believed until it has settled that: `forks` says how.

Two *writers* of one publisher may well make indexes with the same seq at the same time; that is no
fork. Of their heads the one with the greater index digest counts, everywhere the same, until the
next index merges both.

What the publisher took back, and proofs of its forks, are in the history's `notices`.

Rules it keeps:
 * memory only, and little of it: the last `REMEMBERED` indexes. What must outlive this process is
   told to it again (`recall`): how far the publisher had come, and which numbers its writers used;
 * whether a publisher has forked follows from its newest head and from what was found out about it,
   in whatever order that came: a fork that is caught here counts as one that somebody has proved.

How high a seq is proves nothing: who holds a release key can jump ahead (TUF's fast-forward), an
honest publisher can have been away for long, and so no jump is refused. It does no lasting harm
either: a new delegation without that key outranks every seq under the old one.

It leaves to `catalog` which documents are wanted, and to `records` what a head says by itself.
"""

from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from p2phub.formats.ids import PublisherId
from p2phub.formats.publisher import Index
from p2phub.trust.forks import (
    Fork,
    ForkedDelegations,
    ForkedIndexes,
    forked_roots,
)
from p2phub.trust.identity import Comparison, Identity, compare
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
        self._written: OrderedDict[tuple[bytes, int], bytes] = OrderedDict()
        self._seqs: OrderedDict[bytes, int] = OrderedDict()

    def take_head(self, record: HeadRecord, trail: Trail) -> None:
        """Believe a head from now on, or refuse it. It holds by itself already."""
        # 1. Its roots go on from those we know, or overrule them.
        overrules = self._overruled_by(record, trail)
        # 2. The publisher did not sign two delegations with one version.
        if not overrules:
            self._check_delegation(record, trail)
        # 3. A key that was not revoked before has signed it.
        self._check_signers(record, trail)
        # 4. The publisher has not forked, or has settled it.
        if self.state.forked:
            settled = self.notices.forked(record.identity) is None
            trail.require(settled, "not forked", self.state.forked, Verdict.FORKED)
        if overrules:
            self._begin(record)
            self.notice_forks()
            return
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
        other = self._written.get(number, digest)
        if other != digest:
            self._catch(ForkedIndexes(*number, (other, digest)), "one index a number", trail)
        trail.passed("one index a number", f"number {index.writer_seq} of its writer")
        _remember(self._written, number, digest)
        _remember(self._seqs, digest, index.seq)

    def recall_index(self, writer: bytes, number: int, digest: bytes) -> None:
        """That this writer gave this number to the index with this digest, before a restart."""
        _remember(self._written, (writer, number), digest)

    def notice_forks(self) -> None:
        """Look again whether a fork among the notices counts: the state says what it finds."""
        found = self.notices.forked(self.state.identity)
        if found is None:
            self.state = replace(self.state, forked="", fork=())
            return
        which = " and ".join(digest.hex() for digest in found.digests)
        self.state = replace(self.state, forked=f"{found.said}: {which}", fork=found.digests)

    def _overruled_by(self, record: HeadRecord, trail: Trail) -> bool:
        """Whether `record` has roots that were recovered where ours were not; refuses those that
        ours overrule.
        """
        chain = record.identity.chain
        name, known = "its roots go on from those we know", self.state.identity.chain
        comparison = compare(known, chain)
        if comparison is Comparison.OVERRULED:
            trail.refuse(name, "a recovery has overruled them", Verdict.UNTRUSTED_KEY)
        if comparison is Comparison.FORKED:
            self._catch(forked_roots(known, chain), name, trail)
        trail.passed(name, comparison.value)
        return comparison is Comparison.OVERRULES

    def _check_delegation(self, record: HeadRecord, trail: Trail) -> None:
        name, identity, known = "one delegation a version", record.identity, self.state.identity
        digests = (known.delegation_digest, identity.delegation_digest)
        if record.order[:2] == self.state.order[:2] and len(set(digests)) == 2:
            root = identity.chain[-1].digest
            version = identity.delegation.version
            self._catch(ForkedDelegations(root, version, digests), name, trail)
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

    def _catch(self, fork: Fork, step: str, trail: Trail) -> None:
        """Both sides of a fork came by here: refuse the second, unless the fork is settled."""
        self.notices.fork(fork, self.state.identity)
        self.notice_forks()
        if self.notices.is_open(fork, self.state.identity):
            trail.refuse(step, self.state.forked, Verdict.FORKED)

    def _take(self, record: HeadRecord) -> None:
        new = _state_of(record)
        if _rank(new) >= _rank(self.state):
            self.record, self.state = record, new
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


def _shown(order: Order) -> str:
    return "root {}, delegation {}, seq {}".format(*order)


def _remember(
    memory: OrderedDict[Key, Value], key: Key, value: Value, most: int | None = None
) -> None:
    memory[key] = value
    memory.move_to_end(key)
    if len(memory) > (REMEMBERED if most is None else most):
        memory.popitem(last=False)
