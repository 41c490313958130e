"""Take what is in a bundle, which may come from anybody, and look at one.

A bundle says which releases it carries; nothing it says is believed. Heads and notices go through
the gate, as when a peer tells them, and each release is pulled by its commit as any other, with the
bundle as one more source: the same verdict, the same resuming, and nothing half-fetched is seen. A
bundle pins no alias.

Heads that are older than what is known are not kept and are no fault: a stick may travel for long.
What they named and the publisher still has in its history is pulled all the same; where the newer
index is not to be had, it is refused as rolled back.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import trio

from p2phub.airgap.bundle_source import BundleSource
from p2phub.airgap.medium import Medium, look
from p2phub.bundle_results import BundleImported, BundleLook, BundleProblem, BundleRelease
from p2phub.errors import (
    MalformedError,
    NoSourceError,
    NotFoundError,
    P2PHubError,
    RolledBackError,
    UntrustedError,
    WrongBytesError,
)
from p2phub.formats.bundle import Contents, Meant
from p2phub.formats.ids import PublisherId, RepoId
from p2phub.formats.notices import NOTICES
from p2phub.formats.publisher import Head
from p2phub.node.bundling import row_of
from p2phub.node.events import Report, Warned
from p2phub.node.pull import pull
from p2phub.node.services import Services
from p2phub.node.values import BundleImportRequest, PullRequest
from p2phub.trust.envelope import claimed_type, is_envelope, unpack
from p2phub.trust.refusals import verdict_of


@dataclass(slots=True)
class _Learnt:
    """What came of the heads and notices of a bundle."""

    heads: set[PublisherId] = field(default_factory=set)
    notices: int = 0
    older: dict[PublisherId, RolledBackError] = field(default_factory=dict)
    refused: dict[PublisherId, UntrustedError] = field(default_factory=dict)
    """Why a head was refused; the last of each publisher."""
    complaints: list[str] = field(default_factory=list)


async def import_bundle(
    services: Services, request: BundleImportRequest, report: Report
) -> BundleImported:
    """Take everything in a bundle that passes. What was refused is told in the answer, not raised.

    Raises `NotFoundError` if there is no bundle or none that was finished, `WrongBytesError` if
    what says which releases it carries is damaged, `NoSourceError` if it cannot be read.
    """
    started = trio.current_time()
    medium = await services.on_disk(look, request.path)
    try:
        for name, problem in medium.problems.items():
            report(Warned(f"{name} is left alone: {problem}"))
        contents = _newest_first(medium)
        learnt = await services.on_disk(_learn_all, services, contents)
        _tell_of(learnt, report)
        for publisher in learnt.heads:
            services.spreading.changed(publisher)
            await services.withdrawals.check(publisher)
        rows, fetched = [], 0
        with services.neighbours.lent(BundleSource(medium)):
            for meant in _releases(contents):
                row, came = await _take(services, meant, learnt, report)
                rows.append(row)
                fetched += came
    finally:
        medium.close()
    return BundleImported(
        path=request.path,
        releases=tuple(rows),
        heads=len(learnt.heads),
        notices=learnt.notices,
        bytes_fetched=fetched,
        seconds=trio.current_time() - started,
        exit=next((row.exit for row in rows if row.exit), 0),
    )


def inspect_bundle(path: Path) -> BundleLook:
    """What a bundle says of itself. Raises `NotFoundError`, `NoSourceError`."""
    medium = look(path)
    try:
        contents = [medium.contents[number] for number in sorted(medium.contents, reverse=True)]
        packs = [index for kind in medium.packs.values() for index in kind.values()]
        return BundleLook(
            path=path,
            made=contents[0].made if contents else None,
            releases=tuple(_listed(meant) for meant in _releases(contents)),
            pieces=sum(len(index) for index in medium.packs["pieces"].values()),
            bytes=sum(row.length for index in packs for row in index),
            problems=tuple(BundleProblem(*each) for each in medium.problems.items()),
        )
    finally:
        medium.close()


def _newest_first(medium: Medium) -> Sequence[Contents]:
    found = [medium.contents[number] for number in sorted(medium.contents, reverse=True)]
    if not found and any(name.endswith(".list") for name in medium.problems):
        raise WrongBytesError(
            f"what says which releases are in {medium.path} is damaged",
            remedy="export them again, onto this medium or a better one",
        )
    if not found:
        raise NotFoundError(
            f"no export to {medium.path} was finished",
            remedy="run the same `p2phub bundle export` again: it goes on from there",
        )
    return found


def _releases(contents: Iterable[Contents]) -> Sequence[Meant]:
    """Each release once, those of the newest export first."""
    return tuple({meant.digest: meant for each in contents for meant in each.releases}.values())


def _listed(meant: Meant) -> BundleRelease:
    repo = RepoId(PublisherId(meant.publisher), meant.name)
    return row_of(repo, meant.digest, meant.kind, meant.size)


def _learn_all(services: Services, contents: Sequence[Contents]) -> _Learnt:
    """Offer every head to the gate, then every notice."""
    learnt, knowledge = _Learnt(), services.knowledge
    meant = {PublisherId(each.publisher) for each in _releases(contents)}

    def head(data: bytes) -> None:
        publisher = _publisher_of(data, {Head.TYPE: Head})
        if publisher not in meant:
            return
        try:
            knowledge.learn_head(publisher, data)
            learnt.heads.add(publisher)
        except RolledBackError as error:
            learnt.older[publisher] = error
        except UntrustedError as error:
            learnt.refused[publisher] = error
            raise

    def notice(data: bytes) -> None:
        if _publisher_of(data, NOTICES) in meant:
            knowledge.learn_notice(data)
            learnt.notices += 1

    for each in dict.fromkeys(data for one in contents for data in one.heads):
        _offer(head, each, learnt.complaints)
    for each in dict.fromkeys(data for one in contents for data in one.notices):
        _offer(notice, each, learnt.complaints)
    return learnt


def _offer(learn: Callable[[bytes], None], data: bytes, complaints: list[str]) -> None:
    try:
        learn(data)
    except UntrustedError as error:
        complaints.append(error.message)


def _publisher_of(data: bytes, kinds: Mapping[str, type]) -> PublisherId:
    """Whose head or notice it says it is. Raises `MalformedError`."""
    kind = kinds.get(claimed_type(data)) if is_envelope(data) else None
    if kind is None:
        raise MalformedError("something else than heads and notices is among them")
    return PublisherId(kind.from_payload(unpack(data).payload).publisher)  # type: ignore[attr-defined]


def _tell_of(learnt: _Learnt, report: Report) -> None:
    for complaint in dict.fromkeys(learnt.complaints):
        report(Warned(f"a head or notice in the bundle is not believed: {complaint}"))
    for publisher in learnt.older.keys() - learnt.heads:
        report(Warned(f"what the bundle says of {publisher} is older than what is known here"))


async def _take(
    services: Services, meant: Meant, learnt: _Learnt, report: Report
) -> tuple[BundleRelease, int]:
    """Pull one release; what came of it, and how many bytes were fetched."""
    row = _listed(meant)
    publisher = PublisherId(meant.publisher)
    try:
        refused = learnt.refused.get(publisher)
        if refused is not None and not await services.on_disk(_is_known, services, publisher):
            raise refused
        was_here = meant.digest in await services.on_disk(services.store.repos.held_releases)
        pulled = await pull(services, PullRequest(row.ref), report)
    except P2PHubError as failed:
        is_old = isinstance(failed, NoSourceError) and publisher not in learnt.heads
        error = learnt.older.get(publisher, failed) if is_old else failed
        report(Warned(f"{row.name} {row.commit[:12]} did not come: {error.message}", error.remedy))
        verdict = verdict_of(error).value if isinstance(error, UntrustedError) else ""
        row = replace(row, outcome="refused", verdict=verdict)
        return replace(row, reason=error.message, exit=error.exit), 0
    outcome = "here" if was_here and not pulled.bytes_fetched else "came"
    done = replace(row, outcome=outcome, verdict=pulled.verdict, bytes=pulled.bytes_total)
    return done, pulled.bytes_fetched


def _is_known(services: Services, publisher: PublisherId) -> bool:
    try:
        return services.knowledge.state(publisher) is not None
    except UntrustedError:
        return False
