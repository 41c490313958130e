"""Swap with other sites by a stick: take what is there, give what they lack, sign what came.

Every site that the stick visits leaves an inventory on it. Who comes next takes what is on the
stick, and puts on it what the others lack of what is here: releases, and of those the pieces that
not all of them have. What none of them lacks any more is taken off again. So everybody ends with
the union, and a byte is carried once, however many it is for.

Rules it keeps:
 * what is on the stick is taken as a bundle is imported, by the same code and with its verdicts;
 * a release that is refused here is not handed on;
 * what sites say only decides what is given: one that is old or invented costs room on the stick.

What goes on the stick is `gifts`' business, and what sites leave there that of `swap_notes`.
"""

from collections.abc import Collection, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import trio

from p2phub.airgap.onefile import is_one_file
from p2phub.airgap.sealed import Seal
from p2phub.bundle_results import BundleRelease, Swapped
from p2phub.errors import NotFoundError, RefusedError, UsageError, WrongBytesError
from p2phub.formats.bundle import Meant
from p2phub.formats.ids import PublisherId, Reference, RepoId
from p2phub.formats.inventory import Inventory
from p2phub.node.bundling import may_go, note_giving, row_of
from p2phub.node.cargo import held_digests, size_of
from p2phub.node.events import Planned, Report, Warned
from p2phub.node.gifts import (
    ANYBODY,
    Gift,
    drop_older,
    fitting,
    gift_for,
    listing,
    make_room,
    on_stick,
)
from p2phub.node.locate import ResolvedRelease, publisher_of
from p2phub.node.progress import reporting
from p2phub.node.pull import check_target
from p2phub.node.sealing import identity_of, seal_of
from p2phub.node.services import Services
from p2phub.node.sites import read_inventory_file, site_id, site_key, site_row
from p2phub.node.stowing import Load, alone_at, stow
from p2phub.node.swap_notes import leave_inventory, leave_receipts, take_notes
from p2phub.node.unbundling import Taken, releases_in, take_all
from p2phub.node.values import SwapRequest


async def swap(services: Services, request: SwapRequest, report: Report) -> Swapped:
    """Take from the stick at `request.path`, give to it, and leave a new inventory there.

    Raises as `import_bundle` (but for a stick without a bundle, which is a fresh one) and as
    `export_bundle`. What was done until then stays done; the same call goes on from there.
    """
    path, on_disk = request.path, services.on_disk
    if is_one_file(path):
        raise UsageError(
            f"{path} is one file: nothing can be added to it",
            remedy="swap by a folder, or use `p2phub bundle export` and `import`",
        )
    await on_disk(check_target, path, services.store.layout.store)
    if request.to_anybody and services.config.airgap.sites:
        raise RefusedError(
            "this node gives to the sites that `[airgap] sites` names, and to nobody else",
            remedy="leave --to-anybody out",
        )
    if request.to_anybody and request.seal:
        raise UsageError(
            "what is for anybody cannot be sealed to somebody",
            remedy="leave --to-anybody out, and give the inventories of the others: --inventory",
        )
    wants = await on_disk(wanted_repos, services, request.wants)
    given = [await on_disk(read_inventory_file, each) for each in request.inventories]
    async with alone_at(services, path):
        return await _swap(services, request, wants, given, report)


async def _swap(
    services: Services,
    request: SwapRequest,
    wants: tuple[RepoId, ...] | None,
    given: Sequence[bytes],
    report: Report,
) -> Swapped:
    """The same, of a request that can be met. `given`: inventories that are not on the stick."""
    started, path, on_disk = trio.current_time(), request.path, services.on_disk
    taken = await _take_in(services, path, wants, report)
    sites, receipts = await on_disk(take_notes, services, path, given, report)
    if request.to_anybody:
        anybody = Inventory(ANYBODY, 1, services.now(), name="whoever comes next")
        sites = (*sites, anybody)
    acknowledged = await on_disk(_acknowledge, services, path)
    whom = _allowed(services, sites, report)
    seal = await on_disk(_seal, services, whom) if request.seal else None
    gift = await on_disk(gift_for, services, await may_go(services, report), whom, sites)
    dropped = await on_disk(make_room, services, path, gift, seal)
    given_rows, left, written = await _give(services, request, gift, seal, report)
    await on_disk(leave_inventory, services, path, request.name, wants)
    rows = taken.rows if taken is not None else ()
    return Swapped(
        path=path,
        site=site_id(site_key(services)),
        came=rows,
        gave=given_rows,
        left=left,
        sites=tuple(site_row(each) for each in sites if each.site != ANYBODY),
        receipts_left=acknowledged,
        receipts_taken=len(receipts),
        bytes_fetched=taken.fetched if taken is not None else 0,
        bytes_written=written,
        bytes_dropped=dropped,
        seconds=trio.current_time() - started,
        exit=next((row.exit for row in rows if row.exit), 0),
    )


def _allowed(
    services: Services, sites: Sequence[Inventory], report: Report
) -> tuple[Inventory, ...]:
    """The sites that may be given something."""
    named, found = services.config.airgap.sites, []
    for site in sites:
        if not named or site_id(site.site) in named:
            found.append(site)
        else:
            report(Warned(f"{site_id(site.site)} gets nothing: `[airgap] sites` does not name it"))
    return tuple(found)


def _seal(services: Services, whom: Sequence[Inventory]) -> Seal:
    """To all of them, and to this node. Raises `UsageError` if one told no key."""
    return seal_of(services, (), whom) or Seal(identity_of(services), ())


def wanted_repos(services: Services, named_by: Sequence[str]) -> tuple[RepoId, ...] | None:
    """The repos that references name; None for no reference, which is whatever there is."""
    if not named_by:
        return None
    named = [Reference.parse(each) for each in named_by]
    return tuple(RepoId(publisher_of(services.store, each), each.name) for each in named)


async def _take_in(
    services: Services, path: Path, wants: Collection[RepoId] | None, report: Report
) -> Taken | None:
    """What came from the stick; None from one on which no export was finished."""

    def wanted(meant: Meant) -> bool:
        return wants is None or RepoId(PublisherId(meant.publisher), meant.name) in wants

    medium = await services.on_disk(on_stick, services, path)
    if medium is None:
        return None
    with closing(medium):
        try:
            return await take_all(services, medium, report, "swap", wanted)
        except NotFoundError:
            return None
        except RefusedError as error:  # all of it is for others
            report(Warned(error.message))
            return None
        except WrongBytesError as error:  # what it carries is lost, and is put there again
            report(Warned(error.message))
            return None


def _acknowledge(services: Services, path: Path) -> int:
    """Sign for what is here now of what others had put on the stick."""
    medium = on_stick(services, path)
    if medium is None:
        return 0
    with closing(medium):
        there = releases_in(medium.contents.values())
    held = set(held_digests(services.store, services.knowledge))
    return leave_receipts(services, path, there, held)


async def _give(
    services: Services, request: SwapRequest, gift: Gift, seal: Seal | None, report: Report
) -> tuple[tuple[BundleRelease, ...], tuple[BundleRelease, ...], int]:
    """Put on the stick what fits: what was given, what was left, and how many bytes are new."""
    on_disk, path = services.on_disk, request.path
    cargo, left = await on_disk(fitting, services, path, gift, request.size_limit, seal)
    size = await on_disk(size_of, services.store, cargo)
    if cargo.files:
        report(Planned(len(cargo.files), size, bytes_linked=0, bytes_to_fetch=0))
    written = 0
    if gift.whom:
        medium = await on_disk(on_stick, services, path)
        contents = await on_disk(listing, services, gift, cargo, medium)
        await note_giving(services, "swap", cargo)
        if medium is not None:
            medium.close()
        async with reporting(size, report) as progress:
            add = services.pressure.shared(progress.add)
            load = Load(cargo, contents, size=size, seal=seal)
            written = await on_disk(stow, services, path, load, add)
        await on_disk(drop_older, services, path, gift)
    given = tuple(_row(each, gift, "given") for each in cargo.releases)
    return given, tuple(_row(each, gift, "left") for each in left), written


def _row(resolved: ResolvedRelease, gift: Gift, outcome: str) -> BundleRelease:
    size = sum(file.size for file in resolved.release.files)
    row = row_of(resolved.repo, resolved.digest, resolved.release.kind, size)
    lackers = gift.lackers[resolved.digest]
    names = [each.name or site_id(each.site) for each in lackers]
    return replace(row, outcome=outcome, verdict=resolved.judgement.text, sites=tuple(names))
