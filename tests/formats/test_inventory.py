"""What a site says of itself is bounded, has one spelling, and survives what comes later."""

from contextlib import suppress

import pytest

from p2phub.errors import MalformedError, NewerVersionError
from p2phub.formats import limits
from p2phub.formats.codec import decode, encode
from p2phub.formats.digest import sha256
from p2phub.formats.inventory import PREFIX, Inventory, Receipt, Wanted, prefixes

SITE, OTHER = sha256(b"site"), sha256(b"other")
RELEASES = [sha256(bytes([number])) for number in range(20)]
FULL = Inventory(
    SITE,
    7,
    1_700_000_000,
    prefixes(RELEASES),
    "the lab",
    tuple(Wanted(*each) for each in sorted([(sha256(b"a"), "x"), (sha256(b"b"), "y")])),
    b"r" * 32,
)
BARE = Inventory(SITE, 1, 0)
RECEIPT = Receipt(SITE, OTHER, 3, 1_700_000_000, tuple(sorted(RELEASES)), 12)


def changed(document, **changes):
    fields = decode(document.to_payload(), limit=2**20) | changes
    return encode({name: value for name, value in fields.items() if value is not ...})


@pytest.mark.parametrize("said", [FULL, BARE, RECEIPT])
class TestEveryStatement:
    def test_survives(self, said):
        assert type(said).from_payload(said.to_payload()) == said

    def test_keeps_what_a_later_version_says(self, said):
        data = changed(said, later={"x": 1})
        assert type(said).from_payload(data).to_payload() == data

    @pytest.mark.parametrize("field", ["site", "number", "made", "type", "requires"])
    def test_is_refused_without(self, said, field):
        with pytest.raises(MalformedError):
            type(said).from_payload(changed(said, **{field: ...}))

    def test_that_requires_something_new_is_refused(self, said):
        with pytest.raises(NewerVersionError):
            type(said).from_payload(changed(said, requires=["teleport"]))

    def test_one_changed_byte_never_reads_as_the_same(self, said):
        data = said.to_payload()
        for at in range(len(data)):
            other = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
            with suppress(MalformedError):
                assert type(said).from_payload(other) != said


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("has", b"short"),
        ("has", b""),
        ("has", b"b" * PREFIX + b"a" * PREFIX),
        ("has", b"a" * PREFIX * 2),
        ("has", bytes(PREFIX * (limits.MAX_INVENTORY_RELEASES + 1))),
        ("number", 0),
        ("site", b"k" * 31),
        ("name", ""),
        ("name", "x" * (limits.MAX_PROFILE_NAME + 1)),
        ("name", "a\x1b[2J"),
        ("recipient", b"r" * 31),
        ("wants", [{"publisher": b"p" * 32, "name": "../x"}]),
        ("wants", [{"publisher": b"p" * 32, "name": "x"}] * 2),
    ],
)
def test_an_inventory_with_a_wrong_field_is_refused(field, value):
    with pytest.raises(MalformedError):
        Inventory.from_payload(changed(FULL, **{field: value}))


@pytest.mark.parametrize(
    ("field", "value"),
    [("releases", []), ("releases", [b"x"]), ("releases", [RELEASES[0]] * 2), ("sender", b"")],
)
def test_a_receipt_with_a_wrong_field_is_refused(field, value):
    with pytest.raises(MalformedError):
        Receipt.from_payload(changed(RECEIPT, **{field: value}))


def test_what_a_site_has_is_found_and_nothing_else():
    assert all(FULL.holds(digest) for digest in RELEASES)
    assert not any(FULL.holds(sha256(b"%d" % number)) for number in range(1000))
    assert not BARE.holds(RELEASES[0])


def test_who_names_no_wish_wants_everything_and_who_wants_nothing_gets_nothing():
    assert BARE.asks_for(sha256(b"a"), "x")
    assert FULL.asks_for(sha256(b"a"), "x")
    assert not FULL.asks_for(sha256(b"a"), "y")
    nothing = Inventory(SITE, 1, 0, wants=())
    assert Inventory.from_payload(nothing.to_payload()) == nothing
    assert not nothing.asks_for(sha256(b"a"), "x")


def test_a_site_with_three_hundred_releases_fits_on_a_sheet_of_paper():
    many = Inventory(SITE, 1, 0, prefixes(sha256(b"%d" % number) for number in range(300)))
    assert len(many.to_payload()) < 2_600


def test_the_largest_inventory_can_be_signed():
    most = range(limits.MAX_INVENTORY_RELEASES)
    largest = Inventory(SITE, 1, 0, prefixes(sha256(b"%d" % number) for number in most))
    assert largest.count == limits.MAX_INVENTORY_RELEASES
    assert Inventory.from_payload(largest.to_payload()) == largest


def test_the_largest_receipt_can_be_signed():
    most = sorted(sha256(b"%d" % number) for number in range(limits.MAX_RECEIPT_RELEASES))
    largest = Receipt(SITE, OTHER, 1, 0, tuple(most), 1)
    assert Receipt.from_payload(largest.to_payload()) == largest
