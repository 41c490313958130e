"""What `p2phub env` prints does what it says in real shells, and is undone by its undo."""

import os
import shutil
import subprocess

import pytest

from p2phub.cli.activation import SAVED, activated, deactivated, script, shell_of
from p2phub.cli.commands.shell import run_in
from p2phub.errors import NotFoundError

URL = "http://127.0.0.1:8642"
BEFORE = {"HF_ENDPOINT": "https://it's a \\hub $HOME `id`", "NO_PROXY": "intranet", "OTHER": "1"}


def evaluated(lines, before, shell="sh"):
    """The environment of a shell after it evaluated these lines."""
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")
    text = "\n".join([*lines, "env -0"])
    out = subprocess.run([program, "-c", text], env=before, capture_output=True, check=True).stdout
    pairs = (each.partition("=") for each in out.decode().split("\0") if each)
    ours = {name: value for name, _, value in pairs}
    return {name: ours[name] for name in ours if name not in ("PWD", "SHLVL", "_", "OLDPWD")}


@pytest.mark.parametrize("shell", ["sh", "bash", "fish"])
@pytest.mark.parametrize("before", [{}, BEFORE], ids=["bare", "full"])
def test_a_shell_is_as_it_was_after_the_undo(shell, before):
    before = before | {"PATH": os.environ["PATH"]}
    language = "fish" if shell == "fish" else "sh"
    inside = evaluated(script(activated(URL, before), language), before, shell)
    assert inside["HF_ENDPOINT"] == URL
    assert {"127.0.0.1", "localhost"} <= set(inside["NO_PROXY"].split(","))
    after = evaluated(script(deactivated(inside), language), inside, shell)
    assert after == evaluated([], before, shell)


def test_a_second_activation_keeps_what_was_before_the_first():
    once = BEFORE | activated(URL, BEFORE)
    twice = once | activated("http://127.0.0.1:1", once)
    assert twice["HF_ENDPOINT"] == "http://127.0.0.1:1"
    assert deactivated(twice)["HF_ENDPOINT"] == BEFORE["HF_ENDPOINT"]
    assert twice["NO_PROXY"] == "intranet,127.0.0.1,localhost"


def test_a_token_to_write_with_is_taken_away_again():
    before = {"HF_TOKEN": "of another hub"}
    assert "HF_TOKEN" not in activated(URL, before)
    inside = before | activated(URL, before, "ours")
    assert inside["HF_TOKEN"] == "ours"
    assert deactivated(inside)["HF_TOKEN"] == "of another hub"


def test_nothing_is_undone_where_nothing_was_done():
    assert deactivated(BEFORE) == {}


def test_who_speaks_fish():
    assert shell_of({"SHELL": "/usr/bin/fish"}) == "fish"
    assert shell_of({"SHELL": "/bin/zsh"}) == shell_of({}) == "sh"


def test_saved_names_are_their_own():
    assert all(
        name.startswith(SAVED) or name.isupper() or name == "no_proxy"
        for name in activated(URL, {})
    )


def test_the_exit_code_of_a_command_is_ours():
    assert run_in(["sh", "-c", "exit 3"], dict(os.environ)) == 3
    assert run_in(["sh", "-c", "kill -TERM $$"], dict(os.environ)) == 128 + 15
    with pytest.raises(NotFoundError, match="no-such-program"):
        run_in(["no-such-program"], dict(os.environ))
