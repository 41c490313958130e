"""No secret is told by any command that touches keys: not in what it prints, not with --json or
--verbose, not in what it logs, and not in the traceback of any error, with every local variable."""

import logging
import os
import traceback
from pathlib import Path

import pytest

from p2phub.cli import main as command_line
from p2phub.cli.commands import key
from p2phub.cli.output import Output
from p2phub.store.disk import Disk
from p2phub.store.keyring import Keyring
from p2phub.store.layout import Layout
from p2phub.testing.leaks import Leaks
from p2phub.trust import keys, sealing
from p2phub.trust.keys import SigningKey
from p2phub.trust.secrets import Master

PASSPHRASE, OTHER = "zwölf Boxkämpfer jagen", "sphinx of black quartz"


ASK_A_NODE = {"proposals", "join"}
"""What starts a node: `tests/scenarios/test_no_secret_leaves.py` has them."""


class BugError(Exception):
    """An error that nobody expected, somewhere below a command."""


class Watched:
    """Commands, and everything that they told."""

    def __init__(self, home, capsys, caplog, monkeypatch):
        self.home, self._capsys, self._caplog = home, capsys, caplog
        self.told = []
        self.codes = []
        self.kinds = set()
        caplog.set_level(logging.DEBUG)
        shown = Output.error

        def error(output, found):
            self.caught(found)
            shown(output, found)

        monkeypatch.setattr(Output, "error", error)

    def caught(self, error):
        self.kinds.add(type(error).__name__)
        told = traceback.TracebackException.from_exception(error, capture_locals=True)
        self.told.append("".join(told.format()))

    def run(self, *words, home=None):
        for flags in (["--verbose"], ["--json"]):
            self._capsys.readouterr()
            arguments = ["--home", str(home or self.home), *flags, *map(str, words)]
            try:
                self.codes.append((words, command_line.main(arguments)))
            except BugError as error:
                self.caught(error)
                self.codes.append((words, "bug"))
            except SystemExit:  # --help
                self.codes.append((words, 0))
            self.told += self._capsys.readouterr()
        self.told += [record.getMessage() for record in self._caplog.records]
        return self.codes[-1][1]


@pytest.fixture
def watched(home, capsys, caplog, monkeypatch):
    monkeypatch.setattr(sealing, "N", 2)
    return Watched(home, capsys, caplog, monkeypatch)


@pytest.fixture
def files(tmp_path):
    """Files that only their owner can read, by what is in them."""
    folder = tmp_path / "files"
    folder.mkdir()

    def write(name, text, mode=0o600):
        path = folder / name
        path.touch(mode=0o600)
        path.write_text(text)
        path.chmod(mode)
        return path

    return write


def secrets_of(home, phrase_file):
    """Everything in and around this home that nobody else may know."""
    phrase = Path(phrase_file).read_text()
    master, keyring = Master.from_phrase(phrase), Keyring(Layout.of(home))
    found = {"master": master.secret, "backup key": master.backup_key()}
    found |= {f"root {v}": master.root_key(v).seed for v in (1, 2, 3)}
    found |= {"passphrase": PASSPHRASE.encode(), "other passphrase": OTHER.encode()}
    for name in keyring.names():
        if not keyring.is_locked(name):
            found[name] = keyring.load(name)
    return Leaks(found, {"phrase": phrase})


def assert_nothing_told(watched, leaks):
    found = {leak: told[:3000] for told in watched.told for leak in leaks.found(told)}
    assert found == {}


def test_commands_that_work(watched, files, home, tmp_path):
    passphrase, other = files("passphrase", PASSPHRASE), files("other", OTHER)
    words = tmp_path / "words"
    watched.run("init", "--passphrase-file", passphrase, "--phrase-file", words)
    watched.run("key", "backup", "--file", tmp_path / "b", "--passphrase-file", passphrase)
    watched.run("key", "backup", "--phrase-file", words)
    lock = ["--new-passphrase-file", other]
    watched.run("key", "lock", "--passphrase-file", passphrase, *lock)
    watched.run("key", "lock", "--phrase-file", words, *lock)
    watched.run("key", "new", "recovery")
    watched.run("key", "new", "locked", "--passphrase-file", passphrase)
    watched.run("key", "ls")
    watched.run("id")
    watched.run("init")
    restore = ["init", "--restore", tmp_path / "b", "--phrase-file", words]
    watched.run(*restore, "--passphrase-file", passphrase, home=tmp_path / "second")
    worked = {words for words, code in watched.codes if code == 0}
    assert len(worked) >= 10
    assert_nothing_told(watched, secrets_of(home, words))


def test_commands_that_change_who_we_are(watched, files, home, tmp_path):
    passphrase, other = files("passphrase", PASSPHRASE), files("other", OTHER)
    words, new = tmp_path / "words", tmp_path / "new words"
    unlock, public = ["--passphrase-file", passphrase], SigningKey(bytes([9]) * 32).public.hex()
    watched.run("init", *unlock, "--phrase-file", words)
    watched.run("key", "new", "recovery")
    before = [secrets_of(home, words)]
    changes = [
        ["allow", public, "--repos", "demo", "--expires", "90d"],
        ["remove", public],
        ["revoke", "--key", public, "--reason", "lost"],
        ["rotate", "--recovery", public],
        ["rotate", "--new-phrase", "--new-phrase-file", new],
    ]
    for words_of_change in changes:
        watched.run("key", *words_of_change, "--passphrase-file", other)
        watched.run("key", *words_of_change, "--phrase-file", tmp_path / "missing")
        watched.run("key", *words_of_change)
        watched.run("key", *words_of_change, *unlock)
    watched.run("key", "export", tmp_path / "papers")
    watched.run("key", "adopt", tmp_path / "papers")
    watched.run("key", "rotate", "--old-backup", words, "--new-phrase-file", new)
    watched.run("key", "rotate", "--stolen", *unlock)
    worked = {words[:2] for words, code in watched.codes if code == 0}
    assert {("key", "allow"), ("key", "rotate"), ("key", "export")} <= worked
    assert new.exists()
    for leaks in (*before, secrets_of(home, new)):
        assert_nothing_told(watched, leaks)


def test_commands_that_fail(watched, files, home, tmp_path):
    passphrase, other = files("passphrase", PASSPHRASE), files("other", OTHER)
    words = tmp_path / "words"
    watched.run("init", "--passphrase-file", passphrase, "--phrase-file", words)
    leaks = secrets_of(home, words)
    backup, phrase = home / "p2phub-backup.json", words.read_text()
    told = {
        "typo": phrase.replace(phrase.split()[7], phrase.split()[7][:-1] + "qq"),
        "short": " ".join(phrase.split()[:20]),
        "swapped": " ".join([*phrase.split()[12:], *phrase.split()[:12]]),
        "long": phrase * 9,
        "open": phrase,
        "strange": phrase,
    }
    paths = {name: files(name, text) for name, text in told.items()}
    paths["open"].chmod(0o644)
    paths["strange"].write_bytes(phrase.encode() + b"\xff")
    new = tmp_path / "new"
    for path in (*paths.values(), tmp_path / "missing", tmp_path):
        watched.run("init", "--restore", backup, "--phrase-file", path, home=new)
        watched.run("key", "lock", "--phrase-file", path, "--new-passphrase-file", other)
        watched.run("key", "backup", "--phrase-file", path, "--file", words)
    for path in (other, files("two lines", PASSPHRASE + "\n" + OTHER), tmp_path):
        watched.run("key", "backup", "--passphrase-file", path)
        watched.run("init", "--passphrase-file", path, "--phrase-file", words, home=new)
    watched.run("init", "--restore", words, "--phrase-file", words, home=new)
    watched.run("init", "--phrase-file", words, home=tmp_path / "third")
    watched.run("key", "backup")
    watched.run("key", "lock")
    watched.run("key", "backup", phrase.split()[0])
    assert {"UsageError", "RefusedError", "NotFoundError"} <= watched.kinds
    assert_nothing_told(watched, leaks)


@pytest.mark.parametrize("name", ["release", "root", "oms", "node"])
def test_keys_that_are_damaged_or_open_to_others(watched, files, home, tmp_path, name):
    passphrase, words = files("passphrase", PASSPHRASE), tmp_path / "words"
    watched.run("init", "--passphrase-file", passphrase, "--phrase-file", words)
    leaks, path = secrets_of(home, words), Keyring(Layout.of(home)).path(name)
    whole = path.read_bytes()

    def everything():
        watched.run("key", "backup", "--passphrase-file", passphrase)
        watched.run("key", "lock", "--passphrase-file", passphrase)
        watched.run("key", "ls")
        watched.run("id")
        watched.run("init", "--restore", home / "p2phub-backup.json", "--phrase-file", words)

    for data in (whole[:-3], whole[1:], whole + whole, b"\xff" + whole, whole.replace(b"0", b"g")):
        path.write_bytes(data)
        everything()
    path.write_bytes(whole)
    path.chmod(0o644)
    everything()
    path.chmod(0o600)
    path.rename(tmp_path / "moved")
    path.symlink_to(tmp_path / "moved")
    everything()
    path.unlink()
    path.write_bytes(whole)
    path.parent.chmod(0o777)
    everything()
    assert {"RefusedError"} <= watched.kinds
    assert_nothing_told(watched, leaks)


class Broken:
    """Whatever is done with it is a bug."""

    def __call__(self, *_, **__):
        raise BugError

    def __getattr__(self, name):
        raise BugError


@pytest.mark.parametrize(
    ("place", "name"),
    [
        (Disk, "create"),
        (Disk, "write"),
        (Disk, "sync"),
        (Disk, "sync_path"),
        (os, "fsync"),
        (os, "pwrite"),
        (os, "read"),
        (keys, "Scrypt"),
        (keys, "ChaCha20Poly1305"),
        (keys, "HKDF"),
        (keys, "Ed25519PrivateKey"),
    ],
    ids=lambda value: value if isinstance(value, str) else getattr(value, "__name__", ""),
)
def test_a_bug_below_any_command_shows_no_local_variable_that_is_secret(
    watched, files, home, tmp_path, monkeypatch, place, name
):
    passphrase, other = files("passphrase", PASSPHRASE), files("other", OTHER)
    words, backup = tmp_path / "words", home / "p2phub-backup.json"
    watched.run("init", "--passphrase-file", passphrase, "--phrase-file", words)
    leaks = secrets_of(home, words)
    generated = []
    monkeypatch.setattr(
        "secrets.token_bytes", lambda n: generated.append(os.urandom(n)) or generated[-1]
    )
    with monkeypatch.context() as broken:
        broken.setattr(place, name, Broken())
        watched.run("init", "--passphrase-file", passphrase, home=tmp_path / "new")
        watched.run("init", "--restore", backup, "--phrase-file", words, home=tmp_path / "newer")
        watched.run("key", "backup", "--passphrase-file", passphrase)
        watched.run("key", "backup", "--phrase-file", words)
        watched.run("key", "new", "another")
        watched.run("key", "lock", "--passphrase-file", passphrase, "--new-passphrase-file", other)
    assert "BugError" in watched.kinds
    assert_nothing_told(watched, leaks)
    phrases = {str(at): Master(seed).phrase() for at, seed in enumerate(generated)}
    assert_nothing_told(watched, Leaks({str(at): s for at, s in enumerate(generated)}, phrases))


@pytest.mark.parametrize("verb", key.VERBS)
def test_every_key_command_without_arguments_and_its_help(watched, home, tmp_path, verb):
    words = tmp_path / "words"
    watched.run("init", "--phrase-file", words)
    if verb not in ASK_A_NODE:
        watched.run("key", verb)
    watched.run("key", verb, "--nonsense", words)
    watched.run("key", verb, "--help")
    assert_nothing_told(watched, secrets_of(home, words))
