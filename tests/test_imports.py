"""Importing stays light: what a program that only talks to a node must not pay for."""

import json
import subprocess
import sys

import pytest

HEAVY = {"trio", "libp2p", "torch", "transformers", "cryptography", "sqlite3", "hypercorn", "numpy"}


def _loaded(code: str) -> set[str]:
    """The top-level names a fresh interpreter has loaded after `code`."""
    program = f"{code}\nimport sys, json; json.dump(sorted(sys.modules), sys.__stdout__)"
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return {name.split(".")[0] for name in json.loads(run.stdout[run.stdout.rindex("[") :])}


def test_the_probe_sees_what_is_loaded():
    assert "sqlite3" in _loaded("import sqlite3")


@pytest.mark.parametrize("code", ["import p2phub", "from p2phub import Hub, AsyncHub"])
def test_the_package_pulls_nothing_heavy(code):
    assert not _loaded(code) & HEAVY


def test_the_bare_package_pulls_no_http_client_either():
    assert not _loaded("import p2phub") & {"httpx", "anyio", "rich"}


def test_help_pulls_nothing_heavy():
    code = (
        "import sys; sys.argv = ['p2phub', '--help']\n"
        "from p2phub.cli.main import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code, end.code"
    )
    assert not _loaded(code) & HEAVY
