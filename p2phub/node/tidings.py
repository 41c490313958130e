"""What a medium says of publishers: heads, what was taken back, and their catalogs.

All of it goes through the gate, as when a peer tells it. Publishers count of whom a release is
carried, or who are known here already: a stick does not fill the store with strangers. An older
head is no fault, for a stick may travel for long; it changes nothing. A catalog is the index and
the pages of a head that is believed: with them search, and every ref of that publisher, are as new
as the stick, whether the releases are on it or not.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from p2phub.airgap.medium import Medium
from p2phub.bundle_results import BundleHead
from p2phub.errors import MalformedError, P2PHubError, RolledBackError, UntrustedError
from p2phub.formats.bundle import Contents
from p2phub.formats.ids import PublisherId
from p2phub.formats.limits import MAX_INDEX, MAX_PAGE
from p2phub.formats.notices import NOTICES
from p2phub.formats.publisher import Head, Index, Page
from p2phub.node.events import Report, Warned
from p2phub.node.knowledge import Kind, Knowledge
from p2phub.node.services import Services
from p2phub.trust.envelope import claimed_type, is_envelope, unpack

MOST_PAGES: Final = 10_000
"""Pages of one publisher that are taken from a medium; the rest is fetched when it is needed."""
_ROOM: Final = 4096
"""Bytes of signatures around an index."""


@dataclass(slots=True)
class Learnt:
    """What came of the heads and notices of a medium."""

    heads: dict[PublisherId, BundleHead] = field(default_factory=dict)
    """Whom a head was believed of that is not older than what was known."""
    notices: int = 0
    older: dict[PublisherId, RolledBackError] = field(default_factory=dict)
    refused: dict[PublisherId, UntrustedError] = field(default_factory=dict)
    """Why a head was refused; the last of each publisher."""
    complaints: list[str] = field(default_factory=list)


def learn_all(services: Services, medium: Medium, contents: Sequence[Contents]) -> Learnt:
    """Offer every head to the gate, then every notice, then the catalogs of those heads."""
    learnt, knowledge = Learnt(), services.knowledge
    counted = {PublisherId(meant.publisher) for each in contents for meant in each.releases}
    counted.update(services.store.documents.publishers())

    def head(data: bytes, made: int) -> None:
        publisher = _publisher_of(data, {Head.TYPE: Head})
        if publisher not in counted:
            return
        before = _seq(knowledge, publisher)
        try:
            knowledge.learn_head(publisher, data)
        except RolledBackError as error:
            learnt.older[publisher] = error
            return
        except UntrustedError as error:
            learnt.refused[publisher] = error
            raise
        seq = _seq(knowledge, publisher)
        outcome = "newer" if seq != before else "known"
        learnt.heads[publisher] = BundleHead(str(publisher), outcome, seq or 0, made)

    def notice(data: bytes, made: int) -> None:
        if _publisher_of(data, NOTICES) in counted:
            knowledge.learn_notice(data)
            learnt.notices += 1

    now = services.now()
    for each in contents:
        for data in each.heads:
            _offer(head, data, min(each.made, now), learnt)
    for data, made in {data: each.made for each in contents for data in each.notices}.items():
        _offer(notice, data, made, learnt)
    for publisher in learnt.heads:
        _take_catalog(knowledge, medium, publisher)
    return learnt


def tell_of(learnt: Learnt, report: Report) -> None:
    """Report what was not believed, and what was older."""
    for complaint in dict.fromkeys(learnt.complaints):
        report(Warned(f"a head or notice in the bundle is not believed: {complaint}"))
    for publisher in learnt.older.keys() - learnt.heads.keys():
        report(Warned(f"what the bundle says of {publisher} is older than what is known here"))


def heads_of(learnt: Learnt) -> Iterator[BundleHead]:
    """What came of each publisher's head."""
    yield from learnt.heads.values()
    for publisher, error in {**learnt.older, **learnt.refused}.items():
        if publisher not in learnt.heads:
            outcome = "refused" if publisher in learnt.refused else "older"
            yield BundleHead(str(publisher), outcome, reason=error.message)


def publisher_of_news(data: bytes) -> PublisherId | None:
    """Whose head or notice it says it is; None if it is neither."""
    try:
        return _publisher_of(data, {Head.TYPE: Head, **NOTICES})
    except UntrustedError:
        return None


def _offer(learn: Callable[[bytes, int], None], data: bytes, made: int, learnt: Learnt) -> None:
    try:
        learn(data, made)
    except UntrustedError as error:
        learnt.complaints.append(error.message)


def _publisher_of(data: bytes, kinds: Mapping[str, type]) -> PublisherId:
    """Whose head or notice it says it is. Raises `MalformedError`."""
    kind = kinds.get(claimed_type(data)) if is_envelope(data) else None
    if kind is None:
        raise MalformedError("something else than heads and notices is among them")
    return PublisherId(kind.from_payload(unpack(data).payload).publisher)  # type: ignore[attr-defined]


def _seq(knowledge: Knowledge, publisher: PublisherId) -> int | None:
    """The number of the newest index; None if nothing of the publisher is known."""
    try:
        state = knowledge.state(publisher)
    except UntrustedError:
        return None
    return state.seq if state is not None else None


def _take_catalog(knowledge: Knowledge, medium: Medium, publisher: PublisherId) -> None:
    """The index of the newest head and its pages, as far as the medium has them."""
    state = knowledge.state(publisher)
    todo: list[tuple[bytes, Kind]] = [(state.index, Index)] if state is not None else []
    for _ in range(MOST_PAGES):
        if not todo:
            return
        digest, kind = todo.pop()
        try:
            limit = MAX_INDEX + _ROOM if kind is Index else MAX_PAGE
            accepted = knowledge.document(digest, kind) or knowledge.learn(
                medium.read("documents", digest, limit), digest, kind
            )
        except P2PHubError:  # it is not there, or is not right: it is fetched when it is needed
            continue
        if isinstance(accepted.document, Index):
            todo.append((accepted.document.pages, Page))
        elif isinstance(accepted.document, Page):
            todo += ((child, Page) for _, child in accepted.document.children)
