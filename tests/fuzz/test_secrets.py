"""What people and thieves put into phrases, locked keys and backups: it is read, or it is our own
error, quickly; one changed byte never opens."""

import json
from contextlib import contextmanager

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from p2phub.errors import P2PHubError, RefusedError
from p2phub.formats.ids import PublisherId
from p2phub.store.backup import Backup, SealedBackup, backup_text, parse_backup
from p2phub.trust import sealing
from p2phub.trust.secrets import Master, RootSecret

MASTER = Master(bytes(range(32)))
PASSPHRASE = "correct horse battery"
BACKUP = Backup(
    PublisherId(b"\7" * 32), RootSecret(MASTER), {"release": bytes(32)}, (b"root",), b"delegation"
)
BACKED_UP = backup_text(BACKUP, bytes(12))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@pytest.fixture(scope="module", autouse=True)
def cheap():
    """Scrypt with the least memory, also where a file asks for the most that is allowed."""
    before = sealing.N, sealing.stretch
    sealing.N = 2
    sealing.stretch = lambda passphrase, salt, n, r, p: before[1](passphrase, salt, 2, 1, 1)
    yield
    sealing.N, sealing.stretch = before


def locked():
    return sealing.lock(bytes(32), PASSPHRASE, salt=bytes(16), nonce=bytes(12))


@contextmanager
def ours():
    """What is refused in here is refused with an error that says what to do."""
    try:
        yield
    except P2PHubError as error:
        if not error.remedy:
            raise AssertionError(f"{error} says not what to do") from error


@given(st.binary(min_size=32, max_size=32))
def test_every_master_comes_back_from_its_phrase(secret):
    assert Master.from_phrase(Master(secret).phrase()).secret == secret


@given(st.text(max_size=1500) | st.lists(st.sampled_from(MASTER.phrase().split())).map(" ".join))
@example("abandon " * 24)
@example("\u2028".join(MASTER.phrase().split()))
def test_any_text_is_a_phrase_or_our_error(text):
    with ours():
        assert Master.from_phrase(text).phrase().split() == text.lower().split()


@given(st.dictionaries(st.sampled_from(["scrypt", "nonce", "sealed", "version"]), JSON))
def test_any_field_of_a_locked_key_is_read_or_our_error(fields):
    text = json.dumps(json.loads(locked()) | fields).encode()
    with ours():
        assert sealing.unlock(text, PASSPHRASE) == bytes(32)


@given(st.data())
def test_one_changed_byte_of_a_locked_key_never_gives_another_secret(data):
    text = bytearray(locked())
    at = data.draw(st.integers(0, len(text) - 1))
    text[at] ^= data.draw(st.integers(1, 255))
    with ours():
        assert sealing.unlock(bytes(text), PASSPHRASE) == bytes(32)


@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_a_locked_key_a_backup_or_our_error(data):
    for read in (lambda: sealing.unlock(data, PASSPHRASE), lambda: parse_backup(data)):
        with pytest.raises(P2PHubError):
            read()


@given(st.dictionaries(st.sampled_from(sorted(json.loads(BACKED_UP))), JSON, min_size=1))
def test_any_field_of_a_backup_is_the_same_one_or_our_error(fields):
    text = json.dumps(json.loads(BACKED_UP) | fields).encode()
    with ours():
        found = parse_backup(text)
        assert isinstance(found, SealedBackup)
        assert found.open(MASTER) == BACKUP


@given(st.binary(max_size=300))
def test_any_bytes_are_a_root_secret_or_our_error(data):
    with pytest.raises(P2PHubError):
        RootSecret.unpack(data)


def test_a_wrong_passphrase_is_told_apart_from_a_damaged_file():
    with pytest.raises(RefusedError):
        sealing.unlock(locked(), PASSPHRASE + "!")
