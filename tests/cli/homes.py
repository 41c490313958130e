"""Machines that tests of `p2phub key` and `p2phub init` run on, one home folder each."""

import json
from contextlib import contextmanager

from p2phub.cli.main import main
from p2phub.config import load
from p2phub.node.desk import open_desk, own_papers
from p2phub.store.keyring import Keyring
from p2phub.store.layout import Layout
from p2phub.testing.identities import publish_here, told_by
from p2phub.trust.keys import SigningKey


class Home:
    """One machine. Commands run in this process; nobody listens, so the store is changed itself."""

    def __init__(self, folder, capsys, told):
        self.folder, self._capsys, self._told = folder, capsys, told
        self.phrase = folder / "p2phub-backup.json.phrase"

    def run(self, *words, code=0):
        """The objects that a command prints; it must end with `code`."""
        self._capsys.readouterr()
        got = main(["--home", str(self.folder), "--json", "key", *map(str, words)])
        self.out, self.err = self._capsys.readouterr()
        self._told.append(self.out + self.err)
        assert got == code, self.out + self.err
        return [json.loads(line) for line in self.out.splitlines()]

    def init(self, *words):
        main(["--home", str(self.folder), "--json", "init", *map(str, words)])
        return json.loads(self._capsys.readouterr().out)["publisher_id"]

    def root(self, *words, code=0, phrase=None):
        """The same for a command that needs the root."""
        return self.run(*words, "--phrase-file", phrase or self.phrase, code=code)

    @contextmanager
    def desk(self):
        with open_desk(load("", {}), self.folder) as desk:
            yield desk

    def publish(self, name, text=b"hello"):
        with self.desk() as desk:
            return publish_here(desk, name, text).digest.hex()

    def told(self):
        """What strangers get from here."""
        with self.desk() as desk:
            found = told_by(desk, own_papers(desk.store.documents).publisher)
        return {name: each if isinstance(each, str) else "refused" for name, each in found.items()}

    def papers(self):
        with self.desk() as desk:
            return own_papers(desk.store.documents)

    def key(self, name):
        return SigningKey(Keyring(Layout.of(self.folder)).load(name))


def secrets_in(folder):
    """Every phrase and every plain key that was made, as somebody might print it."""
    phrases = [path for path in folder.rglob("*phrase") if path.is_file()]
    return {path.read_text().strip() for path in [*phrases, *folder.rglob("*.key")]}


def error(answer):
    return answer[0]["error"]
