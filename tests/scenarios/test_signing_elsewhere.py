"""A release that is signed on a machine without a network, with typed commands: prepared on the
node, carried in a file, signed, carried back, finished, pulled by somebody else.
"""

import shutil

import pytest

from p2phub.testing.publishers import FakePublisher
from tests.scenarios.nodes import model
from tests.scenarios.processes import machines
from tests.scenarios.writers import become

pytestmark = pytest.mark.slow


@pytest.fixture
def lab():
    """The key of the node alone can do nothing: two must sign."""
    made = FakePublisher(8, writers=("node key", "airgap"))
    made.delegate("node key", "airgap", threshold=2)
    return made


def test_a_release_is_prepared_signed_on_a_machine_without_a_network_and_finished(tmp_path, lab):
    folder, file = model(tmp_path / "model"), tmp_path / "stick" / "x.p2phub"
    file.parent.mkdir()
    with machines(tmp_path) as made:
        home, airgap, reader = made.home("online"), made.home("airgap"), made.home("reader")
        become(home.folder, lab, "node key")
        become(airgap.folder, lab, "airgap")
        with home.running() as online:
            prepared = home.done("publish", folder, "x", "--tag", "v1", "--prepare", file)
            assert prepared["pending"] == {"signatures": 0, "needed": 2, "file": str(file)}
            home.refused(3, "info", "x")
            assert "0 of 2" in home.refused(4, "publish", "--finish", file)["message"]
            carried = tmp_path / "carried.p2phub"
            shutil.copy(file, carried)
            airgap.done("key", "sign", carried, "--yes")
            done = home.done("publish", "--finish", carried)
            assert (done["commit"], done["pending"]) == (prepared["commit"], None)
            assert home.run("key", "proposals").objects == []
            again = home.done("publish", "--finish", carried, "--tag", "v2")
            assert again["commit"] == done["commit"]
            with reader.running(bootstrap=online.address):
                reader.done("trust", "add", "lab", str(lab.publisher))
                for ref in ("lab/x", "lab/x@v1", "lab/x@v2"):
                    assert reader.done("pull", ref)["commit"] == done["commit"]


def test_a_proposal_is_written_beside_whoever_publishes_and_told_with_what_to_do(tmp_path, lab):
    folder = model(tmp_path / "model")
    with machines(tmp_path) as made:
        home = made.home("online")
        become(home.folder, lab, "node key")
        with home.running():
            proposed = home.done("publish", folder, "x", "--proposal-file", tmp_path / "p.p2phub")
            assert proposed["pending"]["signatures"] == 1
            (row,) = home.run("key", "proposals").objects
            assert (row["commit"], row["signatures"]) == (proposed["commit"], 1)
            home.refused(2, "publish")
            home.refused(2, "publish", folder, "x", "--finish", tmp_path / "p.p2phub")
            home.refused(3, "key", "proposals", "--sign", "00000000")
            home.done("key", "proposals", "--drop", proposed["commit"][:8])
            assert home.run("key", "proposals").objects == []
