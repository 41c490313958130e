"""What people see on a terminal, and what a pipe gets."""

import io

import pytest

from p2phub.cli.output import Column, Output, shown, size
from p2phub.cli.progress import follow
from p2phub.node.values import as_json
from p2phub.testing.nodes import EVENTS

COLUMNS = (Column("repo", "ref"), Column("size", "bytes", bytes=True), Column("tags", "tags"))
ROWS = [{"ref": "lab/[bold]x", "bytes": 91_000_000, "tags": ["a", "b"], "more": None}]


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_table_on_a_terminal_has_headings_and_readable_sizes():
    out = Terminal()
    Output(out=out).table(ROWS, COLUMNS)
    assert "repo" in out.getvalue()
    assert "91.0 MB" in out.getvalue()
    assert "lab/[bold]x" in out.getvalue()


def test_a_table_in_a_pipe_has_tabs_and_whole_numbers():
    out = io.StringIO()
    Output(out=out).table(ROWS, COLUMNS)
    assert out.getvalue().split("\t")[:2] == ["lab/[bold]x", "91000000"]


@pytest.mark.parametrize("out", [io.StringIO(), Terminal()], ids=["pipe", "terminal"])
def test_a_table_does_not_show_how_python_spells_values(out):
    columns = (Column("addresses", "addresses"), Column("direct", "direct"), Column("a", "agent"))
    Output(out=out).table([{"addresses": ["/ip4/a", "/ip4/b"], "direct": True}], columns)
    assert out.getvalue().splitlines()[-1].split() == ["/ip4/a", "/ip4/b", "yes"]


def test_a_table_as_json_keeps_every_key():
    out = io.StringIO()
    Output(json=True, out=out).table(ROWS, COLUMNS)
    assert '"more": null' in out.getvalue()


def test_a_pull_on_a_terminal_draws_a_bar_and_leaves_none(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    err = Terminal()
    lines = [*map(as_json, EVENTS), {"event": "done", "ref": "lab/minilm"}]
    last = follow(lines, Output(err=err), "pulling")
    assert last["event"] == "done"
    assert "pulling" in err.getvalue()
    assert "1.0/1.0 kB" in err.getvalue()


def test_a_pull_on_a_terminal_that_cannot_draw_gets_plain_lines(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    err = Terminal()
    follow(map(as_json, EVENTS), Output(err=err), "pulling")
    assert "model.safetensors: 1.0 kB" in err.getvalue().splitlines()


def test_a_pull_in_a_pipe_gets_plain_lines():
    err = io.StringIO()
    follow(map(as_json, EVENTS), Output(err=err), "pulling")
    assert "model.safetensors: 1.0 kB" in err.getvalue().splitlines()
    assert "\x1b" not in err.getvalue()


@pytest.mark.parametrize("options", [{"quiet": True}, {"json": True, "quiet": True}])
def test_quiet_shows_no_progress(options):
    out, err = io.StringIO(), Terminal()
    follow(map(as_json, EVENTS), Output(out=out, err=err, **options), "pulling")
    assert out.getvalue() + err.getvalue() == ""


def test_a_bar_is_taken_away_when_the_work_fails():
    def failing():
        yield as_json(EVENTS[0])
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        follow(failing(), Output(err=Terminal()), "pulling")


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("plain é 日本", "plain é 日本"),
        ("\x1b]0;title\x07", "\ufffd]0;title\ufffd"),
        ("a\nb\tc", "a\ufffdb\ufffdc"),
        ("\u202eevil\u2066", "\ufffdevil\ufffd"),
        ("\x9b31m", "\ufffd31m"),
    ],
)
def test_text_that_steers_is_shown_harmless(text, safe):
    assert shown(text) == safe


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (1.5e12, "1.5 TB"), (5e15, "5000.0 TB")],
)
def test_sizes_for_people(count, text):
    assert size(count) == text
