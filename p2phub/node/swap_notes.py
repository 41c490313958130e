"""What sites leave for one another on a stick, as this site reads and writes it.

Inventories are read and kept, the newest of each site; receipts that are for this site are kept and
taken off the stick. A receipt is left for whoever had put releases there that are here now, once
for each release and sender. Notes that are not signed as they should be are told and left alone.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from p2phub.airgap.notes import Note, leave_note, read_notes, remove_note
from p2phub.errors import UntrustedError
from p2phub.formats import limits
from p2phub.formats.bundle import Contents, Meant
from p2phub.formats.ids import RepoId
from p2phub.formats.inventory import Inventory, Receipt
from p2phub.node.events import Report, Warned
from p2phub.node.services import Services
from p2phub.node.sites import (
    keep_inventory,
    keep_receipt,
    known_inventories,
    known_receipts,
    make_inventory,
    make_receipt,
    site_key,
)
from p2phub.trust.sites import read_inventory, read_receipt


def take_notes(
    services: Services, path: Path, given: Sequence[bytes], report: Report
) -> tuple[tuple[Inventory, ...], tuple[Receipt, ...]]:
    """Who else the stick visits, `given` by hand too, and what was acknowledged to this site."""
    notes = read_notes(path)
    told = [(note.name, note.data) for note in notes if note.kind == Inventory.TYPE]
    told += [("an inventory", data) for data in given]
    receipts = [note for note in notes if note.kind == Receipt.TYPE]
    sites = _take_inventories(services, told, report)
    return sites, tuple(_take_receipts(services, path, receipts, report))


def _take_inventories(
    services: Services, told: Iterable[tuple[str, bytes]], report: Report
) -> tuple[Inventory, ...]:
    """The newest of every other site; of too many those that were known before, then the newest."""
    documents, found = services.store.documents, dict[bytes, list[tuple[Inventory, bytes]]]()
    for name, data in told:
        try:
            said = read_inventory(data)
            found.setdefault(said.site, []).append((said, data))
        except UntrustedError as error:
            report(Warned(f"{name} counts for nothing: {error.message}"))
    found.pop(site_key(services), None)
    known = {each.site for each in known_inventories(documents)}
    newest = [max(each, key=lambda one: one[0].number) for each in found.values()]
    newest.sort(key=lambda one: (one[0].site not in known, -one[0].made))
    if len(newest) > limits.MAX_SITES:
        report(Warned(f"of {len(newest)} sites on the stick {limits.MAX_SITES} are looked at"))
    return tuple(keep_inventory(documents, data) for _, data in newest[: limits.MAX_SITES])


def _take_receipts(
    services: Services, path: Path, notes: Sequence[Note], report: Report
) -> list[Receipt]:
    taken = []
    for note in notes:
        try:
            if read_receipt(note.data).sender != site_key(services):
                continue
            taken.append(keep_receipt(services.store.documents, note.data))
        except UntrustedError as error:
            report(Warned(f"{note.name} counts for nothing: {error.message}"))
            continue
        remove_note(path, services.store.disk, note.name)
    return taken


def leave_receipts(
    services: Services,
    path: Path,
    there: Mapping[bytes, tuple[Meant, Contents]],
    held: Collection[bytes],
) -> int:
    """Acknowledge what is here now of what others had put `there`; to how many of them."""
    store, own = services.store, site_key(services)
    said = {
        (receipt.sender, release)
        for receipt in known_receipts(store.documents)
        if receipt.site == own
        for release in receipt.releases
    }
    came: dict[bytes, dict[bytes, int]] = {}
    for digest, (meant, of) in there.items():
        if of.site not in (b"", own) and digest in held and (of.site, digest) not in said:
            came.setdefault(of.site, {})[digest] = meant.size
    for sender, sizes in came.items():
        data = make_receipt(services, sender, sizes, sum(sizes.values()))
        leave_note(path, store.disk, Receipt.TYPE, data)
        keep_receipt(store.documents, data)
    return len(came)


def leave_inventory(
    services: Services, path: Path, name: str, wants: Sequence[RepoId] | None
) -> None:
    """Say what this site has now, in the place of what it said before."""
    data = make_inventory(services, name, wants)
    own = site_key(services)
    before = [note.name for note in read_notes(path) if _is_ours(note, own)]
    leave_note(path, services.store.disk, Inventory.TYPE, data, before[0] if before else None)


def _is_ours(note: Note, own: bytes) -> bool:
    with suppress(UntrustedError):
        return note.kind == Inventory.TYPE and read_inventory(note.data).site == own
    return False
