"""What can go wrong while a model is loaded that is still fetched, between real processes.

The weights come slowly, so that each fault strikes when half of them are here: the worker reads
them already. After it nothing of the load is left, and the next command gets an answer.
"""

import json
import os
import signal
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs p2phub[inference]")

from tests.inference.worker.tiny_text import make_model, make_tokenizer
from tests.scenarios.nodes import flip
from tests.scenarios.processes import Told, ended, machines, wait_for
from tests.scenarios.test_bad_disks import full, small_disk

pytestmark = [pytest.mark.slow, pytest.mark.budget(300)]

MIB = 1 << 20
RATE = 2 * MIB  # bytes a second, of 15 MiB
LOADS = 120
"""Seconds for a worker to start and load, on a machine that does much else."""
ASKED = ("run", "lab/x", "Hi", "--max-tokens", "2")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    made = make_model(30000)
    made.save_pretrained(folder, max_shard_size="8MB")
    make_tokenizer().save_pretrained(folder)
    assert len(list(folder.glob("*.safetensors"))) == 2
    return folder


class Scene:
    """A publisher of the model, and a user's daemon that fetches it slowly."""

    def __init__(self, lab, source, user, daemon):
        self.lab, self.source, self.user, self.daemon = lab, source, user, daemon

    @contextmanager
    def half_way(self):
        """A command that is answered by the model, when its worker has read some of the weights."""
        process = self.user.start(*ASKED, stderr=subprocess.PIPE)
        told = map(json.loads, process.stdout)
        assert any(map(is_half_way, told)), process.stderr.read()
        assert len(workers(self.daemon.pid)) == 1
        yield process
        assert process.returncode is not None, "the test is to wait for it"

    def nothing_is_left(self):
        assert self.user.run("ps").objects == []
        wait_for("the worker's end", lambda: not workers(self.daemon.pid), lambda: None)

    def answers(self):
        told = self.user.run(*ASKED, seconds=LOADS)
        assert told.code == 0, told
        assert told.last["publisher"] == self.source.publisher_id
        return told


def is_half_way(event):
    reads = event.get("event") == "loading" and event["step"] == "reading weights"
    return reads and 4 * MIB < event["bytes_done"] < event["bytes_total"]


def workers(pid):
    """The processes that a daemon has started."""
    found = []
    for thread in Path(f"/proc/{pid}/task").iterdir():
        found += (thread / "children").read_text().split()
    return [int(each) for each in found]


@pytest.fixture
def scene(tmp_path, model):
    with scene_of(tmp_path, model) as scene:
        yield scene


@contextmanager
def scene_of(tmp_path, model, **settings):
    settings |= {"INFERENCE_THREADS": "1", "INFERENCE_DEVICE": "cpu", "SWARM_DOWN": str(RATE)}
    with machines(tmp_path) as made:
        lab = made.publisher("lab")
        with lab.running() as source:
            lab.done("publish", model, "x")
            user = made.home("user", **settings)
            with user.running(source.address) as daemon:
                user.done("trust", "add", "lab", source.publisher_id)
                yield Scene(lab, source, user, daemon)


def told_by(process) -> Told:
    return ended(process, *ASKED, seconds=LOADS)


def test_ctrl_c_ends_the_load_and_keeps_what_has_come(scene):
    with scene.half_way() as process:
        process.send_signal(signal.SIGINT)
        assert told_by(process).code == 130
    scene.nothing_is_left()
    (plan,) = scene.answers().events("planned")
    assert plan["bytes_to_fetch"] < 12 * MIB


def test_a_release_that_is_taken_back_meanwhile_never_answers(scene):
    with scene.half_way() as process:
        words = ("--release", "lab/x", "--withdraw", "--reason", "a mistake")
        scene.lab.done("key", "revoke", *words)
        told = told_by(process)
    assert told.code == 4, told
    assert "text" not in told.last
    scene.nothing_is_left()


def test_a_node_that_is_killed_takes_its_worker_with_it(scene):
    with scene.half_way() as process:
        left = workers(scene.daemon.pid)
        scene.daemon.kill()
        assert told_by(process).code != 0
    wait_for("the worker's end", lambda: not any(map(is_alive, left)), lambda: None)
    with scene.user.running(scene.source.address) as scene.daemon:
        scene.answers()


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_source_that_dies_is_told_of_and_the_load_goes_on_with_the_next(scene):
    with scene.half_way() as process:
        scene.source.kill()
        told = told_by(process)
    assert told.code == 6, told
    assert told.error["remedy"]
    scene.nothing_is_left()
    with scene.lab.running() as scene.source:
        scene.user.bootstrap = scene.source.address
        assert scene.daemon.stop() == 0
        with scene.user.running() as scene.daemon:
            scene.answers()


def test_a_source_that_stops_in_the_middle_of_a_piece_is_left(scene):
    with scene.half_way() as process:
        os.kill(scene.source.pid, signal.SIGSTOP)
        began = time.monotonic()
        try:
            told = told_by(process)
        finally:
            os.kill(scene.source.pid, signal.SIGCONT)
    assert told.code == 6, told
    assert time.monotonic() - began < LOADS
    scene.nothing_is_left()
    scene.answers()


def test_a_wrong_byte_of_the_only_source_never_reaches_an_answer(scene):
    blobs = sorted((scene.lab.store / "blobs").rglob("*"), key=lambda path: path.stat().st_size)
    flip(blobs[-1], blobs[-1].stat().st_size - 100, keep_times=True)
    told = scene.user.run(*ASKED, seconds=LOADS)
    assert told.code in (4, 6), told
    assert "text" not in told.last
    scene.nothing_is_left()


def test_a_disk_that_fills_up_meanwhile(tmp_path, model):
    with (
        small_disk(tmp_path / "disk", 40 * MIB) as disk,
        scene_of(tmp_path, model, STORE_PATH=str(disk / "store")) as scene,
    ):
        with scene.half_way() as process, full(disk):
            told = told_by(process)
        assert told.code == 5, told
        assert told.error["code"] == "no_space"
        scene.nothing_is_left()
        scene.answers()
