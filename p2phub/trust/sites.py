"""What sites sign: inventories and receipts, each by the key that it names.

A site is nobody's publisher and vouches for no release: what it signs says what it has and got. So
these documents pass no gate and pin nothing; that they are of whom they say is all there is to
check. A newer one of a site takes the place of an older one.

>>> from p2phub.trust.keys import SigningKey
>>> key = SigningKey(b"k" * 32)
>>> signed = sign_as_site(Inventory(key.public, 1, 1_700_000_000), key)
>>> read_inventory(signed.pack()).number
1
"""

from collections.abc import Iterable
from typing import TypeVar

from p2phub.errors import MalformedError, UntrustedError
from p2phub.formats.inventory import Inventory, Receipt
from p2phub.trust.envelope import Envelope, sign, unpack
from p2phub.trust.keys import SigningKey

Said = TypeVar("Said", Inventory, Receipt)


def sign_as_site(said: Inventory | Receipt, key: SigningKey) -> Envelope:
    """`said`, signed by the site that it names. Raises `UntrustedError` if `key` is another's."""
    if said.site != key.public:
        raise UntrustedError("a site signs for itself only")
    return sign(said, [key])


def read_inventory(data: bytes) -> Inventory:
    """The inventory in a packed envelope. Raises `MalformedError`, `UntrustedError`."""
    return _read(data, Inventory)


def read_receipt(data: bytes) -> Receipt:
    """The receipt in a packed envelope. Raises `MalformedError`, `UntrustedError`."""
    return _read(data, Receipt)


def _read(data: bytes, kind: type[Said]) -> Said:
    envelope = unpack(data)
    if envelope.type != kind.TYPE:
        raise MalformedError(f"this is no {kind.TYPE}, it is a document of type {envelope.type}")
    said = kind.from_payload(envelope.payload)
    if said.site not in envelope.signed_by():
        raise UntrustedError(
            f"this {kind.TYPE} is not signed by the site that it names",
            remedy="let the site make it again",
        )
    return said


def newest(inventories: Iterable[Inventory]) -> dict[bytes, Inventory]:
    """The newest of each site.

    >>> old, new = Inventory(b"k" * 32, 1, 9), Inventory(b"k" * 32, 2, 8)
    >>> newest([new, old]) == {b"k" * 32: new}
    True
    """
    found: dict[bytes, Inventory] = {}
    for each in inventories:
        known = found.get(each.site)
        if known is None or each.number > known.number:
            found[each.site] = each
    return found
