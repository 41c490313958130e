"""Backups that must come back whole with the phrase, and be worth nothing without it."""

import json
import stat
from base64 import b64encode
from dataclasses import replace

import pytest

from p2phub.errors import MalformedError, NotFoundError, P2PHubError, RefusedError, UsageError
from p2phub.formats import limits
from p2phub.formats.ids import PublisherId
from p2phub.store import backup
from p2phub.store.backup import (
    MAX_BACKUP,
    MAX_BACKUP_KEYS,
    Backup,
    backup_text,
    parse_backup,
    read_backup,
)
from p2phub.store.disk import Disk
from p2phub.store.private_file import write_new
from p2phub.trust.secrets import Master, RootSecret

MASTER = Master(bytes(range(32)))
SEED, OTHER = bytes(range(100, 132)), bytes(range(200, 232))
BACKUP = Backup(
    PublisherId(b"\7" * 32),
    RootSecret(MASTER, ((1, OTHER),)),
    {"release": SEED, "guest": OTHER},
    (b"root 1", b"root 2"),
    b"delegation",
    1_800_000_000,
)
TEXT = backup_text(BACKUP, bytes(12))
FIRST = {
    "version": 1,
    "publisher_id": str(PublisherId(b"\7" * 32)),
    "root": (b"\1" * 32).hex(),
    "next": [(b"\2" * 32).hex()],
    "release": SEED.hex(),
}


def phrase():
    return MASTER.phrase()


def nobody():
    raise AssertionError("nobody is to be asked")


def opened(text, ask):
    """What `read_backup` makes of a file with this text."""
    found = parse_backup(text)
    return found if isinstance(found, Backup) else found.open(Master.from_phrase(ask()))


def changed(**fields):
    return json.dumps(json.loads(TEXT) | fields).encode()


class TestSecondVersion:
    def test_a_backup_comes_back_whole_with_the_phrase(self, tmp_path):
        path = tmp_path / "backup.json"
        write_new(Disk(), path, TEXT, "")
        assert read_backup(path, phrase) == BACKUP
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

    def test_a_person_can_read_what_it_is_and_a_thief_no_key(self):
        found = json.loads(TEXT)
        assert next(iter(found)) == "what_this_is"
        assert found["publisher_id"] == str(BACKUP.publisher)
        secrets = [SEED, OTHER, bytes(MASTER.secret), MASTER.backup_key()]
        for secret in secrets:
            assert secret.hex() not in TEXT.decode()

    def test_the_phrase_of_another_publisher_does_not_open_it(self):
        with pytest.raises(MalformedError, match="does not open"):
            opened(TEXT, Master(bytes(32)).phrase)

    def test_a_phrase_with_a_typo_is_told_by_its_word(self):
        with pytest.raises(UsageError, match="word 24"):
            opened(TEXT, lambda: phrase().rpartition(" ")[0] + " artt")

    def test_an_error_of_who_is_asked_is_not_blamed_on_the_file(self, tmp_path):
        def refuse():
            raise RefusedError("nobody here")

        (tmp_path / "b").write_bytes(TEXT)
        with pytest.raises(RefusedError, match=r"^nobody here$"):
            read_backup(tmp_path / "b", refuse)

    @pytest.mark.parametrize("field", ["publisher_id", "created", "roots", "delegation", "sealed"])
    def test_a_changed_public_part_is_found_out(self, field):
        found = json.loads(TEXT)
        other = {
            "publisher_id": str(PublisherId(b"\10" * 32)),
            "created": 5,
            "roots": found["roots"][:1],
            "delegation": found["roots"][0],
            "sealed": "A" * len(found["sealed"]),
        }
        with pytest.raises(MalformedError, match="was changed"):
            opened(changed(**{field: other[field]}), phrase)

    @pytest.mark.parametrize(
        "fields",
        [
            {"roots": []},
            {"roots": 5},
            {"roots": ["AA==", 5]},
            {"roots": ["AA=="] * (limits.MAX_ROOT_CHAIN + 1)},
            {"delegation": ""},
            {"delegation": "§"},
            {"delegation": "A" * 80_000},
            {"created": -1},
            {"created": limits.MAX_TIME + 1},
            {"created": "yesterday"},
            {"created": True},
            {"nonce": "00"},
            {"nonce": 5},
            {"sealed": ""},
            {"sealed": "A" * 40_000},
            {"publisher_id": "x"},
            {"version": None},
        ],
    )
    def test_a_field_of_the_wrong_kind_is_refused_before_anybody_is_asked(self, fields):
        with pytest.raises(UsageError):
            opened(changed(**fields), nobody)

    def test_as_many_roots_and_keys_as_allowed_fit_and_no_more_keys(self):
        packed = bytes(limits.MAX_DELEGATION + limits.MAX_ENVELOPE_OVERHEAD)
        keys = {f"key-{at}": SEED for at in range(MAX_BACKUP_KEYS)}
        most = replace(
            BACKUP,
            roots=(packed,) * limits.MAX_ROOT_CHAIN,
            delegation=packed,
            release=keys,
            created=limits.MAX_TIME,
        )
        text = backup_text(most, bytes(12))
        assert len(text) <= MAX_BACKUP
        assert opened(text, phrase) == most
        with pytest.raises(UsageError, match=f"at most {MAX_BACKUP_KEYS}"):
            backup_text(replace(BACKUP, release=keys | {"more": SEED}), bytes(12))

    @pytest.mark.parametrize("over", [0, 1])
    def test_secrets_that_are_too_long_are_refused_before_anybody_is_asked(self, over):
        sealed, asked = b64encode(bytes(backup._MAX_SEALED + over)).decode(), []
        with pytest.raises(P2PHubError):
            opened(changed(sealed=sealed), lambda: asked.append(1) or phrase())
        assert len(asked) == 1 - over

    def test_a_publisher_without_a_phrase_gets_no_backup_that_needs_one(self):
        lone = replace(BACKUP, root=RootSecret(lone=((1, SEED),)))
        with pytest.raises(UsageError, match="no recovery phrase"):
            backup_text(lone, bytes(12))


class TestFirstVersion:
    def test_an_old_backup_is_read_and_nobody_is_asked(self, tmp_path):
        (tmp_path / "b").write_text(json.dumps(FIRST))
        found = read_backup(tmp_path / "b", nobody)
        assert found.publisher == BACKUP.publisher
        assert found.root == RootSecret(lone=((1, b"\1" * 32), (2, b"\2" * 32)))
        assert found.release == {"release": SEED}
        assert found.roots == ()

    @pytest.mark.parametrize(
        "fields",
        [
            {"root": SEED.hex()[:-2]},
            {"root": 5},
            {"release": None},
            {"next": 5},
            {"next": ["zz"]},
            {"next": [SEED.hex()] * 2},
            {"publisher_id": "x"},
        ],
    )
    def test_a_damaged_old_backup_is_refused(self, fields):
        with pytest.raises(UsageError):
            opened(json.dumps(FIRST | fields).encode(), nobody)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "null", "not json", "[" * 60_000, '{"version": 3}', '{"version": 1}']
)
def test_a_file_that_is_no_backup_is_refused_without_a_traceback(tmp_path, text):
    (tmp_path / "b").write_text(text)
    with pytest.raises(UsageError) as caught:
        read_backup(tmp_path / "b", nobody)
    assert str(tmp_path / "b") in caught.value.message
    assert caught.value.remedy


def test_a_file_of_the_greatest_length_is_read_and_a_longer_one_is_not(tmp_path):
    text = json.dumps(FIRST)
    most = text + " " * (MAX_BACKUP - len(text))
    (tmp_path / "b").write_text(most)
    assert read_backup(tmp_path / "b", nobody).publisher == BACKUP.publisher
    (tmp_path / "b").write_text(most + " ")
    with pytest.raises(UsageError):
        read_backup(tmp_path / "b", nobody)


def test_a_backup_that_is_not_there_is_not_found(tmp_path):
    with pytest.raises(NotFoundError):
        read_backup(tmp_path / "b", nobody)


def test_a_truncated_backup_never_comes_back():
    for end in range(0, len(TEXT) - 2, 7):
        with pytest.raises(P2PHubError):
            opened(TEXT[:end], phrase)


def test_a_backup_does_not_show_what_it_holds():
    for secret in (SEED, OTHER, bytes(MASTER.secret)):
        assert secret.hex() not in repr(BACKUP)
        assert repr(secret)[2:-1] not in repr(BACKUP)
    assert str(BACKUP.publisher.digest)[2:-1] in repr(BACKUP)
