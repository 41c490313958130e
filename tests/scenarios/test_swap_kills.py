"""Nodes that are killed while they swap: what was whole stays, and the sites still converge."""

import random
import time

import pytest

from p2phub.testing.files import tiny_model_folder
from tests.scenarios.nodes import MIB
from tests.scenarios.processes import machines

pytestmark = pytest.mark.slow

KILLS = 3
"""So often each side is killed."""
SEED = 20261124


def commits(home):
    return {row["commit"] for row in home.run("ls").objects if row.get("here") == "complete"}


def test_two_sites_whose_nodes_are_killed_again_and_again(tmp_path):
    chance = random.Random(SEED)
    stick = tmp_path / "stick"
    with machines(tmp_path) as made:
        homes = [made.home(name) for name in ("a", "b")]
        for home in homes:
            name = home.folder.name
            home.done("init", "--name", name, "--backup", tmp_path / f"{name}.backup")
            folder = tiny_model_folder(
                tmp_path / name / "m", seed=name, shards=3, shard_bytes=16 * MIB
            )
            with home.running():
                home.done("publish", folder, name)
        homes[1].done("swap", stick)
        for home in homes:
            for _ in range(KILLS):
                daemon = home.daemon()
                process = home.start("swap", stick)
                time.sleep(chance.uniform(0.02, 0.9))
                daemon.kill()
                process.kill()
                process.wait()
                assert home.run("bundle", "inspect", stick).code in (0, 3)
            with home.running():
                assert home.done("swap", stick)["exit"] == 0
        homes[0].done("swap", stick)
        assert commits(homes[0]) == commits(homes[1])
        assert len(commits(homes[0])) == 2
        for home in homes:
            home.done("verify", "--all")
