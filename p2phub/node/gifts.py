"""What goes on a stick that several sites share: what any of them lacks of what is here.

Rules it keeps:
 * a piece is on the stick if a site lacks it, once for all of them;
 * what none of them lacks is taken off, but never anything that is lacked and is not here, nor what
   an export put there for whoever finds it;
 * a release goes as a whole, or is left for the next round if it does not fit; what is on the stick
   already costs nothing, so it is never left.
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from p2phub.airgap.medium import Medium, look
from p2phub.airgap.pruning import Needed, drop_contents, drop_packs, unneeded
from p2phub.airgap.sealed import Seal
from p2phub.airgap.writer import BundleWriter
from p2phub.errors import NotFoundError
from p2phub.formats.bundle import ROW, Contents
from p2phub.formats.ids import PublisherId
from p2phub.formats.inventory import Inventory
from p2phub.node.bundling import OVERHEAD, SEALING
from p2phub.node.cargo import Cargo, each_once, lacked_by, pieces_of, table_of, whole_files
from p2phub.node.locate import ResolvedRelease
from p2phub.node.sealing import identities_of
from p2phub.node.services import Services
from p2phub.node.sites import site_key
from p2phub.node.stowing import contents_of, documents_of
from p2phub.node.tidings import publisher_of_news
from p2phub.node.unbundling import releases_in
from p2phub.store.store import Store

ANYBODY: Final = bytes(32)
"""The key of a site that left no inventory, and lacks everything."""


@dataclass(frozen=True, slots=True)
class Gift:
    """What sites lack of what is here."""

    cargo: Cargo
    lackers: Mapping[bytes, tuple[Inventory, ...]]
    """Who lacks each release, by its digest."""
    held: tuple[ResolvedRelease, ...]
    """All that may go from here, lacked or not."""
    whom: tuple[Inventory, ...]
    """The sites that it is for."""
    sites: tuple[Inventory, ...]
    """Everybody the stick visits."""


def gift_for(
    services: Services,
    held: Sequence[ResolvedRelease],
    whom: Sequence[Inventory],
    sites: Sequence[Inventory],
) -> Gift:
    """What of the releases that are `held` here any of the sites `whom` lacks."""
    store = services.store
    lackers: dict[bytes, tuple[Inventory, ...]] = {}
    only: set[bytes] = set()
    for site in whom:
        lacking, pieces = lacked_by(store, site, held, held)
        only |= pieces
        for each in lacking:
            lackers[each.digest] = (*lackers.get(each.digest, ()), site)
    chosen = tuple(each for each in held if each.digest in lackers)
    publishers = tuple(store.repos.held_publishers())
    cargo = cargo_of(store, chosen, publishers, frozenset(only))
    return Gift(cargo, lackers, tuple(held), tuple(whom), tuple(sites))


def cargo_of(
    store: Store,
    releases: tuple[ResolvedRelease, ...],
    publishers: tuple[PublisherId, ...],
    only: frozenset[bytes],
) -> Cargo:
    """These releases, as a cargo."""
    files = each_once(file for each in releases for file in whole_files(store, each))
    return Cargo(releases, files, publishers, only)


def on_stick(services: Services, path: Path) -> Medium | None:
    """What is on a stick and can be opened here; None for a fresh one."""
    try:
        return look(path, identities_of(services))
    except NotFoundError:
        return None


def _staying(medium: Medium) -> Mapping[int, Contents]:
    """The lists of what exports put there for whoever finds it, which swaps leave alone."""
    found = medium.contents.items()
    return {number: each for number, each in found if each.releases and not each.sites}


def _reusable(path: Path, seal: Seal | None) -> Medium | None:
    """What is on a stick and need not be put there again; None for a fresh one."""
    try:
        return look(path) if seal is None else look(path, [seal.identity], seal.mark)
    except NotFoundError:
        return None


def listing(services: Services, gift: Gift, cargo: Cargo, medium: Medium | None) -> Contents:
    """What a stick says of itself with this cargo on it.

    What other sites told on it of publishers that are not known here stays there.
    """
    whom = {site.site for site in gift.whom} or {site_key(services)}
    contents = contents_of(services, cargo, tuple(sorted(whom)))
    told = medium.contents.values() if medium is not None else ()
    heads = [data for each in told for data in each.heads]
    notices = [data for each in told for data in each.notices]
    known = set(cargo.publishers)
    return replace(
        contents,
        heads=(*contents.heads, *dict.fromkeys(each for each in heads if _strange(each, known))),
        notices=(
            *contents.notices,
            *dict.fromkeys(each for each in notices if _strange(each, known)),
        ),
    )


def make_room(services: Services, path: Path, gift: Gift, seal: Seal | None) -> int:
    """Take off the stick what no site lacks; how many bytes that were."""
    medium = on_stick(services, path)
    if medium is None:
        return 0
    with closing(medium):
        staying = _staying(medium)
        brought = [each for number, each in medium.contents.items() if number not in staying]
        there, stays = releases_in(brought), releases_in(staying.values())
        ours = {each.digest for each in gift.cargo.releases}
        kept_on = tuple(each for each in gift.held if each.digest in stays)
        exported = cargo_of(services.store, kept_on, gift.cargo.publishers, frozenset())
        needed: Needed = {
            "pieces": {
                *(gift.cargo.only or ()),
                *(digest for file in exported.files for digest in pieces_of(services.store, file)),
            },
            "documents": {
                digest
                for cargo in (gift.cargo, exported)
                for digest, _ in documents_of(services, cargo)
            },
        }
        is_stale = there.keys() - ours or any(unneeded(medium.packs, needed))
        is_known = len(kept_on) == len(stays)
        if not is_stale or not is_known or _lacked_elsewhere(gift, medium):
            return 0
        disk = services.store.disk
        kept = tuple(each for each in gift.cargo.releases if each.digest in there)
        with BundleWriter(path, disk, seal=seal) as writer:
            writer.finish(listing(services, gift, replace(gift.cargo, releases=kept), medium))
        drop_contents(path, disk, tuple(medium.contents.keys() - staying.keys()))
        return drop_packs(path, disk, medium.packs, needed)


def drop_older(services: Services, path: Path, gift: Gift) -> None:
    """Leave one list of contents of swaps, the newest, if it says all that is needed."""
    with closing(look(path, identities_of(services))) as medium:
        older = sorted(medium.contents.keys() - _staying(medium).keys())[:-1]
        if older and not _lacked_elsewhere(gift, medium):
            drop_contents(path, services.store.disk, older)


def fitting(
    services: Services, path: Path, gift: Gift, limit: int | None, seal: Seal | None
) -> tuple[Cargo, tuple[ResolvedRelease, ...]]:
    """What of a gift fits on the stick, and what does not. `limit`: bytes that may be added."""
    store, cargo, medium = services.store, gift.cargo, _reusable(path, seal)
    there = releases_in(medium.contents.values()) if medium is not None else {}
    free = store.disk.free_bytes(next(each for each in (path, *path.parents) if each.exists()))
    room = (free if limit is None else min(free, limit)) - OVERHEAD
    room -= room // SEALING if seal is not None else 0
    chosen: list[ResolvedRelease] = []
    left: list[ResolvedRelease] = []
    counted: set[bytes] = set()
    try:
        for each in sorted(cargo.releases, key=lambda each: each.digest not in there):
            new = _new_pieces(store, each, cargo.only or (), medium, counted)
            cost = sum(new.values()) + ROW * len(new)
            if new and cost > room:
                left.append(each)
                continue
            room -= cost
            chosen.append(each)
            counted |= new.keys()
    finally:
        if medium is not None:
            medium.close()
    only = cargo.only or frozenset()
    return cargo_of(store, tuple(chosen), cargo.publishers, only), tuple(left)


def _new_pieces(
    store: Store,
    resolved: ResolvedRelease,
    among: Collection[bytes],
    medium: Medium | None,
    counted: Collection[bytes],
) -> dict[bytes, int]:
    """The pieces of a release that have to be put on the stick, and their lengths."""
    found = {}
    for file in whole_files(store, resolved):
        table = table_of(store, file)
        for index in range(table.count):
            digest = table.digest(index)
            is_there = medium is not None and medium.has("pieces", digest)
            if digest in among and digest not in counted and not is_there:
                found[digest] = table.length(index)
    return found


def _lacked_elsewhere(gift: Gift, medium: Medium) -> bool:
    """Whether a site lacks something on the stick that is not here to give."""
    ours = {each.digest for each in gift.cargo.releases}
    return any(
        not site.holds(digest) and site.asks_for(meant.publisher, meant.name)
        for digest, (meant, _) in releases_in(medium.contents.values()).items()
        if digest not in ours
        for site in gift.sites
    )


def _strange(data: bytes, known: Collection[PublisherId]) -> bool:
    """Whether it is of a publisher that is not known here."""
    publisher = publisher_of_news(data)
    return publisher is not None and publisher not in known
