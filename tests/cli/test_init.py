"""`init`, `key backup` and `key lock` as a person or a script meets them."""

import json
import os
import re
import stat
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from p2phub.node.backups import new_backup_path
from p2phub.store.keyring import Keyring
from p2phub.store.layout import Layout
from p2phub.testing.terminals import Terminal
from p2phub.trust import sealing
from p2phub.trust.keys import SigningKey
from p2phub.trust.secrets import Master, RootSecret

PASSPHRASE = "correct horse battery"
GOLDEN = Path(__file__).parent.parent / "golden" / "v0.1" / "secrets"


@pytest.fixture
def cheap(monkeypatch):
    """For commands that run in this process."""
    monkeypatch.setattr(sealing, "N", 2)


@pytest.fixture
def passphrase_file(tmp_path):
    path = tmp_path / "passphrase"
    path.touch(mode=0o600)
    path.write_text(PASSPHRASE + "\n")
    return path


@pytest.fixture
def keyring(home):
    return Keyring(Layout.of(home))


@pytest.fixture
def person(home):
    """Starts commands on a terminal."""
    environ = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}

    def start(*words):
        return Terminal([sys.executable, "-m", "p2phub", "--home", home, *words], environ)

    return start


def shows(text, phrase):
    """Whether two words of a phrase stand together in a text: one alone may be any English word."""
    words = [word.strip('",.') for word in text.split()]
    pairs = set(pairwise(words))
    known = phrase.split()
    return bool(pairs & set(pairwise(known)))


def phrase_on(screen):
    words = re.findall(r"\d+\. ([a-z]+)", screen)
    assert len(words) == 24
    return " ".join(words)


class TestTerminal:
    def test_a_person_gets_the_phrase_once_and_locks_the_root(self, person, keyring, home):
        init = person("init", "--name", "me")
        init.type("[yes/no]", "yes")
        init.type("New passphrase", PASSPHRASE)
        init.type("again", PASSPHRASE)
        assert init.end() == 0
        assert PASSPHRASE not in init.screen
        master = Master.from_phrase(phrase_on(init.screen))
        assert keyring.root(lambda: PASSPHRASE) == RootSecret(master)
        assert not list(home.rglob("*.phrase"))
        again = person("init")
        assert again.end() == 0
        assert "had an identity already" in again.screen
        assert not shows(again.screen, master.phrase())

    def test_without_a_passphrase_the_root_is_on_paper_only(self, person, keyring):
        init = person("init")
        init.type("[yes/no]", "yes")
        init.type("New passphrase", "")
        assert init.end() == 0
        assert "root" not in keyring.names()
        assert "not kept on this machine" in init.screen

    def test_who_has_no_pen_gets_no_publisher(self, person, keyring, home):
        init = person("init")
        init.type("[yes/no]", "no")
        assert init.end() == 2
        assert keyring.names() == ("node",)
        assert not (home / "p2phub-backup.json").exists()

    def test_a_restore_asks_for_phrase_and_passphrase(self, cli, person, home, tmp_path):
        made = cli("--json", "init").objects[0]
        phrase = (home / "p2phub-backup.json.phrase").read_text().strip()
        other = tmp_path / "other"
        restore = person("--home", other, "init", "--restore", home / "p2phub-backup.json")
        restore.type("24 words", phrase)
        restore.type("New passphrase", PASSPHRASE)
        restore.type("again", PASSPHRASE)
        assert restore.end() == 0
        assert made["publisher_id"] in restore.screen
        assert "Connect to peers" in restore.screen
        assert not shows(restore.screen, phrase)
        secret = Keyring(Layout.of(other)).root(lambda: PASSPHRASE)
        assert secret == RootSecret(Master.from_phrase(phrase))

    def test_a_backup_shows_the_phrase_to_who_knows_the_passphrase(
        self, cli, person, home, passphrase_file
    ):
        cli("init", "--passphrase-file", passphrase_file)
        phrase = (home / "p2phub-backup.json.phrase").read_text().strip()
        wrong = person("key", "backup")
        wrong.type("Passphrase", "not this one")
        assert wrong.end() == 7
        right = person("key", "backup")
        right.type("Passphrase", PASSPHRASE)
        assert right.end() == 0
        assert phrase_on(right.screen) == phrase


class TestScript:
    def test_the_phrase_goes_to_a_file_and_nowhere_else(self, cli, home, tmp_path, cheap):
        words = tmp_path / "words"
        result = cli("--json", "--verbose", "init", "--phrase-file", words)
        assert result.code == 0
        assert result.objects[0]["phrase_file"] == str(words)
        assert stat.S_IMODE(words.stat().st_mode) == 0o600
        assert shows(words.read_text(), words.read_text())
        assert not shows(result.out + result.err, words.read_text())

    def test_what_to_do_with_the_files_is_told_on_standard_error(self, cli, home):
        result = cli("init")
        assert "two safe places" in result.err
        assert str(home / "p2phub-backup.json.phrase") in result.err
        assert "not kept on this machine" in result.err

    def test_a_phrase_file_that_is_there_is_not_overwritten(self, cli, tmp_path):
        (tmp_path / "words").write_text("my thesis")
        assert cli("init", "--phrase-file", tmp_path / "words").code == 7
        assert (tmp_path / "words").read_text() == "my thesis"

    def test_a_passphrase_file_that_others_can_read_makes_nothing(
        self, cli, keyring, passphrase_file
    ):
        passphrase_file.chmod(0o644)
        result = cli("init", "--passphrase-file", passphrase_file)
        assert result.code == 7
        assert PASSPHRASE not in result.err
        assert keyring.names() == ()

    def test_the_root_is_kept_behind_the_passphrase(self, cli, keyring, passphrase_file, cheap):
        assert cli("--json", "init", "--passphrase-file", passphrase_file).objects[0]["root_kept"]
        assert keyring.is_locked("root")

    def test_recovery_keys_are_checked(self, cli, keyring):
        keys = [SigningKey(bytes([n]) * 32).public.hex() for n in (1, 2, 3)]
        given = [word for key in keys for word in ("--recovery", key)]
        assert cli("init", *given, "--recovery-threshold", "4").code == 2
        assert cli("init", "--recovery", "abc").code == 2
        assert cli("init", "--recovery-threshold", "1").code == 2
        assert keyring.names() == ()
        assert cli("init", *given, "--recovery-threshold", "2").code == 0

    def test_restore_without_a_phrase_says_how_to_give_it(self, cli, home, tmp_path):
        cli("init")
        other = ["--home", tmp_path / "other", "init", "--restore", home / "p2phub-backup.json"]
        result = cli(*other)
        assert result.code == 7
        assert "--phrase-file" in result.err
        assert cli(*other, "--phrase-file", home / "p2phub-backup.json.phrase").code == 0
        assert cli(*other, "--backup", tmp_path / "b").code == 2
        assert cli(*other, "--recovery-threshold", "0").code == 2

    def test_an_old_plain_root_is_told_of(self, cli, keyring, home):
        cli("init")
        keyring.save("root", bytes(32))
        assert "p2phub key lock" in cli("init").err
        assert "p2phub key lock" not in cli("--json", "init").out


class TestBackup:
    def test_with_the_passphrase_and_no_terminal_the_phrase_is_not_shown(
        self, cli, home, passphrase_file, tmp_path, cheap
    ):
        cli("init", "--passphrase-file", passphrase_file)
        phrase = (home / "p2phub-backup.json.phrase").read_text()
        for flags in ([], ["--json"]):
            file = tmp_path / f"fresh{len(flags)}"
            result = cli(*flags, "key", "backup", "--file", file, "--passphrase-file",
                         passphrase_file)  # fmt: skip
            assert result.code == 0, result
            assert file.exists()
            assert not shows(result.out + result.err, phrase)

    def test_a_phrase_file_that_is_not_there_is_written(
        self, cli, home, passphrase_file, tmp_path, cheap
    ):
        cli("init", "--passphrase-file", passphrase_file)
        words = tmp_path / "words"
        told = cli(
            "--json", "key", "backup", "--passphrase-file", passphrase_file, "--phrase-file", words
        ).objects[0]
        assert words.read_text() == (home / "p2phub-backup.json.phrase").read_text()
        assert told["phrase_file"] == str(words)
        assert told["keys"] == ["oms", "release"]

    def test_a_phrase_file_that_is_there_is_read_where_the_root_is_not_kept(self, cli, home):
        cli("init")
        words = home / "p2phub-backup.json.phrase"
        result = cli("--json", "key", "backup", "--phrase-file", words)
        assert result.code == 0
        assert (home / result.objects[0]["backup"]).exists()
        assert cli("key", "backup").code == 7

    def test_the_phrase_of_another_publisher_is_refused(self, cli, tmp_path):
        cli("init")
        other = tmp_path / "words"
        other.touch(mode=0o600)
        other.write_text(Master(bytes(32)).phrase())
        assert cli("key", "backup", "--phrase-file", other).code == 4
        assert cli("key", "lock", "--phrase-file", other).code == 4

    def test_a_machine_without_a_publisher_points_to_init(self, cli):
        for verb in ("backup", "lock"):
            result = cli("key", verb)
            assert result.code == 3
            assert "p2phub init" in result.err


def test_a_lost_backup_is_made_up_for_by_the_phrase_and_what_everybody_knows(cli, home, tmp_path):
    publisher = cli("--json", "init").objects[0]["publisher_id"]
    words, papers = home / "p2phub-backup.json.phrase", tmp_path / "papers"
    assert cli("key", "export", papers).code == 0
    other = ["--home", tmp_path / "other"]
    restored = cli(*other, "init", "--restore", papers, "--phrase-file", words)
    assert restored.code == 0
    assert publisher in restored.out
    assert "key new release" in restored.err
    key = cli(*other, "--json", "key", "new", "release").objects[0]["key"]
    made = cli(*other, "--json", "key", "allow", key, "--phrase-file", words)
    assert made.objects[0]["release_key"] == key


def test_two_backups_of_one_second_have_two_names(tmp_path):
    first = new_backup_path(tmp_path, 1_800_000_000)
    first.touch()
    second = new_backup_path(tmp_path, 1_800_000_000)
    second.touch()
    assert len({first, second, new_backup_path(tmp_path, 1_800_000_000)}) == 3


class TestLock:
    def test_a_root_on_paper_is_brought_here(self, cli, home, keyring, passphrase_file, cheap):
        cli("init")
        words = home / "p2phub-backup.json.phrase"
        result = cli(
            "--json", "key", "lock", "--phrase-file", words, "--new-passphrase-file",
            passphrase_file,
        )  # fmt: skip
        assert result.code == 0, result
        assert keyring.root(lambda: PASSPHRASE).master.phrase() == words.read_text().strip()

    def test_a_passphrase_is_replaced(self, cli, keyring, passphrase_file, tmp_path, cheap):
        cli("init", "--passphrase-file", passphrase_file)
        before = keyring.root(lambda: PASSPHRASE)
        new = tmp_path / "new"
        new.touch(mode=0o600)
        new.write_text("another one entirely")
        files = ["--passphrase-file", passphrase_file, "--new-passphrase-file", new]
        assert cli("key", "lock", *files).code == 0
        assert keyring.root(lambda: "another one entirely") == before
        assert cli("key", "lock", *files).code == 7


class TestOldHome:
    """A home that an older p2phub made: a plain root key, and a backup that nothing seals."""

    @pytest.fixture
    def backup(self, cli, keyring):
        backup = GOLDEN / "backup-1.json"
        assert cli("init", "--restore", backup).code == 0
        keyring.save("root", bytes.fromhex(json.loads(backup.read_text())["root"]))
        return backup

    def test_is_told_to_lock_its_root_and_can(self, cli, backup, keyring, passphrase_file, cheap):
        assert "p2phub key lock" in cli("init").err
        assert cli("key", "lock", "--new-passphrase-file", passphrase_file).code == 0
        assert "p2phub key lock" not in cli("init").err
        assert keyring.root(lambda: PASSPHRASE).root_key(1).seed.hex() in backup.read_text()

    def test_is_not_asked_for_by_its_stale_root_after_a_rotation(
        self, cli, backup, keyring, passphrase_file, tmp_path, cheap
    ):
        words = tmp_path / "words"
        assert cli("key", "rotate", "--old-backup", backup, "--new-phrase-file", words).code == 0
        refused = cli("key", "backup")
        assert refused.code == 7
        assert "--phrase-file" in refused.err
        assert "is an older one" in refused.err
        assert cli("key", "backup", "--phrase-file", words).code == 0
        lock = ["key", "lock", "--new-passphrase-file", passphrase_file]
        assert cli(*lock, "--phrase-file", words).code == 0
        secret = keyring.root(lambda: PASSPHRASE)
        assert secret == RootSecret(Master.from_phrase(words.read_text()))
        remove = ["key", "allow", SigningKey(bytes(32)).public.hex()]
        assert cli(*remove, "--passphrase-file", passphrase_file).code == 0

    def test_gets_a_phrase_by_a_rotation_and_a_backup_that_restores(
        self, cli, backup, keyring, passphrase_file, tmp_path, cheap
    ):
        publisher = cli("--json", "id").objects[0]["publisher_id"]
        refused = cli("key", "backup")
        assert refused.code == 2
        assert "--old-backup" in refused.err
        cli("key", "lock", "--new-passphrase-file", passphrase_file)
        words, fresh = tmp_path / "words", tmp_path / "fresh"
        unlock = ["--passphrase-file", passphrase_file]
        lone = cli("key", "rotate", *unlock, "--new-phrase-file", words)
        assert lone.code == 3
        assert "--old-backup" in lone.err
        rotate = ["key", "rotate", "--old-backup", backup, "--new-phrase-file", words]
        assert cli(*rotate, *unlock).code == 0
        assert cli("key", "backup", *unlock, "--file", fresh).code == 0
        other = ["--home", tmp_path / "other"]
        made = cli(*other, "--json", "init", "--restore", fresh, "--phrase-file", words)
        assert made.objects[0]["publisher_id"] == publisher
        master = Master.from_phrase(words.read_text())
        assert keyring.root(lambda: PASSPHRASE) == RootSecret(master)
