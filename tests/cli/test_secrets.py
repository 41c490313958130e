"""How secrets get in and out of a command: typed without showing, from private files, no pipes."""

import argparse
import getpass
import io
import os
import sys

import pytest

from p2phub.cli import secrets
from p2phub.cli.output import Output
from p2phub.cli.secrets import (
    MAX_SECRET_FILE,
    ask_new_passphrase,
    ask_passphrase,
    ask_phrase,
    ask_root,
    at_terminal,
    confirm,
    read_secret,
    show_phrase,
)
from p2phub.cli.session import Session
from p2phub.errors import NotFoundError, RefusedError, UsageError
from p2phub.store.disk import Disk
from p2phub.store.keyring import Keyring
from p2phub.store.layout import Layout
from p2phub.trust import sealing
from p2phub.trust.secrets import Master, RootSecret

MASTER = Master(bytes(range(32)))
PASSPHRASE = "correct horse battery"


class Screen(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def screen():
    return Screen()


@pytest.fixture
def terminal(screen, home, monkeypatch):
    """A session at a terminal; what is typed next is in `typed`."""
    monkeypatch.setattr(sys, "stdin", Screen())
    session = Session(home, Output(out=io.StringIO(), err=screen))
    return session


@pytest.fixture
def typed(monkeypatch):
    """What a person types, line by line."""
    lines = []

    def type_next(prompt):
        if not lines:
            raise EOFError
        return lines.pop(0)

    monkeypatch.setattr(getpass, "getpass", type_next)
    return lines


@pytest.fixture
def pipe(home, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("correct horse battery\n" * 3))
    return Session(home, Output(out=io.StringIO(), err=io.StringIO()))


@pytest.fixture
def private(tmp_path):
    def write(data, mode=0o600):
        path = tmp_path / "secret"
        path.unlink(missing_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        path.chmod(mode)
        return path

    return write


@pytest.fixture
def keyring(home, monkeypatch):
    monkeypatch.setattr(sealing, "N", 2)
    layout = Layout.of(home)
    layout.make(Disk())
    return Keyring(layout)


class TestNobodyToAsk:
    def test_a_pipe_is_refused_and_not_read(self, pipe):
        asked = (
            lambda: ask_passphrase(pipe, None),
            lambda: ask_new_passphrase(pipe, None),
            lambda: ask_phrase(pipe, None),
            lambda: confirm(pipe, "Really?"),
            lambda: show_phrase(pipe, MASTER.phrase()),
        )
        for ask in asked:
            with pytest.raises(RefusedError) as caught:
                ask()
            assert "terminal" in caught.value.message + caught.value.remedy
        assert sys.stdin.read().count("\n") == 3
        assert pipe.output.err.getvalue() == ""

    def test_json_wants_no_questions(self, screen, terminal):
        assert at_terminal(terminal.output)
        assert not at_terminal(Output(json=True, err=screen))

    def test_both_ends_must_be_a_terminal(self, screen, terminal, monkeypatch):
        assert not at_terminal(Output(err=io.StringIO()))
        monkeypatch.setattr(sys, "stdin", io.StringIO())
        assert not at_terminal(Output(err=screen))


class TestTyped:
    def test_what_is_typed_does_not_show(self, terminal, typed, screen):
        typed += [PASSPHRASE, PASSPHRASE, PASSPHRASE, MASTER.phrase()]
        assert ask_passphrase(terminal, None) == PASSPHRASE
        assert ask_new_passphrase(terminal, None) == PASSPHRASE
        assert Master.from_phrase(ask_phrase(terminal, None)) == MASTER
        assert screen.getvalue() == ""

    def test_an_empty_new_passphrase_means_none(self, terminal, typed):
        typed += [""]
        assert ask_new_passphrase(terminal, None) is None

    def test_a_new_passphrase_that_is_mistyped_or_too_short_is_asked_for_again(
        self, terminal, typed, screen
    ):
        """What was done before, such as writing a phrase on paper, was not for nothing."""
        typed += [PASSPHRASE, PASSPHRASE + "!", "short", PASSPHRASE, PASSPHRASE]
        assert ask_new_passphrase(terminal, None) == PASSPHRASE
        assert typed == []
        told = screen.getvalue()
        assert "differ" in told
        assert "8 to 1024" in told
        assert PASSPHRASE not in told

    def test_a_terminal_that_is_closed_while_it_asks_ends_the_command(self, terminal, typed):
        for before in ([], [PASSPHRASE], ["short"]):
            typed[:] = before
            with pytest.raises(UsageError, match="input ended"):
                ask_new_passphrase(terminal, None)

    def test_nothing_typed_is_no_passphrase(self, terminal, typed):
        for ask in (ask_passphrase, ask_phrase):
            typed += [""]
            with pytest.raises(UsageError, match="nothing was typed"):
                ask(terminal, None)

    @pytest.mark.parametrize(
        ("answer", "meant"),
        [("yes\n", True), ("Y\n", True), ("no\n", False), ("\n", False), ("", False)],
    )
    def test_only_a_yes_is_a_yes(self, terminal, monkeypatch, answer, meant):
        monkeypatch.setattr(sys, "stdin", Screen(answer))
        assert confirm(terminal, "Really?") is meant

    def test_a_phrase_is_shown_in_order_so_that_it_can_be_typed_again(self, terminal, screen):
        show_phrase(terminal, MASTER.phrase())
        lines = [line for line in screen.getvalue().splitlines() if "1." in line or "." in line]
        assert Master.from_phrase(" ".join(lines)) == MASTER


class TestFiles:
    @pytest.mark.parametrize("text", [PASSPHRASE, PASSPHRASE + "\n", PASSPHRASE + "\r\n"])
    def test_a_passphrase_is_one_line(self, pipe, private, text):
        assert ask_passphrase(pipe, private(text)) == PASSPHRASE
        assert ask_new_passphrase(pipe, private(text)) == PASSPHRASE

    def test_spaces_belong_to_a_passphrase(self, pipe, private):
        assert ask_passphrase(pipe, private("  two  spaces \n")) == "  two  spaces "

    def test_a_second_line_is_not_thrown_away_silently(self, pipe, private):
        with pytest.raises(UsageError, match="more than one line"):
            ask_passphrase(pipe, private("one\ntwo\n"))

    def test_a_phrase_may_have_lines_and_remarks(self, pipe, private):
        words = MASTER.phrase().split()
        text = "# my publisher\n" + "\n".join(words[:12]) + "\n" + " ".join(words[12:])
        assert Master.from_phrase(ask_phrase(pipe, private(text))) == MASTER

    @pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
    def test_a_file_that_others_can_read_is_refused(self, pipe, private, mode):
        for ask in (ask_passphrase, ask_new_passphrase, ask_phrase):
            with pytest.raises(RefusedError, match="other users"):
                ask(pipe, private(PASSPHRASE, mode))

    def test_a_short_passphrase_in_a_file_locks_nothing_new(self, pipe, private):
        with pytest.raises(UsageError, match="8 to 1024"):
            ask_new_passphrase(pipe, private("short"))
        assert ask_passphrase(pipe, private("short")) == "short"

    @pytest.mark.parametrize("data", [b"", b"\n", b"\xff\xfe\xfd", bytes([0x80])])
    def test_a_file_without_text_is_refused(self, pipe, private, data):
        with pytest.raises(UsageError, match="no UTF-8 text"):
            ask_passphrase(pipe, private(data))

    def test_a_file_of_the_greatest_length_is_read_and_a_longer_one_is_not(self, private):
        assert len(read_secret(private("x" * MAX_SECRET_FILE))) == MAX_SECRET_FILE
        with pytest.raises(UsageError, match="larger than"):
            read_secret(private("x" * (MAX_SECRET_FILE + 1)))

    def test_a_file_that_is_not_there_is_not_found(self, pipe, tmp_path):
        with pytest.raises(NotFoundError):
            ask_passphrase(pipe, tmp_path / "none")

    def test_a_named_pipe_is_refused_and_does_not_hang(self, pipe, tmp_path):
        os.mkfifo(tmp_path / "pipe", 0o600)
        with pytest.raises(UsageError, match="no plain file"):
            ask_passphrase(pipe, tmp_path / "pipe")


class TestRoot:
    """Where the root comes from: a named phrase, this machine, or somebody who types."""

    def test_a_named_phrase_comes_first(self, pipe, private, keyring):
        keyring.keep_root(RootSecret(Master(bytes(32))), PASSPHRASE)
        assert ask_root(pipe, keyring, None, private(MASTER.phrase())) == RootSecret(MASTER)

    def test_a_locked_root_needs_its_passphrase(self, pipe, private, keyring):
        keyring.keep_root(RootSecret(MASTER), PASSPHRASE)
        assert ask_root(pipe, keyring, private(PASSPHRASE), None) == RootSecret(MASTER)
        with pytest.raises(RefusedError, match="passphrase is wrong"):
            ask_root(pipe, keyring, private("not this one"), None)
        with pytest.raises(RefusedError, match="no terminal"):
            ask_root(pipe, keyring, None, None)

    def test_a_plain_root_of_an_older_p2phub_needs_nothing(self, pipe, keyring):
        keyring.save("root", bytes(32))
        assert ask_root(pipe, keyring, None, None) == RootSecret(lone=((1, bytes(32)),))

    def test_without_a_root_here_the_phrase_is_typed(self, terminal, typed, keyring):
        typed += [MASTER.phrase()]
        assert ask_root(terminal, keyring, None, None) == RootSecret(MASTER)


def test_no_option_takes_a_secret_itself():
    """Other users of a machine see the arguments of every program."""
    parser = argparse.ArgumentParser()
    secrets.add_passphrase_file(parser)
    secrets.add_phrase_file(parser)
    options = {option for action in parser._actions for option in action.option_strings}
    assert options == {"-h", "--help", "--passphrase-file", "--phrase-file"}
