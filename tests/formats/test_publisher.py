import pytest

from p2phub.errors import MalformedError
from p2phub.formats import limits
from p2phub.formats.codec import decode, encode
from p2phub.formats.digest import sha256
from p2phub.formats.publisher import (
    Delegation,
    Head,
    Index,
    KeySet,
    ReleaseKey,
    Root,
)


def key(number):
    return sha256(b"key %d" % number)


KEYS = KeySet((key(1), key(2), key(3)), 2)
NEXT = KeySet((key(4),))
PUBLISHER = sha256(b"publisher")


def changed(document, **changes):
    fields = decode(document.to_payload(), limit=2**20) | changes
    return encode({name: value for name, value in fields.items() if value is not ...})


def assert_refused(document, **changes):
    data = changed(document, **changes)
    with pytest.raises(MalformedError):
        document.from_payload(data)


class TestKeySet:
    def test_the_order_of_keys_does_not_matter(self):
        assert KeySet((key(1), key(2))) == KeySet((key(2), key(1)))
        assert KeySet((key(1), key(2))).digest == KeySet((key(2), key(1))).digest

    def test_another_threshold_is_another_commitment(self):
        assert KeySet((key(1), key(2)), 1).digest != KeySet((key(1), key(2)), 2).digest


class TestRoot:
    ROOT = Root(1, b"", KEYS, NEXT.digest, KeySet((key(5), key(6)), 1))

    def test_survives(self):
        later = Root(2, self.ROOT.digest, NEXT, KEYS.digest)
        for root in (self.ROOT, later):
            assert Root.from_payload(root.to_payload()) == root

    @pytest.mark.parametrize(
        "changes",
        [
            {"v": 0},
            {"v": -1},
            {"v": 2},
            {"v": "1"},
            {"previous": bytes(32)},
            {"previous": b""},
            {"keys": []},
            {"keys": [key(1)] * 2},
            {"keys": sorted(map(key, range(3)))[::-1]},
            {"keys": sorted(map(key, range(limits.MAX_ROLE_KEYS + 1)))},
            {"keys": [key(1)[:31]], "threshold": 1},
            {"keys": ...},
            {"threshold": 0},
            {"threshold": 4},
            {"next": ...},
            {"next": bytes(31)},
            {"recovery": {"keys": [], "threshold": 1}},
            {"recovery": {"keys": [key(1)], "threshold": 2}},
            {"recovery": {"keys": [key(1)], "threshold": 1, "x": 1}},
            {"recovery": None},
        ],
        ids=repr,
    )
    def test_is_refused_with(self, changes):
        assert_refused(self.ROOT, **changes)

    def test_a_rotated_root_names_the_one_before(self):
        later = Root(2, self.ROOT.digest, NEXT, KEYS.digest)
        assert_refused(later, previous=...)
        assert_refused(later, v=1)

    def test_the_largest_root_fits_its_limit(self):
        five = KeySet(tuple(map(key, range(5))), 5)
        largest = Root(limits.MAX_INTEGER, bytes(32), five, bytes(32), five)
        assert len(largest.to_payload()) <= 500


class TestDelegation:
    KEYS = (ReleaseKey(key(2), ("b", "a"), 100), ReleaseKey(key(1)))
    DELEGATION = Delegation(PUBLISHER, 1, KEYS, 2)

    def test_survives_and_is_sorted(self):
        read = Delegation.from_payload(self.DELEGATION.to_payload())
        assert read == self.DELEGATION
        assert [made.key for made in read.keys] == sorted([key(1), key(2)])
        assert read.find(key(2)).repos == ("a", "b")
        assert read.find(key(3)) is None

    @pytest.mark.parametrize(
        "changes",
        [
            {"publisher": b"x"},
            {"version": 0},
            {"keys": []},
            {"keys": [{"key": key(1)}] * 2},
            {"keys": [{"key": b"short"}]},
            {"keys": [{"key": key(1), "repos": []}]},
            {"keys": [{"key": key(1), "repos": ["b", "a"]}]},
            {"keys": [{"key": key(1), "repos": ["../x"]}]},
            {"keys": [{"key": key(1), "not_after": 0}]},
            {"keys": [{"key": key(1), "not_after": limits.MAX_TIME + 1}]},
            {"keys": [key(1)]},
            {"threshold": 0},
            {"threshold": 3},
        ],
        ids=repr,
    )
    def test_is_refused_with(self, changes):
        assert_refused(self.DELEGATION, **changes)

    def test_a_key_list_out_of_order_is_refused(self):
        keys = [{"key": made} for made in sorted([key(1), key(2)], reverse=True)]
        assert_refused(self.DELEGATION, keys=keys)

    def test_sixteen_unlimited_keys_fit(self):
        keys = tuple(
            ReleaseKey(key(n), (), limits.MAX_TIME) for n in range(limits.MAX_RELEASE_KEYS)
        )
        assert Delegation(PUBLISHER, limits.MAX_INTEGER, keys).to_payload()
        with pytest.raises(MalformedError):
            Delegation(PUBLISHER, 1, (*keys, ReleaseKey(key(99)))).to_payload()

    @pytest.mark.parametrize(
        "changes",
        [
            {"revocations_from": 1},
            {"revocations_from": 0},
            {"oms_keys": []},
            {"oms_keys": [b"\x04" + bytes(32)]},
            {"oms_keys": [b"\x02" + bytes(31)]},
            {"oms_keys": [b"\x03" + bytes(32), b"\x02" + bytes(32)]},
            {"oms_keys": [b"\x02" + bytes([n]) * 32 for n in range(limits.MAX_OMS_KEYS + 1)]},
        ],
        ids=repr,
    )
    def test_what_was_added_later_is_refused_with(self, changes):
        assert_refused(self.DELEGATION, **changes)

    def test_says_which_roots_may_revoke_and_which_keys_sign_models(self):
        points = tuple(b"\x02" + bytes([n]) * 32 for n in range(limits.MAX_OMS_KEYS))
        kept = ReleaseKey(key(1), numbers_from=9)
        made = Delegation(PUBLISHER, 2, (kept,), revocations_from=3, oms_keys=points[::-1])
        assert Delegation.from_payload(made.to_payload()) == made


class TestIndex:
    INDEX = Index(PUBLISHER, key(1), 4, (bytes(32), b"x" * 32), 7, 1, {"name": "Lab é"}, bytes(32))

    def test_survives(self):
        first = Index(PUBLISHER, key(1), 1, (), 1, 0, {}, bytes(32))
        for index in (self.INDEX, first):
            assert Index.from_payload(index.to_payload()) == index

    @pytest.mark.parametrize(
        "changes",
        [
            {"writer": b"x"},
            {"writer_seq": 0},
            {"parents": ...},
            {"parents": []},
            {"parents": [b"x" * 32, bytes(32)]},
            {"parents": [bytes(32)] * 2},
            {"parents": [bytes([n]) * 32 for n in range(9)]},
            {"seq": 1},
            {"seq": 0},
            {"seq": limits.MAX_INTEGER + 1},
            {"created": -1},
            {"profile": {}},
            {"profile": {"name": 1}},
            {"profile": {"name": ""}},
            {"profile": {"name": "\x1b[2J"}},
            {"profile": {"a\nb": "x"}},
            {"profile": {"n" * 65: "x"}},
            {"profile": {"name": "x" * 1025}},
            {"profile": {str(n): "x" for n in range(17)}},
            {"pages": ...},
        ],
        ids=repr,
    )
    def test_is_refused_with(self, changes):
        assert_refused(self.INDEX, **changes)

    def test_the_largest_index_fits_its_limit(self):
        profile = {f"{n:064}": "x" * limits.MAX_PROFILE_TEXT for n in range(limits.MAX_PROFILE)}
        parents = tuple(map(key, range(limits.MAX_PARENTS)))
        assert Index(PUBLISHER, key(1), 1, parents, 2, 0, profile, bytes(32)).to_payload()


class TestHead:
    HEAD = Head(PUBLISHER, bytes(32), 1, 2, 3, 100, (b"root",), b"delegation")

    def test_survives(self):
        assert Head.from_payload(self.HEAD.to_payload()) == self.HEAD

    def test_the_root_counts_before_the_delegation_and_that_before_the_index(self):
        orders = [
            Head(PUBLISHER, bytes(32), *numbers, 0, (b"r",), b"d").order
            for numbers in [(1, 1, 9), (1, 2, 1), (2, 1, 1)]
        ]
        assert orders == sorted(orders)

    @pytest.mark.parametrize(
        "changes",
        [
            {"publisher": ...},
            {"index": b""},
            {"root_v": 0},
            {"delegation_version": 0},
            {"seq": 0},
            {"not_after": 0},
            {"roots": []},
            {"roots": [b""]},
            {"roots": ["root"]},
            {"roots": [b"r"] * (limits.MAX_ROOT_CHAIN + 1)},
            {"delegation": b""},
            {"delegation": ...},
        ],
        ids=repr,
    )
    def test_is_refused_with(self, changes):
        assert_refused(self.HEAD, **changes)

    def test_eight_large_roots_and_the_largest_delegation_fit_the_record(self):
        five = KeySet(tuple(map(key, range(5))), 3)
        root = Root(limits.MAX_INTEGER, bytes(32), five, bytes(32), five)
        delegation = Delegation(PUBLISHER, 1, (ReleaseKey(key(1)),), extra={"x": bytes(1390)})
        assert len(delegation.to_payload()) > limits.MAX_DELEGATION - 10
        head = Head(
            PUBLISHER,
            bytes(32),
            8,
            1,
            limits.MAX_INTEGER,
            limits.MAX_TIME,
            (enveloped(root, 3),) * limits.MAX_ROOTS,
            enveloped(delegation, 3),
        )
        assert len(enveloped(head, 1)) <= limits.MAX_HEAD

    def test_a_head_too_large_for_the_dht_is_refused_before_it_is_signed(self):
        head = Head(PUBLISHER, bytes(32), 1, 1, 1, 0, (bytes(limits.MAX_HEAD),), b"d")
        with pytest.raises(MalformedError, match="bytes"):
            head.to_payload()

    def test_a_head_at_its_limit_leaves_room_for_the_signature(self):
        small = len(Head(PUBLISHER, bytes(32), 1, 1, 1, 0, (bytes(1000),), b"d").to_payload())
        room = limits.MAX_HEAD_PAYLOAD - small
        head = Head(PUBLISHER, bytes(32), 1, 1, 1, 0, (bytes(1000 + room),), b"d")
        assert len(head.to_payload()) == limits.MAX_HEAD_PAYLOAD
        assert len(enveloped(head, 1)) <= limits.MAX_HEAD


def enveloped(document, signatures):
    """About what an envelope looks like: the type, the payload, and a key with each signature."""
    signed = [{"key": bytes(32), "signature": bytes(64)}] * signatures
    kind = f"application/vnd.p2phub.{document.TYPE}+msgpack"
    return encode({"type": kind, "payload": document.to_payload(), "signatures": signed})
