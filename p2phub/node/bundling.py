"""Put releases of this disk into a bundle, which carries them to where no network reaches.

With a release goes all that the other side needs to judge it as if it were online: its publisher's
newest head, the index and its pages, the history that leads to it, and what the publisher took
back. Pieces are read through the store and hashed on the way; what is on the medium already is
neither read nor written again. Nobody is asked: a release is exported as this disk knows it.

What does not fit on one medium is split over several: each is a bundle of its own, with every
document and its share of the pieces. What to carry is `cargo`'s business, and how things lie on the
medium that of `p2phub.airgap.writer`.
"""

from dataclasses import replace
from pathlib import Path
from typing import Final

import trio

from p2phub.airgap.medium import FOLDER, look
from p2phub.airgap.onefile import is_one_file
from p2phub.airgap.sealed import Seal
from p2phub.bundle_results import BundleExported, BundleRelease
from p2phub.errors import UntrustedError, UsageError
from p2phub.formats.bundle import ROW
from p2phub.formats.ids import Reference, RepoId, commit_id
from p2phub.formats.inventory import Inventory
from p2phub.formats.limits import KIB, MAX_PIECE, MIB
from p2phub.node.cargo import (
    Cargo,
    each_once,
    held_here,
    lacked_by,
    parts_of,
    size_of,
    whole_files,
)
from p2phub.node.events import Planned, Report, Warned
from p2phub.node.locate import ResolvedRelease, locate
from p2phub.node.progress import reporting
from p2phub.node.pull import check_target, obey_policy, told_of
from p2phub.node.sealing import identities_of, seal_of
from p2phub.node.services import Services
from p2phub.node.sites import read_inventory_file
from p2phub.node.stowing import Load, alone_at, contents_of, documents_of, stow
from p2phub.node.values import BundleExportRequest
from p2phub.trust.sites import read_inventory

OVERHEAD: Final = 1 * MIB
"""Bytes on a medium for what is neither a piece nor a document."""
SEALING: Final = 2 * KIB
"""What is sealed grows by less than a byte for each of these."""


async def export_bundle(
    services: Services, request: BundleExportRequest, report: Report
) -> BundleExported:
    """Add the releases that `request` names to the bundle in its folder, or begin one there.

    A path that ends in `.tar` is one file, which is made anew.

    With an inventory and no name: whatever that site lacks and wants of what is here.

    Raises `NotFoundError` for a release that is not here with all its files (but pickles, which a
    pull leaves out), `UntrustedError` for one that is refused, `DamagedBlobError`, `NoSpaceError`
    for a full medium, `RefusedError` for one that cannot be written, `BusyError` for one that
    somebody else uses, `UsageError`. What was written until then counts for nothing, and the next
    export writes over it.
    """
    started = trio.current_time()
    if not request.references and request.since is None:
        raise UsageError(
            "nothing was named",
            remedy="name the releases to export, or the site that they are for: --since INVENTORY",
        )
    folder = request.to.parent if is_one_file(request.to) else request.to
    await services.on_disk(check_target, folder, services.store.layout.store)
    since = await services.on_disk(_inventory, request.since) if request.since else None
    picked = await _picked(services, request, since, report)
    cargo = await services.on_disk(_cargo, services, picked, since)
    seal = await services.on_disk(_seal, services, request, since)
    load = await services.on_disk(_share, services, request, cargo, since, seal)
    report(Planned(len(cargo.files), load.size, bytes_linked=0, bytes_to_fetch=0))
    await note_giving(services, "export", cargo)
    async with alone_at(services, request.to), reporting(load.size, report) as progress:
        add = services.pressure.shared(progress.add)
        written = await services.on_disk(stow, services, request.to, load, add)
    return BundleExported(
        path=request.to,
        releases=tuple(_exported(each, cargo) for each in picked),
        bytes_total=load.size,
        bytes_written=written,
        seconds=trio.current_time() - started,
        part=load.contents.part,
        parts=load.contents.parts,
        size_limit=load.limit,
    )


async def note_giving(services: Services, act: str, cargo: Cargo) -> None:
    """Say in the audit log what is about to leave. `act`: what the log calls this."""
    refs = [
        row_of(each.repo, each.digest, each.release.kind, size=0).ref for each in cargo.releases
    ]
    await services.audit.record_all(f"bundle.{act}.giving", refs=refs)


def row_of(repo: RepoId, digest: bytes, kind: str, size: int) -> BundleRelease:
    """A release as everybody may name it, whatever it is called here."""
    commit, publisher = commit_id(digest), str(repo.publisher)
    ref = f"{publisher}/{repo.name}@{commit}"
    return BundleRelease(ref, commit, publisher, repo.name, kind, size)


async def may_go(services: Services, report: Report) -> tuple[ResolvedRelease, ...]:
    """All that is whole here and not refused."""
    found = []
    for each in await services.on_disk(list, held_here(services.store, services.knowledge)):
        try:
            await obey_policy(services, each, report)
            found.append(each)
        except UntrustedError as error:
            report(Warned(f"{each.called} is not handed on: {error.message}"))
    return tuple(found)


async def _picked(
    services: Services, request: BundleExportRequest, since: Inventory | None, report: Report
) -> tuple[ResolvedRelease, ...]:
    """The releases that are named, or all that a site lacks and wants."""
    if not request.references and since is not None:
        held = await may_go(services, report)
        return (await services.on_disk(lacked_by, services.store, since, held, held))[0]
    picked: dict[bytes, ResolvedRelease] = {}
    for reference in dict.fromkeys(request.references):
        resolved = await services.on_disk(_pick, services, Reference.parse(reference))
        await obey_policy(services, resolved, report)
        report(told_of(resolved))
        picked[resolved.digest] = resolved
    return tuple(picked.values())


def _exported(resolved: ResolvedRelease, cargo: Cargo) -> BundleRelease:
    release = resolved.release
    size = sum(file.size for file in release.files)
    row = row_of(resolved.repo, resolved.digest, release.kind, size)
    carried = {each.digest for each in cargo.releases}
    outcome = "exported" if resolved.digest in carried else "there"
    return replace(row, outcome=outcome, verdict=resolved.judgement.text)


def _pick(services: Services, reference: Reference) -> ResolvedRelease:
    """A release that is here, with its files."""
    resolved = locate(services.store, services.knowledge, reference)
    whole_files(services.store, resolved)
    return resolved


def _cargo(
    services: Services, picked: tuple[ResolvedRelease, ...], since: Inventory | None
) -> Cargo:
    """All of these releases, or what of them a site lacks."""
    store, only = services.store, None
    publishers = tuple(dict.fromkeys(each.repo.publisher for each in picked))
    if since is not None:
        held = tuple(held_here(store, services.knowledge))
        picked, only = lacked_by(store, replace(since, wants=None), picked, held)
    files = each_once(file for each in picked for file in whole_files(store, each))
    return Cargo(picked, files, publishers, only)


def _inventory(path: Path) -> Inventory:
    return read_inventory(read_inventory_file(path))


def _seal(services: Services, request: BundleExportRequest, since: Inventory | None) -> Seal | None:
    """Whom it is sealed to. Raises `UsageError`."""
    if request.seal and since is None:
        raise UsageError(
            "it is not said whom to seal it to",
            remedy="name the site that it is for (--since INVENTORY), or --recipient age1…",
        )
    sites = [since] if request.seal and since is not None else []
    return seal_of(services, request.recipients, sites)


def _share(
    services: Services,
    request: BundleExportRequest,
    cargo: Cargo,
    since: Inventory | None,
    seal: Seal | None,
) -> Load:
    """What of the cargo goes on this medium. Raises `UsageError`."""
    contents = contents_of(services, cargo, (since.site,) if since is not None else ())
    size = size_of(services.store, cargo)
    limit = request.size_limit or _limit_by_room(services, request, size)
    if limit is None:
        if request.part > 1:
            raise UsageError(
                f"there is no part {request.part}: all of it fits on one medium",
                remedy="name the --size-limit that the first part was made with",
            )
        return Load(cargo, contents, size=size, seal=seal)
    documents = {digest: len(data) for digest, data in documents_of(services, cargo)}
    overhead = OVERHEAD + (limit // SEALING if seal is not None else 0)
    fixed = overhead + len(contents.to_bytes()) + sum(documents.values()) + ROW * len(documents)
    if limit < fixed + MAX_PIECE + ROW:
        raise UsageError(
            f"{limit} bytes on one medium are too few: {fixed} go to what has to be on each",
            remedy=f"allow at least {fixed + MAX_PIECE + ROW}",
        )
    sizes = parts_of(services.store, cargo, limit - fixed)
    if request.part > len(sizes):
        raise UsageError(f"there is no part {request.part}: there are {len(sizes)}")
    contents = replace(contents, part=request.part, parts=len(sizes))
    return Load(cargo, contents, limit - fixed, sizes[request.part - 1], limit, seal)


def _limit_by_room(services: Services, request: BundleExportRequest, size: int) -> int | None:
    """What one medium may take where nobody says it, and not all fits; None: all of it does."""
    folder = request.to
    while not folder.exists():
        folder = folder.parent
    free = services.store.disk.free_bytes(folder)
    needed = OVERHEAD + size + size // (64 * KIB) * ROW + size // SEALING
    if request.part > 1 or needed <= free:
        return None
    there = _bytes_there(services, request.to)
    return None if needed <= free + there else (free + there) // MIB * MIB


def _bytes_there(services: Services, path: Path) -> int:
    """What whole packs on the medium hold."""
    if not (path / FOLDER).is_dir():
        return 0
    medium = look(path, identities_of(services))
    try:
        packs = medium.packs.values()
        return sum(row.length for kind in packs for index in kind.values() for row in index)
    finally:
        medium.close()
