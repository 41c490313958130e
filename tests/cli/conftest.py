"""The command line in this process (`cli`) against a fake node, and as processes (`run`)."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from p2phub.cli.main import main
from p2phub.testing.gateways import gateway_in_a_thread
from p2phub.testing.nodes import FakeNode
from p2phub.trust import sealing
from tests.cli.homes import Home, secrets_in

PROGRAM = Path(__file__).parent / "fake_p2phub.py"


@dataclass
class Result:
    code: int
    out: str
    err: str

    @property
    def objects(self):
        return [json.loads(line) for line in self.out.splitlines()]


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


@pytest.fixture
def cli(home, capsys, monkeypatch):
    """Runs a command in this process."""
    monkeypatch.delenv("P2PHUB_HOME", raising=False)

    def run(*words):
        capsys.readouterr()
        code = main(["--home", str(home), *map(str, words)])
        return Result(code, *capsys.readouterr())

    return run


@pytest.fixture
def node(home):
    """The fake node that a gateway serves for `home`."""
    nodes = []

    def make():
        nodes.append(FakeNode(home / "snapshot"))
        return nodes[0]

    with gateway_in_a_thread(make, home):
        yield nodes[0]


class Processes:
    """Processes of the fake command line; none survives the test."""

    def __init__(self, home):
        self._home = home
        self._started = []

    def start(self, *words, steer="", **options):
        """A process that goes on; its standard output can be read."""
        environ = os.environ | {"P2PHUB_TEST": steer, "PYTHONPATH": os.getcwd()}
        process = subprocess.Popen(
            [sys.executable, str(PROGRAM), "--home", str(self._home), *map(str, words)],
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )
        self._started.append(process)
        return process

    def run(self, *words, steer=""):
        """A process from its start to its end."""
        process = self.start(*words, steer=steer, stdin=subprocess.DEVNULL)
        out, err = process.communicate(timeout=60)
        return Result(process.returncode, out, err)

    def daemon(self, *words, steer=""):
        """A node that is ready, and what it said."""
        process = self.start("--json", "node", *words, steer=steer, stdin=subprocess.PIPE)
        return process, json.loads(process.stdout.readline())

    def end(self):
        for process in self._started:
            process.kill()
            process.communicate()


@pytest.fixture
def processes(home):
    processes = Processes(home)
    yield processes
    processes.end()


@pytest.fixture
def homes(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("P2PHUB_HOME", raising=False)
    monkeypatch.setattr(sealing, "N", 2)
    told = []
    yield lambda name: Home(tmp_path / name, capsys, told)
    for secret in secrets_in(tmp_path):
        assert not any(secret in each for each in told)
