"""Whom a bundle is sealed to, and with which identities this node opens one.

A node's identity of age comes from its own key, so it needs no file and no command of its own; its
recipient is told by `p2phub id` and in its inventories.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from p2phub.airgap.sealed import Seal
from p2phub.errors import NotFoundError, UsageError
from p2phub.formats.inventory import Inventory
from p2phub.node.initialise import node_seed
from p2phub.node.services import Services
from p2phub.store.disk import disk_errors
from p2phub.trust.age import Identity, read_identities, read_recipient, recipient_text

MAX_FILE: Final = 64 << 10
"""Bytes of a file of identities."""


def identity_of(services: Services) -> Identity:
    """What opens that which is sealed to this node."""
    return Identity.of_node(node_seed(services.keyring))


def identities_of(services: Services, files: Sequence[Path] = ()) -> tuple[Identity, ...]:
    """That of this node, and those in files. Raises `NotFoundError`, `UsageError`."""
    return (identity_of(services), *(each for file in files for each in read_identity_file(file)))


def read_identity_file(path: Path) -> tuple[Identity, ...]:
    """The identities in a file as age-keygen writes it. Raises `NotFoundError`, `UsageError`."""
    if not path.is_file():
        raise NotFoundError(
            f"there is no file {path}", remedy="name a file with a line AGE-SECRET-KEY-1…"
        )
    with disk_errors(path), path.open("rb") as file:
        data = file.read(MAX_FILE + 1)
    if len(data) > MAX_FILE or not data.isascii():
        raise UsageError(f"{path} is no file of identities of age")
    return read_identities(data.decode("ascii"))


def seal_of(
    services: Services, recipients: Sequence[str], sites: Iterable[Inventory] = ()
) -> Seal | None:
    """How to seal to these recipients and sites; None for neither. Raises `UsageError`."""
    keys = [read_recipient(each) for each in dict.fromkeys(recipients)]
    for site in sites:
        if not site.recipient:
            raise UsageError(
                f"the inventory of {site.name or 'that site'} names no key to seal to",
                remedy="make it again with this version of p2phub, or give --recipient age1…",
            )
        keys.append(site.recipient)
    return Seal(identity_of(services), tuple(keys)) if keys else None


def recipient_of(services: Services) -> str:
    """The recipient of this node, as text."""
    return recipient_text(identity_of(services).recipient)
