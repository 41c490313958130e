"""A site signs for itself, and nobody signs for it."""

import pytest

from p2phub.errors import MalformedError, UntrustedError
from p2phub.formats.inventory import Inventory, Receipt
from p2phub.trust.envelope import sign, sign_payload
from p2phub.trust.keys import SigningKey
from p2phub.trust.sites import newest, read_inventory, read_receipt, sign_as_site

KEY, THIEF = SigningKey(b"k" * 32), SigningKey(b"t" * 32)
SAID = Inventory(KEY.public, 4, 1_700_000_000)
RECEIPT = Receipt(KEY.public, THIEF.public, 5, 1_700_000_000, (bytes(32),), 9)


def test_what_a_site_signed_is_read():
    assert read_inventory(sign_as_site(SAID, KEY).pack()) == SAID
    assert read_receipt(sign_as_site(RECEIPT, KEY).pack()) == RECEIPT


def test_nobody_signs_for_another():
    with pytest.raises(UntrustedError):
        sign_as_site(SAID, THIEF)
    with pytest.raises(UntrustedError, match="not signed by the site"):
        read_inventory(sign(SAID, [THIEF]).pack())
    with pytest.raises(UntrustedError):
        read_inventory(sign(SAID, []).pack())


def test_one_is_not_read_as_the_other():
    with pytest.raises(MalformedError):
        read_receipt(sign_as_site(SAID, KEY).pack())
    with pytest.raises(MalformedError):
        read_inventory(sign_payload("receipt", SAID.to_payload(), [KEY]).pack())


def test_every_changed_byte_is_found():
    data = sign_as_site(SAID, KEY).pack()
    for at in range(len(data)):
        with pytest.raises(UntrustedError):
            read_inventory(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])


def test_an_older_one_never_takes_the_place_of_a_newer():
    old, other = Inventory(KEY.public, 3, 1_900_000_000), Inventory(THIEF.public, 1, 0)
    assert newest([SAID, old, other]) == {KEY.public: SAID, THIEF.public: other}
    assert newest([old, other, SAID])[KEY.public] == SAID
