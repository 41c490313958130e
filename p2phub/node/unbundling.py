"""Take what is in a bundle, which may come from anybody, and look at one.

A bundle says which releases it carries; nothing it says is believed. Heads and notices go through
the gate, as when a peer tells them, and each release is pulled by its commit as any other, with the
bundle as one more source: the same verdict, the same resuming, and nothing half-fetched is seen.
Only nobody waits for what a bundle lacks to turn up elsewhere: it may list 100,000 releases. A
bundle pins no alias.

Heads that are older than what is known are not kept and are no fault: a stick may travel for long.
What they named and the publisher still has in its history is pulled all the same; where the newer
index is not to be had, it is refused as rolled back.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import trio

from p2phub.airgap.bundle_source import BundleSource
from p2phub.airgap.medium import GONE, Medium, look
from p2phub.airgap.turns import reading
from p2phub.bundle_results import BundleImported, BundleLook, BundleProblem, BundleRelease
from p2phub.errors import (
    NoSourceError,
    NotFoundError,
    P2PHubError,
    RefusedError,
    UntrustedError,
    WrongBytesError,
)
from p2phub.formats.bundle import Contents, Meant
from p2phub.formats.ids import PublisherId, RepoId
from p2phub.node.bundling import row_of
from p2phub.node.events import Report, Warned
from p2phub.node.pull import pull
from p2phub.node.quarantining import is_held_back, take_into_quarantine
from p2phub.node.sealing import identities_of
from p2phub.node.services import Services
from p2phub.node.tidings import Learnt, heads_of, learn_all, tell_of
from p2phub.node.values import BundleImportRequest, PullRequest
from p2phub.trust.age import Identity
from p2phub.trust.refusals import verdict_of


@dataclass(frozen=True, slots=True)
class Taken:
    """What came of everything on a medium."""

    rows: tuple[BundleRelease, ...]
    senders: Mapping[str, bytes]
    """Who had put a release there, as the medium says: its commit to the key of a site."""
    learnt: Learnt
    fetched: int
    """Bytes that were not here before."""


async def import_bundle(
    services: Services, request: BundleImportRequest, report: Report
) -> BundleImported:
    """Take everything in a bundle that passes. What was refused is told in the answer, not raised.

    Raises `NotFoundError` if there is no bundle or none that was finished, `WrongBytesError` if
    what says which releases it carries is damaged, `NoSourceError` if it cannot be read,
    `BusyError` if somebody writes to it.
    """
    started = trio.current_time()
    identities = await services.on_disk(identities_of, services, request.identities)
    with reading(request.path):
        medium = await services.on_disk(look, request.path, identities)
        with closing(medium):
            taken = await take_all(services, medium, report, "import")
    return BundleImported(
        path=request.path,
        releases=taken.rows,
        heads=len(taken.learnt.heads),
        notices=taken.learnt.notices,
        bytes_fetched=taken.fetched,
        seconds=trio.current_time() - started,
        publishers=tuple(heads_of(taken.learnt)),
        exit=next((row.exit for row in taken.rows if row.exit), 0),
    )


async def take_all(
    services: Services,
    medium: Medium,
    report: Report,
    act: str,
    wanted: Callable[[Meant], bool] = lambda meant: True,
) -> Taken:
    """Take what is on a medium and `wanted`. Raises as `import_bundle`.

    Which releases that will be is in the audit log before any of it is taken, and what came of each
    before the next; `act`: what the log calls this.
    """
    for name, problem in medium.problems.items():
        report(Warned(f"{name} is left alone: {problem}"))
    if medium.sealed:
        report(Warned("some of it is sealed to other keys, and is left alone"))
    contents = newest_first(medium)
    there = [each for each in releases_in(contents).values() if wanted(each[0])]
    refs = [_listed(meant).ref for meant, _ in there]
    await services.audit.record_all(f"bundle.{act}.taking", refs=refs)
    learnt = await services.on_disk(learn_all, services, medium, contents)
    tell_of(learnt, report)
    for publisher in learnt.heads:
        services.spreading.changed(publisher)
        await services.withdrawals.check(publisher)
    rows, senders, fetched = [], {}, 0
    scope = trio.CancelScope()
    with services.neighbours.lent(BundleSource(medium, scope.cancel)), scope:
        for meant, of in there:
            row, came = await _take(services, meant, of, learnt, medium.path, report)
            await note_release(services, act, row)
            rows.append(row)
            senders[row.commit] = of.site
            fetched += came
    if scope.cancelled_caught:
        whole = sum(row.outcome in ("came", "here") for row in rows)
        raise NoSourceError(
            f"{medium.path} {GONE[0]}: {whole} of its {len(there)} releases came", remedy=GONE[1]
        )
    return Taken(tuple(rows), senders, learnt, fetched)


async def note_release(services: Services, act: str, row: BundleRelease) -> None:
    """Say in the audit log what came of one release."""
    sites = {"sites": ", ".join(row.sites)} if row.sites else {}
    await services.audit.record(
        f"bundle.{act}.release",
        ref=row.ref,
        outcome=row.outcome,
        verdict=row.verdict,
        reason=row.reason,
        bytes=row.bytes,
        **sites,
    )


def inspect_bundle(path: Path, identities: Sequence[Identity] = ()) -> BundleLook:
    """What a bundle says of itself. Raises `NotFoundError`, `NoSourceError`."""
    medium = look(path, identities)
    try:
        contents = [medium.contents[number] for number in sorted(medium.contents, reverse=True)]
        packs = [index for kind in medium.packs.values() for index in kind.values()]
        return BundleLook(
            path=path,
            made=contents[0].made if contents else None,
            releases=tuple(_listed(meant) for meant, _ in releases_in(contents).values()),
            pieces=sum(len(index) for index in medium.packs["pieces"].values()),
            bytes=sum(row.length for index in packs for row in index),
            problems=tuple(BundleProblem(*each) for each in medium.problems.items()),
            part=contents[0].part if contents else 1,
            parts=contents[0].parts if contents else 1,
            sealed=bool(medium.sealed),
        )
    finally:
        medium.close()


def newest_first(medium: Medium) -> Sequence[Contents]:
    """What exports said that they put there.

    Raises `NotFoundError`, `WrongBytesError`, `RefusedError` if all of it is sealed to others.
    """
    found = [medium.contents[number] for number in sorted(medium.contents, reverse=True)]
    if not found and any(name.endswith(".list") for name in medium.problems):
        raise WrongBytesError(
            f"what says which releases are in {medium.path} is damaged",
            remedy="export them again, onto this medium or a better one",
        )
    if not found and medium.sealed:
        raise RefusedError(
            f"what is in {medium.path} is sealed to other keys",
            remedy="let it be sealed to the recipient that `p2phub id` shows here, or name the file"
            " of the key that it was sealed to: --identity FILE",
        )
    if not found:
        raise NotFoundError(
            f"no export to {medium.path} was finished",
            remedy="run the same `p2phub bundle export` again: it goes on from there",
        )
    return found


def releases_in(contents: Iterable[Contents]) -> Mapping[bytes, tuple[Meant, Contents]]:
    """Each release once, by its digest, and the newest export that has it."""
    found: dict[bytes, tuple[Meant, Contents]] = {}
    for each in contents:
        for meant in each.releases:
            found.setdefault(meant.digest, (meant, each))
    return found


def _listed(meant: Meant) -> BundleRelease:
    repo = RepoId(PublisherId(meant.publisher), meant.name)
    return row_of(repo, meant.digest, meant.kind, meant.size)


async def _take(
    services: Services, meant: Meant, of: Contents, learnt: Learnt, path: Path, report: Report
) -> tuple[BundleRelease, int]:
    """Pull one release; what came of it, and how many bytes were fetched."""
    row = _listed(meant)
    publisher = PublisherId(meant.publisher)
    try:
        refused = learnt.refused.get(publisher)
        if refused is not None and not await services.on_disk(_is_known, services, publisher):
            raise refused
        if await is_held_back(services, meant.digest):
            return await take_into_quarantine(services, row, meant.digest, str(path), report)
        was_here = meant.digest in await services.on_disk(services.store.repos.held_releases)
        pulled = await pull(services, PullRequest(row.ref), report, waits=False)
    except P2PHubError as failed:
        if isinstance(failed, NoSourceError) and of.parts > 1:
            rest = f"the rest is on other media: this is part {of.part} of {of.parts}"
            report(Warned(f"{row.name} {row.commit[:12]} is not whole yet: {rest}"))
            return replace(row, outcome="part", reason=rest), 0
        is_old = isinstance(failed, NoSourceError) and publisher not in learnt.heads
        error = learnt.older.get(publisher, failed) if is_old else failed
        if isinstance(error, NoSourceError) and of.sites:
            error.remedy = "the bundle was made for another site, which had the rest already"
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
