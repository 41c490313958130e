"""kill -9 in the middle: of a pull, of a publish, of the node behind a command; then again."""

import os
import random
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from p2phub.formats.planner import PiecePlanner
from p2phub.testing.files import random_bytes, tiny_model_folder
from tests.scenarios.nodes import contents
from tests.scenarios.processes import Daemon, Home, ended, machines, wait_for

pytestmark = pytest.mark.slow

MIB = 1 << 20
BIG = "weights.bin.safetensors"


@dataclass
class Lab:
    """A publisher with one big file, and a home that pulls it."""

    consumer: Home
    serving: Daemon
    folder: Path
    lengths: list[int]
    """Of the pieces of the big file."""

    def claimed(self) -> bytes:
        """A byte a piece of the big file: 1 if it was verified and written."""
        found = list((self.consumer.store / "partial").glob("*/bitmap"))
        return found[0].read_bytes() if found else b""

    def kept(self) -> int:
        """The bytes of those pieces."""
        return sum(
            length for length, kept in zip(self.lengths, self.claimed(), strict=False) if kept
        )

    def freeze_at(self, pieces: int, pull) -> int:
        """Stop the source once so many pieces have arrived; how many had."""
        deadline = time.monotonic() + 20
        while (found := self.claimed().count(1)) < pieces:
            assert time.monotonic() < deadline, f"{found} pieces came, {pieces} were expected"
            assert pull.poll() is None, "the pull ended too early"
        os.kill(self.serving.pid, signal.SIGSTOP)
        return found

    def thaw(self) -> None:
        os.kill(self.serving.pid, signal.SIGCONT)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """Machines of which one serves a model: made, daemon, folder, lengths of pieces."""
    top = tmp_path_factory.mktemp("resume")
    folder = tiny_model_folder(top / "model", seed="resume", shard_bytes=10_000)
    weights = random_bytes("resume", 48 * MIB)
    (folder / BIG).write_bytes(weights)
    planner = PiecePlanner(len(weights))
    lengths = planner.feed(weights) + planner.finish()
    with machines(top) as made:
        publisher = made.publisher()
        with publisher.running() as serving:
            publisher.done("publish", folder, "x")
            yield made, serving, folder, lengths


@pytest.fixture
def lab(served):
    made, serving, folder, lengths = served
    consumer = made.home(f"consumer-{len(made.homes)}")
    consumer.bootstrap = serving.address
    consumer.done("trust", "add", "lab", serving.publisher_id)
    lab = Lab(consumer, serving, folder, lengths)
    yield lab
    lab.thaw()
    consumer.reap()


def test_a_daemon_that_is_killed_in_a_pull_goes_on_where_it_was(lab):
    daemon = lab.consumer.daemon()
    pull = lab.consumer.start("pull", "lab/x")
    lab.freeze_at(60, pull)
    daemon.kill()
    told = ended(pull, "pull")
    assert told.code in (1, 6, 7)
    assert told.error["message"]
    kept = lab.kept()
    lab.thaw()
    with lab.consumer.running():
        done = lab.consumer.done("pull", "lab/x")
        assert contents(Path(done["path"])) == contents(lab.folder)
        assert 0 < done["bytes_fetched"] <= done["bytes_total"] - kept
        assert done["bytes_linked"] >= kept > 0
        assert done["bytes_linked"] + done["bytes_fetched"] == done["bytes_total"]
        assert lab.consumer.done("verify", "lab/x")["verdict"] == "verified"
        assert not list((lab.consumer.store / "partial").iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_whoever_is_killed_whenever_nothing_is_fetched_twice(lab, seed):
    """The command, its node, or a daemon, at growing random points; then to the end."""
    rng = random.Random(seed)
    for pieces in sorted(rng.sample(range(5, len(lab.lengths) - 10), 4)):
        victim = rng.choice(["daemon", "node of the command", "command"])
        if lab.claimed().count(1) < pieces:
            killed_at(lab, pieces, victim)
    kept = lab.kept()
    done = lab.consumer.done("pull", "lab/x")
    assert contents(Path(done["path"])) == contents(lab.folder)
    assert done["bytes_fetched"] <= done["bytes_total"] - kept
    assert lab.consumer.done("verify", "lab/x")["verdict"] == "verified"
    assert lab.consumer.holder() is None


def killed_at(lab: Lab, pieces: int, victim: str) -> None:
    daemon = lab.consumer.daemon() if victim == "daemon" else None
    pull = lab.consumer.start("pull", "lab/x", stderr=subprocess.DEVNULL)
    lab.freeze_at(pieces, pull)
    if daemon is not None:
        daemon.kill()
    elif victim == "command":
        pull.kill()
    else:
        os.kill(lab.consumer.holder() or 0, signal.SIGKILL)
    told = ended(pull, "pull")
    assert told.code in (1, 6, 7) or victim == "command"
    lab.thaw()
    wait_for("the end of the node", lambda: lab.consumer.holder() is None, lambda: None, 30)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_daemon_that_is_killed_while_it_publishes_shows_the_old_release_or_the_new(
    tmp_path, seed
):
    rng = random.Random(seed)
    folder = tiny_model_folder(tmp_path / "model", seed="publish", shard_bytes=200_000)
    with machines(tmp_path) as made:
        home, reader = made.publisher(), made.home("reader")
        daemon = home.daemon()
        commits = [home.done("publish", folder, "x")["commit"]]
        reader.done("trust", "add", "lab", str(daemon.publisher_id))
        for turn in range(4):
            (folder / BIG).write_bytes(random_bytes(f"{seed}/{turn}", 24 * MIB))
            publish = home.start("publish", folder, "x", stderr=subprocess.DEVNULL)
            time.sleep(rng.uniform(0.3, 1.0))
            daemon.kill()
            told = ended(publish, "publish")
            assert told.code in (0, 1, 6, 7)
            daemon = home.daemon()
            info = home.done("info", "lab/x")
            assert info["here"] == "complete"
            assert told.code != 0 or info["commit"] == told.last["commit"]
            assert home.done("verify", "lab/x")["verdict"] == "verified"
            assert not list((home.store / "temp").iterdir())
            again = home.done("publish", folder, "x")
            commits.append(again["commit"])
        reader.bootstrap = daemon.address
        done = reader.done("pull", "lab/x")
        assert done["commit"] == commits[-1]
        assert contents(Path(done["path"])) == contents(folder)
        assert reader.done("pull", f"lab/x@{commits[0]}")["verdict"] == "verified"
        assert daemon.stop() == 0


# ---------------------------------------------------------------- a node for one command


def test_a_pull_without_a_daemon_works_and_leaves_nothing_running(lab):
    consumer = lab.consumer
    consumer.folder.joinpath("node.toml").write_text(
        f'[network]\nbootstrap = ["{lab.serving.address}"]\n'
    )
    consumer.bootstrap = None
    done = consumer.done("pull", "lab/x", "--include", "*.json")
    assert (Path(done["path"]) / "config.json").read_bytes() == (
        lab.folder / "config.json"
    ).read_bytes()
    assert consumer.holder() is None
    assert not (consumer.folder / "run" / "gateway").exists()
    again = consumer.done("pull", "lab/x", "--include", "*.json")
    assert again["bytes_fetched"] == 0
    assert consumer.done("verify", "lab/x")["verdict"] == "verified"


def test_two_pulls_at_once_without_a_daemon_share_one_node(lab):
    consumer = lab.consumer
    both = [consumer.start("pull", "lab/x", stderr=subprocess.PIPE) for _ in range(2)]
    told = [ended(each, "pull") for each in both]
    assert [each.code for each in told] == [0, 0], told
    assert contents(Path(told[0].last["path"])) == contents(lab.folder)
    assert sum(each.last["bytes_fetched"] for each in told) == told[0].last["bytes_total"]
    wait_for("the end of the node", lambda: consumer.holder() is None, lambda: None)
    assert not (consumer.folder / "run" / "gateway").exists()


def test_an_interrupted_pull_ends_its_node_and_keeps_what_came(lab):
    pull = lab.consumer.start("pull", "lab/x", stderr=subprocess.PIPE)
    lab.freeze_at(20, pull)
    pull.send_signal(signal.SIGINT)
    told = ended(pull, "pull")
    assert told.code == 130
    assert "Traceback" not in told.err
    lab.thaw()
    wait_for("the end of the node", lambda: lab.consumer.holder() is None, lambda: None)
    assert lab.kept() > 0
