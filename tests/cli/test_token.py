"""Tokens made, listed and taken back on the command line."""

import pytest


@pytest.fixture(autouse=True)
def made_home(home):
    home.mkdir()


def test_a_token_is_shown_once_and_listed_without_it(cli):
    told = cli("token", "--scope", "write", "--name", "ci")
    assert told.code == 0
    token = told.out.strip()
    assert token.startswith("p2phub_")
    assert "this once" in told.err
    listed = cli("token", "ls")
    assert listed.out.split("\t")[:2] == ["ci", "write"]
    assert token not in listed.out + listed.err


def test_a_token_reads_unless_it_is_told_more(cli):
    (told,) = cli("--json", "token").objects
    assert told.keys() == {"name", "scope", "created", "token"}
    assert (told["name"], told["scope"]) == ("read-1", "read")
    (row,) = cli("--json", "token", "ls").objects
    assert row == {key: told[key] for key in ("name", "scope", "created")}


def test_a_token_that_is_removed_is_gone(cli):
    cli("token", "--name", "ci")
    assert cli("--json", "token", "rm", "ci").objects[0]["name"] == "ci"
    assert cli("token", "ls").out == ""
    gone = cli("token", "rm", "ci")
    assert gone.code == 3
    assert "token ls" in gone.err


@pytest.mark.parametrize(
    "words",
    [
        ("rm",),
        ("rm", "a", "b"),
        ("make",),
        ("ls", "x"),
        ("ls", "--scope", "read"),
        ("rm", "x", "--name", "y"),
        ("--scope", "all"),
        ("--name", "a b"),
    ],
)
def test_what_means_nothing_is_said_so(cli, words):
    told = cli("token", *words)
    assert told.code == 2
    assert "hint:" in told.err


def test_where_there_is_no_node_none_is_made(cli, home):
    home.rmdir()
    assert cli("token").code == 2
    assert not home.exists()
