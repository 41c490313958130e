"""What README.md names exists, and what exists is named there."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import p2phub

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
COMMAND = re.compile(r"p2phub ((?:trust |key |bundle |audit |quarantine )?[a-z][a-z-]*)")
CODE = re.compile(r"^```sh\n(.*?)^```|`(p2phub [^`\n]+)`", re.MULTILINE | re.DOTALL)
PLACE = re.compile(r"\]\(([^)#]+)\)|`((?:\./)?(?:p2phub|scripts|tests|\.ci)/[\w./-]*)[^`]*`")


def _help(*words: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "p2phub", *words, "--help"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _named() -> set[str]:
    code = " ; ".join(block or inline for block, inline in CODE.findall(README))
    return set(COMMAND.findall(code))


@pytest.mark.parametrize("place", sorted({a or b for a, b in PLACE.findall(README)}))
def test_every_place_exists(place):
    assert (ROOT / place).exists()


@pytest.mark.parametrize("command", sorted(_named()))
def test_every_command_exists(command):
    run = _help(*command.split())
    assert run.returncode == 0, run.stderr
    assert command.split()[-1] in run.stdout


def test_every_command_is_named():
    listed = re.findall(r"^ {2,}([a-z]+) {2,}\S", _help().stdout, re.MULTILINE)
    assert len(listed) >= 13
    assert set(listed) <= {each.split()[0] for each in _named()}


def test_a_command_that_does_not_exist_would_be_noticed():
    assert _help("frobnicate").returncode == 2


@pytest.mark.parametrize("script", ["setup", "quickstart", "test", "check", "bench", "wheelhouse"])
def test_every_script_runs_and_says_what_it_does(script):
    path = ROOT / "scripts" / script
    assert path.stat().st_mode & 0o111
    first, second = path.read_text().splitlines()[:2]
    assert first == "#!/bin/sh"
    assert second.startswith("# ")
    assert f"scripts/{script}" in README
    subprocess.run(["sh", "-n", str(path)], check=True)


def test_ci_begins_with_the_test_command_of_the_readme():
    commands = [line for line in (ROOT / ".ci/run").read_text().splitlines() if line[:2] == "./"]
    assert commands[0] == "./scripts/test"
    assert "\n./scripts/test " in README


def test_the_version_is_said_once():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == p2phub.__version__
    assert f"### {p2phub.__version__}" in README
