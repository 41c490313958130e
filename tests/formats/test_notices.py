import pytest

from p2phub.errors import MalformedError
from p2phub.formats import limits
from p2phub.formats.codec import decode, encode
from p2phub.formats.digest import sha256
from p2phub.formats.notices import (
    ForkProof,
    Revocation,
    RevokedFile,
    RevokedKey,
    RevokedRelease,
    Withdrawal,
)

PUBLISHER = sha256(b"publisher")
RELEASE = sha256(b"release")
KEY = sha256(b"key")
REASONS = ("r", "r" * limits.MAX_REASON)


def revocation(revoked, reason="stolen"):
    return Revocation(PUBLISHER, 2, revoked, 1_700_000_000, reason)


def changed(document, **changes):
    fields = decode(document.to_payload(), limit=2**20) | changes
    return encode({name: value for name, value in fields.items() if value is not ...})


@pytest.mark.parametrize(
    "notice",
    [
        revocation(RevokedRelease(RELEASE)),
        revocation(RevokedFile(sha256(b"file"))),
        revocation(RevokedKey(KEY)),
        revocation(RevokedKey(KEY, 7, sha256(b"index"))),
        Withdrawal(PUBLISHER, RELEASE, 1_700_000_000, "a mistake"),
        ForkProof(PUBLISHER, b"one", b"two"),
    ],
    ids=lambda notice: f"{notice.TYPE} {type(getattr(notice, 'revoked', None)).__name__}",
)
class TestEveryNotice:
    def test_survives(self, notice):
        assert type(notice).from_payload(notice.to_payload()) == notice

    def test_keeps_what_a_later_version_says(self, notice):
        data = changed(notice, later={"x": 1})
        assert type(notice).from_payload(data).to_payload() == data

    @pytest.mark.parametrize("field", ["publisher", "type", "requires"])
    def test_is_refused_without(self, notice, field):
        with pytest.raises(MalformedError):
            type(notice).from_payload(changed(notice, **{field: ...}))

    def test_one_changed_byte_never_reads_as_the_same(self, notice):
        data = notice.to_payload()
        for at in range(len(data)):
            other = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
            try:
                assert type(notice).from_payload(other) != notice
            except MalformedError:
                continue


@pytest.mark.parametrize(
    "changes",
    [
        {"release": ...},
        {"key": KEY},
        {"file": RELEASE},
        {"release": RELEASE[:31]},
        {"root_v": 0},
        {"reason": ""},
        {"reason": "r" * (limits.MAX_REASON + 1)},
        {"reason": "two\nlines"},
        {"created": -1},
        {"created": limits.MAX_TIME + 1},
    ],
    ids=repr,
)
def test_a_revocation_is_refused_with(changes):
    with pytest.raises(MalformedError):
        Revocation.from_payload(changed(revocation(RevokedRelease(RELEASE)), **changes))


@pytest.mark.parametrize(
    "changes",
    [{"last_seq": ...}, {"last_index": ...}, {"last_seq": 0}, {"last_index": RELEASE[:31]}],
    ids=repr,
)
def test_the_last_good_index_of_a_key_is_named_whole(changes):
    with pytest.raises(MalformedError):
        Revocation.from_payload(changed(revocation(RevokedKey(KEY, 7, RELEASE)), **changes))


@pytest.mark.parametrize("reason", REASONS, ids=len)
def test_a_reason_may_be_as_long_as_the_limit(reason):
    for notice in (
        revocation(RevokedKey(KEY, limits.MAX_INTEGER, RELEASE), reason),
        Withdrawal(PUBLISHER, RELEASE, limits.MAX_TIME, reason),
    ):
        assert type(notice).from_payload(notice.to_payload()) == notice


def test_a_longer_reason_is_not_signed():
    with pytest.raises(MalformedError):
        Withdrawal(PUBLISHER, RELEASE, 1, "r" * (limits.MAX_REASON + 1)).to_payload()


class TestForkProof:
    def test_has_one_spelling_whoever_found_it(self):
        assert ForkProof(PUBLISHER, b"a", b"b").digest == ForkProof(PUBLISHER, b"b", b"a").digest

    @pytest.mark.parametrize("changes", [{"first": b"two"}, {"first": b"z"}, {"second": b""}])
    def test_is_refused_with(self, changes):
        with pytest.raises(MalformedError):
            ForkProof.from_payload(changed(ForkProof(PUBLISHER, b"one", b"two"), **changes))

    def test_holds_two_of_the_largest_indexes(self):
        largest = bytes(limits.MAX_INDEX + limits.MAX_ENVELOPE_OVERHEAD)
        assert ForkProof(PUBLISHER, largest, largest[:-1] + b"x").to_payload()

    def test_is_refused_beyond_its_limit(self):
        with pytest.raises(MalformedError):
            ForkProof(PUBLISHER, b"a" * (limits.MAX_FORK - 8), b"b").to_payload()
