"""What others say of publishers: offered to the gate once, and told apart from what is known.

Heads, revocations, withdrawals and fork proofs come in by many ways, most of them many times. Only
what the gate takes and what was not here before is news, and only news are handed on.

Rules it keeps:
 * of publishers that this node does not know nothing is kept, not even that it was said;
 * the same bytes are offered to the gate once; what it refused is offered again only after its
   publisher was heard of, because a head may have come after the notice that needs it;
 * memory is bounded: `TAKEN` and `REFUSED` digests;
 * a disk that is full is no fault of whoever says something.

Who may say how much, and whom it is handed to, is `p2phub.node.spreading`'s business.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, ParamSpec, Protocol, TypeVar

from p2phub.errors import ForkedError, MalformedError, P2PHubError, UntrustedError
from p2phub.formats.digest import sha256
from p2phub.formats.ids import PublisherId
from p2phub.formats.notices import NOTICES, ForkProof, Notice
from p2phub.formats.publisher import Head
from p2phub.node.knowledge import Knowledge
from p2phub.store.store import Store
from p2phub.trust.catalog import Accepted, PublisherState
from p2phub.trust.envelope import claimed_type, is_envelope, unpack

log = logging.getLogger(__name__)
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

TAKEN: Final = 8192
"""Documents that are known to be known."""
REFUSED: Final = 4096
"""Documents that are known to be refused."""


@dataclass(frozen=True, slots=True)
class News:
    """A head or a notice that was not known here, as the gate took it."""

    publisher: PublisherId
    type: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of some documents."""

    news: tuple[News, ...] = ()
    refused: int = 0
    """So many of them the gate refuses."""
    unknown: int = 0
    """So many are of publishers that nobody knows here."""
    old: int = 0
    """So many the gate had to look at only to find that they are known."""
    shaken: frozenset[PublisherId] = frozenset()
    """Publishers of which something that was good may be refused from now on."""


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What became of one document."""

    verdict: Literal["news", "known", "unknown", "refused"]
    publisher: PublisherId | None = None
    type: str = ""
    data: bytes = b""
    shakes: bool = False
    """Whether releases of its publisher may be refused from now on."""


class OnDisk(Protocol):
    """Runs blocking work of the store in a thread."""

    async def __call__(
        self, work: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Result: ...


class Hearsay:
    """The one place where documents that nobody asked for meet the gate. Used in trio's thread."""

    def __init__(self, store: Store, knowledge: Knowledge, on_disk: OnDisk) -> None:
        self._store, self._knowledge, self._on_disk = store, knowledge, on_disk
        self._taken: OrderedDict[bytes, None] = OrderedDict()
        self._refused: OrderedDict[bytes, PublisherId | None] = OrderedDict()

    def remember(self, data: bytes) -> None:
        """A document of our own is no news, whoever says it."""
        self._taken[sha256(data)] = None
        if len(self._taken) > TAKEN:
            self._taken.popitem(last=False)

    async def take(self, documents: Sequence[bytes]) -> Taken:
        """Offer to the gate what was not offered before."""
        digests = [sha256(data) for data in documents]
        refused = sum(digest in self._refused for digest in digests)
        fresh = {
            digest: data
            for digest, data in zip(digests, documents, strict=True)
            if digest not in self._taken and digest not in self._refused
        }
        if not fresh:
            return Taken(refused=refused)
        for data in fresh.values():
            self.remember(data)  # so that nobody else offers it meanwhile
        try:
            outcomes = await self._on_disk(self._offer_all, tuple(fresh.values()))
        except BaseException:
            for digest in fresh:
                self._taken.pop(digest, None)
            raise
        return self._sorted(dict(zip(fresh, outcomes, strict=True)), refused)

    def _sorted(self, outcomes: dict[bytes, _Outcome], refused: int) -> Taken:
        for digest, outcome in outcomes.items():
            if outcome.verdict in ("unknown", "refused"):
                self._taken.pop(digest, None)
            if outcome.verdict == "refused":
                refused += 1
                self._refused[digest] = outcome.publisher
        while len(self._refused) > REFUSED:
            self._refused.popitem(last=False)
        news = tuple(
            News(each.publisher, each.type, each.data)
            for each in outcomes.values()
            if each.verdict == "news" and each.publisher is not None
        )
        for each in news:
            self.remember(each.data)
        self._give_another_chance({each.publisher for each in news})
        shaken = frozenset(
            each.publisher for each in outcomes.values() if each.shakes and each.publisher
        )
        verdicts = [each.verdict for each in outcomes.values()]
        return Taken(news, refused, verdicts.count("unknown"), verdicts.count("known"), shaken)

    def _give_another_chance(self, publishers: set[PublisherId]) -> None:
        """What was refused of a publisher may be right now that there is news of it."""
        for digest in [each for each, whose in self._refused.items() if whose in publishers]:
            del self._refused[digest]

    def _offer_all(self, documents: Sequence[bytes]) -> list[_Outcome]:
        return [self._offer(data) for data in documents]

    def _offer(self, data: bytes) -> _Outcome:
        publisher, before = None, None
        try:
            publisher, digest = _named(data)
            if not self.knows(publisher):
                return _Outcome("unknown")
            known, before = self._store.documents.get(digest), self._state(publisher)
            accepted = self._learn(publisher, data)
        except UntrustedError as error:
            log.debug("refused what was told: %s", error)
            is_fork = isinstance(error, ForkedError) and not (before and before.forked)
            return _Outcome("refused", publisher, shakes=is_fork)
        except P2PHubError as error:
            log.warning("what was told cannot be kept: %s", error)
            return _Outcome("unknown")
        after, is_head = self._state(publisher), accepted.type == Head.TYPE
        is_newest = after is not None and after.head == accepted.digest
        if known == accepted.data or (is_head and not is_newest):
            return _Outcome("known")
        shakes = not is_head or before is None or _stands(before) != _stands(after)
        return _Outcome("news", publisher, accepted.type, accepted.data, shakes)

    def _learn(self, publisher: PublisherId, data: bytes) -> Accepted:
        if claimed_type(data) == Head.TYPE:
            return self._knowledge.learn_head(publisher, data)
        return self._knowledge.learn_notice(data)

    async def unsaid(self, publisher: PublisherId) -> tuple[bytes, ...]:
        """The newest head of a publisher and its notices, packed, but those that were heard of or
        remembered already.
        """
        found = await self._on_disk(self._newest, publisher)
        return tuple(data for data in found if sha256(data) not in self._taken)

    def _newest(self, publisher: PublisherId) -> tuple[bytes, ...]:
        digest = self._store.documents.head(publisher)
        head = self._store.documents.get(digest) if digest is not None else None
        notices = self._knowledge.notices(publisher)
        return notices if head is None else (head, *notices)

    async def proofs(self) -> tuple[News, ...]:
        """Proofs of forks that came to light here, by whatever way, since this was asked last."""
        found = await self._on_disk(self._knowledge.take_proofs)
        for data in found:
            self.remember(data)
        return tuple(News(_named(data)[0], ForkProof.TYPE, data) for data in found)

    def knows(self, publisher: PublisherId) -> bool:
        """Whether this node has to do with a publisher: it is pinned, our own, or known by a head.

        Asks the disk.
        """
        documents = self._store.documents
        return (
            documents.head(publisher) is not None
            or publisher in documents.aliases().pins.values()
            or publisher == documents.own_publisher()
        )

    def _state(self, publisher: PublisherId) -> PublisherState | None:
        try:
            return self._knowledge.state(publisher)
        except UntrustedError:  # it rotted on this disk, and another one mends that
            return None


def _stands(state: PublisherState | None) -> tuple[bytes, bytes] | None:
    """What decides about a publisher's releases, beside its notices."""
    if state is None:
        return None
    return state.identity.chain[-1].digest, state.identity.delegation_digest


def _named(data: bytes) -> tuple[PublisherId, bytes]:
    """Whose head or notice these bytes are, and its digest. Raises `MalformedError`."""
    if not is_envelope(data):
        raise MalformedError("neither a head nor a notice")
    kinds: dict[str, type[Head | Notice]] = {Head.TYPE: Head, **NOTICES}
    kind = kinds.get(claimed_type(data))
    if kind is None:
        raise MalformedError(f"a {claimed_type(data)} is not told to others")
    envelope = unpack(data)
    return PublisherId(kind.from_payload(envelope.payload).publisher), envelope.digest
