"""This node as a site across an air gap, and the sites that it knows.

A site signs with the node's own key, so nothing has to be set up. What other sites said last is
kept among the documents of the store, a newer inventory in the place of the older; receipts that
are for this site are kept for ever.

What sites say is only ever a hint of what to give them: see `p2phub.formats.inventory`.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from p2phub.bundle_results import InventoryMade, ReceiptRow, SiteRow, Sites
from p2phub.errors import MalformedError, NotFoundError, UntrustedError
from p2phub.formats import limits
from p2phub.formats.armor import LONGEST, as_codes, as_lines, from_text
from p2phub.formats.digest import sha256
from p2phub.formats.ids import RepoId, commit_id
from p2phub.formats.inventory import Inventory, Receipt, Wanted, prefixes
from p2phub.network.libp2p_identity import peer_id_of_public, public_of_peer_id
from p2phub.node.cargo import held_digests
from p2phub.node.initialise import node_seed
from p2phub.node.sealing import identity_of
from p2phub.node.services import Services
from p2phub.store.disk import disk_errors
from p2phub.store.documents import Documents
from p2phub.trust.envelope import is_envelope
from p2phub.trust.keys import SigningKey
from p2phub.trust.sites import newest, read_inventory, read_receipt, sign_as_site

LABEL: Final = "INVENTORY"
"""What the text form of an inventory says it is."""


def site_key(services: Services) -> bytes:
    """The public key of this site, 32 bytes."""
    return public_of_peer_id(services.network.peer_id)


def site_id(key: bytes) -> str:
    """What a site is called: the libp2p peer id of its node."""
    return peer_id_of_public(key)


def make_inventory(
    services: Services, name: str = "", wants: Sequence[RepoId] | None = None
) -> bytes:
    """What this site has and wants now, signed and packed. `wants`: None is whatever there is.

    What waits at the gate, or was kept out there, it does not ask for again.
    """
    store = services.store
    at_the_gate = [each.digest for each in store.quarantine.all() if each.state != "coming"]
    held = [*at_the_gate, *held_digests(store, services.knowledge)]
    kept = held[-limits.MAX_INVENTORY_RELEASES :]
    asked = {(each.publisher.digest, each.name) for each in wants or ()}
    inventory = Inventory(
        site_key(services),
        _next_number(services),
        services.now(),
        prefixes(kept),
        name,
        None if wants is None else tuple(Wanted(*each) for each in sorted(asked)),
        identity_of(services).recipient,
    )
    return sign_as_site(inventory, SigningKey(node_seed(services.keyring))).pack()


def make_receipt(services: Services, sender: bytes, releases: Iterable[bytes], size: int) -> bytes:
    """That these came, verified, from what `sender` put on a medium; signed and packed."""
    receipt = Receipt(
        site_key(services),
        sender,
        _next_number(services),
        services.now(),
        tuple(sorted(releases))[: limits.MAX_RECEIPT_RELEASES],
        size,
    )
    return sign_as_site(receipt, SigningKey(node_seed(services.keyring))).pack()


def keep_inventory(documents: Documents, data: bytes) -> Inventory:
    """Remember what a site says, unless it said something newer; the newest.

    Raises `MalformedError`, `UntrustedError`.
    """
    said = read_inventory(data)
    known = {each.site: each for each in known_inventories(documents)}.get(said.site)
    if known is not None and known.number >= said.number:
        return known
    documents.put(sha256(data), Inventory.TYPE, data)
    if known is not None:
        documents.drop(
            digest
            for digest in documents.of_type(Inventory.TYPE)
            if digest != sha256(data) and _site_of(documents.get(digest)) == said.site
        )
    return said


def known_inventories(documents: Documents) -> tuple[Inventory, ...]:
    """The newest of every site that is known."""
    found = []
    for data in documents.many(documents.of_type(Inventory.TYPE)).values():
        with suppress(UntrustedError):  # the disk rotted: the site will say it again
            found.append(read_inventory(data))
    return tuple(newest(found).values())


def keep_receipt(documents: Documents, data: bytes) -> Receipt:
    """Raises `MalformedError`, `UntrustedError`."""
    receipt = read_receipt(data)
    documents.put(sha256(data), Receipt.TYPE, data)
    return receipt


def known_receipts(documents: Documents) -> tuple[Receipt, ...]:
    """Those that are for this site and those that it signed, the oldest first."""
    found = []
    for data in documents.many(documents.of_type(Receipt.TYPE)).values():
        with suppress(UntrustedError):
            found.append(read_receipt(data))
    return tuple(sorted(found, key=lambda each: (each.made, each.site, each.number)))


def read_inventory_file(path: Path) -> bytes:
    """The packed inventory in a file: as it was signed, as text, or as what a telephone read.

    Raises `NotFoundError`, `MalformedError`.
    """
    if not path.is_file():
        raise NotFoundError(
            f"there is no inventory {path}",
            remedy="`p2phub bundle inventory --to FILE` writes one, on the other side",
        )
    with disk_errors(path), path.open("rb") as file:
        data = file.read(LONGEST + 1)
    if len(data) > LONGEST:
        raise MalformedError(f"{path} is too long for an inventory")
    return data if is_envelope(data) else from_text(data, LABEL)


def inventory_made(
    services: Services, name: str = "", wants: Sequence[RepoId] | None = None
) -> InventoryMade:
    """What this site has and wants, in every form that a person may carry it in."""
    data = make_inventory(services, name, wants)
    said = read_inventory(data)
    try:
        codes = tuple(as_codes(data, LABEL))
    except MalformedError:
        codes = ()
    return InventoryMade(
        site_id(said.site),
        said.number,
        said.made,
        said.count,
        len(data),
        as_lines(data, LABEL),
        codes,
    )


def site_row(inventory: Inventory) -> SiteRow:
    """What a site says of itself."""
    wants = None if inventory.wants is None else len(inventory.wants)
    key = inventory.site
    return SiteRow(site_id(key), inventory.name, inventory.made, inventory.count, wants)


def sites_known(documents: Documents) -> Sites:
    """The newest of what each site said, and every receipt."""
    receipts = (
        ReceiptRow(
            site_id(each.site),
            site_id(each.sender),
            each.made,
            tuple(map(commit_id, each.releases)),
            each.size,
            each.digest.hex(),
        )
        for each in known_receipts(documents)
    )
    return Sites(tuple(map(site_row, known_inventories(documents))), tuple(receipts))


def _next_number(services: Services) -> int:
    """No lower than the time: a store that was restored from a backup does not count again."""
    key = site_key(services)
    return services.store.documents.next_writer_seq(key, at_least=services.now())


def _site_of(data: bytes | None) -> bytes:
    with suppress(UntrustedError):
        return read_inventory(data or b"").site
    return b""
