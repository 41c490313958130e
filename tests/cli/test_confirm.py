"""Choosing one of several publishers by the beginning of its id."""

import io
import sys

import pytest

from p2phub.cli import secrets
from p2phub.cli.confirm import PREFIX, choose
from p2phub.cli.output import Output
from p2phub.cli.session import Session
from p2phub.errors import UsageError

LAB, ALIKE, OTHER = "abcdefgh2345", "abcdefgx2345", "zzzzzzzz2345"


@pytest.fixture
def session(tmp_path, monkeypatch):
    monkeypatch.setattr(secrets, "at_terminal", lambda output: True)
    return Session(tmp_path, Output(out=io.StringIO(), err=io.StringIO()))


def typed(session, monkeypatch, text):
    monkeypatch.setattr(sys, "stdin", io.StringIO(text + "\n"))
    return choose(session, (LAB, ALIKE, OTHER), "whom?")


@pytest.mark.parametrize("length", [PREFIX, PREFIX + 1, len(LAB)])
def test_so_many_characters_choose_one(session, monkeypatch, length):
    assert typed(session, monkeypatch, LAB[:length]) == LAB


@pytest.mark.parametrize("text", [OTHER[: PREFIX - 1], "a", OTHER + "2", "nonsense"])
def test_fewer_characters_and_others_choose_nobody(session, monkeypatch, text):
    with pytest.raises(UsageError, match="nobody was pinned"):
        typed(session, monkeypatch, text)


def test_nothing_chooses_nobody_and_is_no_error(session, monkeypatch):
    assert typed(session, monkeypatch, "") is None
