"""Five nodes as processes, and the one that published is killed."""

import shutil
from pathlib import Path

import pytest

from p2phub.testing.files import random_bytes, tiny_model_folder
from tests.scenarios.nodes import contents
from tests.scenarios.processes import machines

MIB = 1 << 20

pytestmark = [pytest.mark.slow, pytest.mark.alone]


def test_a_model_outlives_its_publisher(tmp_path):
    """Everybody met through the publisher. Once it has died, its name still leads to the model."""
    folder = tiny_model_folder(tmp_path / "model", seed="many", shard_bytes=100_000)
    (folder / "weights.safetensors").write_bytes(random_bytes("many", 60 * MIB))
    with machines(tmp_path) as made:
        publisher = made.publisher()
        killed = publisher.daemon()
        mirror, *others = [made.home(name) for name in ("mirror", "one", "two", "three")]
        daemons = {home.folder: home.daemon(killed.address) for home in (mirror, *others)}
        for home in (mirror, *others):
            home.done("trust", "add", "lab", killed.publisher_id)
        commit = publisher.done("publish", folder, "x")["commit"]
        assert mirror.done("pull", "lab/x")["commit"] == commit
        killed.kill()

        counts = []
        for home in others:
            done = home.done("pull", "lab/x")
            assert done["commit"] == commit
            assert contents(Path(done["path"])) == contents(folder)
            assert killed.peer_id not in {share["name"] for share in done["shares"]}
            counts.append(done["sources"])
        assert counts[0] == 1
        assert counts[-1] >= 2, "who has the model now is not asked for it"

        wiped = others[0]
        assert daemons[wiped.folder].stop() == 0
        shutil.rmtree(wiped.folder)
        wiped.bootstrap = daemons[others[1].folder].address
        wiped.done("trust", "add", "lab", killed.publisher_id)
        done = wiped.done("pull", "lab/x")
        assert contents(Path(done["path"])) == contents(folder)
        assert wiped.done("verify", "lab/x")["verdict"] == "verified"
