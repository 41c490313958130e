"""Model signatures: whose counts, and what certifying a key changes."""

from dataclasses import replace

import pytest

from p2phub.errors import MalformedError, RefusedError, UntrustedError, UsageError, WrongBytesError
from p2phub.formats import limits
from p2phub.formats.digest import sha256
from p2phub.formats.oms import about
from p2phub.formats.publisher import Delegation, ReleaseKey
from p2phub.formats.sigstore import Bundle, pre_authentication
from p2phub.trust.model_keys import ModelKey
from p2phub.trust.model_signatures import certified, check, sign_statement

KEY, OTHER = ModelKey(b"k" * 32), ModelKey(b"o" * 32)
STATEMENT = about("minilm", [(("a.txt",), sha256(b"a"))])
BUNDLE = Bundle.unpack(sign_statement(STATEMENT, KEY))
DELEGATION = Delegation(bytes(32), 4, (ReleaseKey(b"r" * 32),))


def test_a_signature_by_a_key_that_counts_is_good():
    found = check(BUNDLE, [OTHER.public, KEY.public])
    assert (found.statement, found.key) == (STATEMENT, KEY.public)


def test_the_same_statement_makes_the_same_file():
    assert sign_statement(STATEMENT, KEY) == sign_statement(STATEMENT, KEY)


@pytest.mark.parametrize("keys", [[], [OTHER.public], [b"\x02" + b"\xff" * 32]])
def test_a_key_that_does_not_count_is_not_believed(keys):
    with pytest.raises(UntrustedError, match="does not count"):
        check(BUNDLE, keys)


def test_a_hint_at_a_key_that_counts_does_not_help_another_signature():
    lie = replace(Bundle.unpack(sign_statement(STATEMENT, OTHER)), hint=BUNDLE.hint)
    with pytest.raises(WrongBytesError):
        check(lie, [KEY.public])


def test_without_a_hint_every_key_that_counts_is_tried():
    silent = replace(BUNDLE, hint="")
    assert check(silent, [b"\x02" + b"\xff" * 32, OTHER.public, KEY.public]).key == KEY.public
    with pytest.raises(WrongBytesError):
        check(silent, [OTHER.public])


def test_one_changed_byte_of_the_statement_is_found_before_it_is_read():
    for at in range(0, len(BUNDLE.payload), 17):
        wrong = bytearray(BUNDLE.payload)
        wrong[at] ^= 1
        with pytest.raises(WrongBytesError):
            check(replace(BUNDLE, payload=bytes(wrong)), [KEY.public])


def test_signed_nonsense_is_no_statement():
    payload = b"[]"
    signed = Bundle(payload, KEY.sign(pre_authentication(payload)))
    with pytest.raises(MalformedError):
        check(signed, [KEY.public])


def test_certifying_counts_the_delegation_on_and_changes_nothing_else():
    made = certified(DELEGATION, KEY.public)
    assert made == replace(DELEGATION, version=5, oms_keys=(KEY.public,))
    assert Delegation.from_payload(made.to_payload()) == made


def test_certifying_twice_says_so():
    with pytest.raises(UsageError, match="already"):
        certified(certified(DELEGATION, KEY.public), KEY.public)


def test_there_is_room_for_so_many_keys_and_one_can_take_the_place_of_all():
    keys = [ModelKey(bytes([n]) * 32).public for n in range(limits.MAX_OMS_KEYS)]
    full = DELEGATION
    for key in keys:
        full = certified(full, key)
    assert set(full.oms_keys) == set(keys)
    with pytest.raises(RefusedError, match="no more are allowed"):
        certified(full, KEY.public)
    assert certified(full, KEY.public, alone=True).oms_keys == (KEY.public,)


@pytest.mark.parametrize("key", [b"", bytes(32), b"\x02" + bytes(48)])
def test_a_key_of_another_curve_is_not_certified(key):
    with pytest.raises(UsageError, match="P-256"):
        certified(DELEGATION, key)
