"""Locked secrets: files that cost too much, wrong passphrases, changed bytes."""

import json
import unicodedata

import pytest

from p2phub.errors import MalformedError, NewerVersionError, RefusedError, UsageError
from p2phub.formats.digest import sha256
from p2phub.trust import sealing
from p2phub.trust.sealing import (
    MAX_LOCKED,
    MAX_MEMORY,
    MAX_PASSPHRASE,
    MAX_ROUNDS,
    MAX_SECRET,
    MIN_PASSPHRASE,
    is_lock,
    lock,
    unlock,
)

SECRET, PASSPHRASE = bytes(range(200, 232)), "Pferd, Heftklammer"
RANDOM = {"salt": bytes(range(16)), "nonce": bytes(range(12))}


@pytest.fixture
def cheap(monkeypatch):
    """Scrypt that costs nothing, which the bounds do not depend on; what it was asked for."""
    asked = []

    def stretch(passphrase, salt, n, r, p):
        asked.append((n, r, p))
        return sha256(passphrase + salt)

    monkeypatch.setattr(sealing, "stretch", stretch)
    return asked


def changed(text, **fields):
    found = json.loads(text)
    scrypt = {name: fields.pop(name) for name in "nrp" if name in fields}
    if "salt" in fields:
        scrypt["salt"] = fields.pop("salt")
    found["scrypt"] |= scrypt
    return json.dumps(found | fields).encode()


def test_a_secret_comes_back_with_the_numbers_that_were_promised():
    text = lock(SECRET, PASSPHRASE, **RANDOM)
    assert unlock(text, PASSPHRASE) == SECRET
    assert is_lock(text)
    asked = json.loads(text)["scrypt"]
    assert (asked["n"], asked["r"], asked["p"]) == (131072, 8, 1)
    assert SECRET.hex() not in text.decode()


@pytest.mark.parametrize("typed", ["", "Pferd, heftklammer", PASSPHRASE + " ", "x" * 2000])
def test_another_passphrase_is_one_clear_error(cheap, typed):
    with pytest.raises(RefusedError, match="passphrase is wrong") as caught:
        unlock(lock(SECRET, PASSPHRASE, **RANDOM), typed)
    assert caught.value.exit == 7
    assert typed not in caught.value.message or not typed


def test_a_passphrase_typed_with_other_code_points_for_the_same_letters_opens(cheap):
    composed = "schlüssel für später"
    text = lock(SECRET, composed, **RANDOM)
    assert unlock(text, unicodedata.normalize("NFD", composed)) == SECRET


@pytest.mark.parametrize("length", [MIN_PASSPHRASE, MAX_PASSPHRASE])
def test_the_shortest_and_the_longest_passphrase_lock(cheap, length):
    assert unlock(lock(SECRET, "é" * length, **RANDOM), "é" * length) == SECRET


@pytest.mark.parametrize("length", [0, MIN_PASSPHRASE - 1, MAX_PASSPHRASE + 1])
def test_a_passphrase_beyond_the_limits_locks_nothing(cheap, length):
    with pytest.raises(UsageError, match=f"{MIN_PASSPHRASE} to {MAX_PASSPHRASE}"):
        lock(SECRET, "x" * length, **RANDOM)


def test_the_largest_secret_is_locked_and_a_larger_one_is_not(cheap):
    text = lock(bytes(MAX_SECRET), PASSPHRASE, **RANDOM)
    assert len(text) <= MAX_LOCKED
    assert unlock(text, PASSPHRASE) == bytes(MAX_SECRET)
    with pytest.raises(ValueError, match="at most"):
        lock(bytes(MAX_SECRET + 1), PASSPHRASE, **RANDOM)


@pytest.mark.parametrize(
    "numbers",
    [{"n": MAX_MEMORY // 1024}, {"n": 2, "r": MAX_MEMORY // 256}, {"p": MAX_ROUNDS}, {"n": 2}],
)
def test_numbers_up_to_the_bounds_are_tried(cheap, numbers):
    text = changed(lock(SECRET, PASSPHRASE, **RANDOM), **numbers)
    cheap.clear()
    unlock(text, PASSPHRASE)
    assert cheap == [(numbers.get("n", 1 << 17), numbers.get("r", 8), numbers.get("p", 1))]


@pytest.mark.parametrize(
    "numbers",
    [
        {"n": 2 * MAX_MEMORY // 1024},
        {"n": 1 << 40},
        {"n": 2, "r": MAX_MEMORY // 256 + 1},
        {"r": 1 << 30},
        {"p": MAX_ROUNDS + 1},
        {"n": 1},
        {"n": 0},
        {"n": -2},
        {"n": 3},
        {"r": 0},
        {"p": 0},
        {"n": "131072"},
        {"n": 131072.0},
        {"n": True},
        {"p": None},
    ],
)
def test_numbers_beyond_the_bounds_are_refused_before_any_work(cheap, numbers):
    text = changed(lock(SECRET, PASSPHRASE, **RANDOM), **numbers)
    cheap.clear()
    with pytest.raises(MalformedError):
        unlock(text, PASSPHRASE)
    assert cheap == []


@pytest.mark.parametrize(
    "fields",
    [
        {"salt": ""},
        {"salt": "00" * 15},
        {"salt": "00" * 17},
        {"salt": 5},
        {"nonce": "00" * 11},
        {"nonce": "00" * 13},
        {"nonce": "zz" * 12},
        {"sealed": "00" * 15},
        {"sealed": "00" * (MAX_SECRET + 17)},
        {"scrypt": []},
    ],
)
def test_fields_of_the_wrong_size_or_kind_are_refused_before_any_work(cheap, fields):
    text = changed(lock(SECRET, PASSPHRASE, **RANDOM), **fields)
    cheap.clear()
    with pytest.raises(MalformedError, match="locked key"):
        unlock(text, PASSPHRASE)
    assert cheap == []


@pytest.mark.parametrize("text", [b"", b"{}", b"[]", b"null", b"\xff", b"[" * 9000, b"{" * 99])
def test_a_file_that_is_no_lock_is_refused(text):
    with pytest.raises(MalformedError):
        unlock(text, PASSPHRASE)


def test_a_file_of_the_greatest_length_opens_and_a_longer_one_does_not(cheap):
    text = lock(SECRET, PASSPHRASE, **RANDOM)
    most = text + b" " * (MAX_LOCKED - len(text))
    assert unlock(most, PASSPHRASE) == SECRET
    with pytest.raises(MalformedError):
        unlock(most + b" ", PASSPHRASE)


def test_a_truncated_file_never_opens(cheap):
    text = lock(SECRET, PASSPHRASE, **RANDOM).rstrip()
    for end in range(len(text)):
        with pytest.raises(MalformedError):
            unlock(text[:end], PASSPHRASE)


def test_a_lock_of_a_newer_version_says_so(cheap):
    with pytest.raises(NewerVersionError, match="version 2"):
        unlock(changed(lock(SECRET, PASSPHRASE, **RANDOM), version=2), PASSPHRASE)


@pytest.mark.parametrize("field", ["sealed", "nonce", "salt"])
def test_one_changed_bit_does_not_open(cheap, field):
    text = lock(SECRET, PASSPHRASE, **RANDOM)
    found = json.loads(text)
    value = bytearray.fromhex(found["scrypt"]["salt"] if field == "salt" else found[field])
    value[-1] ^= 1
    with pytest.raises(RefusedError):
        unlock(changed(text, **{field: value.hex()}), PASSPHRASE)


def test_a_plain_key_is_no_lock():
    assert not is_lock(SECRET.hex().encode())
    assert not is_lock(b"")
