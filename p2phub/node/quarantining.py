"""Bring a release of a bundle as far as the gate of this node: it is fetched and verified as a pull
would, its files are kept, and nobody sees it until somebody who may lets it in.

One seam keeps it from view. A release in quarantine has no row among those that are held, so that
whatever asks what is here (`ls`, models, announcements, the sweep) does not know it; whoever names
it is refused in `locate.require_let_in`, through which every reference goes; and who asks for bytes
or documents by their digest (peers, uploads, the upstream) is not told of what only such releases
need (`store.quarantine`). No folder is presented, nothing is announced.

A release that a person pulled or published here before is on this side of the gate already: its
digest says every byte of it, and a bundle only brings what is missing. Turning the setting off lets
nothing in: what waits goes on waiting.
"""

import secrets
from dataclasses import replace

import trio

from p2phub.bundle_results import BundleRelease
from p2phub.errors import BusyError, QuarantinedError
from p2phub.formats.approval import CASE, Check, pack_checks, unpack_checks
from p2phub.formats.ids import Reference, commit_id
from p2phub.formats.manifest import FileEntry
from p2phub.node.bring import bring_all
from p2phub.node.events import ReleaseWithdrawn, Report
from p2phub.node.gate_checks import run_checks
from p2phub.node.locate import ResolvedRelease, require_let_in
from p2phub.node.pull import obey_rule, told_of, wanted_files
from p2phub.node.remove import remove_contents
from p2phub.node.resolve import resolve
from p2phub.node.services import Services
from p2phub.node.values import PullRequest


async def is_held_back(services: Services, digest: bytes) -> bool:
    """Whether what a bundle brings of this release goes into quarantine."""
    return await services.on_disk(_is_held_back, services, digest)


def _is_held_back(services: Services, digest: bytes) -> bool:
    quarantine = services.store.quarantine
    if quarantine.get(digest) is not None:
        return True
    return services.config.airgap.quarantine and not quarantine.is_held(digest)


async def take_into_quarantine(
    services: Services, row: BundleRelease, digest: bytes, origin: str, report: Report
) -> tuple[BundleRelease, int]:
    """Fetch a release and check it; what to tell of it, and how many bytes were fetched.

    Raises what a pull raises, and `QuarantinedError` for what was rejected before. What came until
    then is kept and stays hidden; the next import goes on from there.
    """
    quarantine = services.store.quarantine
    case = await services.on_disk(quarantine.get, digest)
    if case is not None and case.state == "rejected":
        await services.on_disk(require_let_in, services.store, digest, row.name)
    resolved = await resolve(services, Reference.parse(row.ref), waiting=True)
    await obey_rule(services, resolved, report)
    report(told_of(resolved))
    files = wanted_files(resolved, PullRequest(row.ref), report)
    if not await _begin(services, resolved, origin):
        raise BusyError(f"{row.name} was let in at this moment", remedy="import the bundle again")
    fetched = await _bring(services, resolved, files, report)
    known = case.checks if case is not None and case.state == "waiting" and not fetched else b""
    checks = unpack_checks(known) if known else await check(services, resolved, files, report)
    why = told(services, checks)
    await services.audit.record(
        "quarantine.waits",
        ref=row.ref,
        origin=origin,
        passed=[each.name for each in checks if each.ok],
        failed=[f"{each.name}: {each.detail}" for each in checks if not each.ok],
    )
    size = sum(file.size for file in files)
    done = replace(row, outcome="quarantined", verdict=resolved.judgement.text, bytes=size)
    return replace(done, reason=why), fetched


async def check(
    services: Services,
    resolved: ResolvedRelease,
    files: tuple[FileEntry, ...],
    report: Report,
) -> tuple[Check, ...]:
    """Run every check, and keep what they found. Raises `QuarantinedError` if files are missing."""
    here = await services.on_disk(services.store.shelf.right, [file.content for file in files])
    if any(file.content not in here for file in files):
        raise QuarantinedError(
            f"not all of {resolved.called} has come",
            remedy="import the bundle again: it goes on from there",
        )
    checks = await run_checks(services, resolved, files, report)
    await services.on_disk(services.store.quarantine.checked, resolved.digest, pack_checks(checks))
    return checks


def told(services: Services, checks: tuple[Check, ...]) -> str:
    """What a release waits for, in one sentence."""
    failed = [f"{each.name} ({each.detail[:200]})" for each in checks if not each.ok]
    needed = services.config.airgap.approvals
    waits = f"waits for {needed} approval{'s' if needed > 1 else ''}"
    named = len(services.config.airgap.approvers)
    if named < needed:
        waits += f", and [airgap] approvers in node.toml names {named} who could give them"
    if failed:
        return f"did not pass {'; '.join(failed)}; {waits}"
    return f"passed {len(checks)} checks; {waits}"


async def _begin(services: Services, resolved: ResolvedRelease, origin: str) -> bool:
    """From now on it is hidden, and whatever goes on with it ends; False if it was let in."""
    case, now = secrets.token_bytes(CASE), services.now()
    begun = await services.on_disk(
        services.store.quarantine.begin, resolved.digest, case, resolved.revision, origin, now
    )
    if begun:
        hold_back(services, resolved.digest, "it came in a bundle, and waits in quarantine now")
    return begun


def hold_back(services: Services, digest: bytes, reason: str) -> None:
    """End the pulls, readers and models that have to do with a release just now."""
    commit = commit_id(digest)
    services.withdrawals.hold_back(
        ReleaseWithdrawn(
            ref=commit[:16],
            commit=commit,
            digest=digest.hex(),
            publisher_id="",
            verdict="quarantined",
            reason=reason,
        )
    )


async def _bring(
    services: Services,
    resolved: ResolvedRelease,
    files: tuple[FileEntry, ...],
    report: Report,
) -> int:
    """Fetch the files, hidden from the first byte on; how many bytes came. It ends when somebody
    rejects the release meanwhile.
    """
    services.traffic.pulls += 1
    try:
        async with services.withdrawals.obeyed(resolved.digest):
            bringing = await bring_all(services, resolved, files, report, quiet=True, waits=False)
    except BaseException:
        with trio.CancelScope(shield=True):
            await services.on_disk(_let_go, services, resolved)
        raise
    finally:
        services.traffic.pulls -= 1
    services.hashing_waits.ring()
    return sum(bringing.brought.values())


def _let_go(services: Services, resolved: ResolvedRelease) -> None:
    """An import that brought nothing of a release leaves no line in `quarantine ls`; and of one
    that was rejected meanwhile, nothing stays.
    """
    store, digest = services.store, resolved.digest
    case = store.quarantine.get(digest)
    if case is not None and case.state == "rejected":
        remove_contents(store, store.quarantine.reject(digest, case.reason))
    elif case is not None and case.state == "coming":
        contents = [file.content for file in resolved.release.files]
        begun = set(store.partials.list())
        if not any(each in begun or store.blobs.has(each) for each in contents):
            store.quarantine.forget(digest)
