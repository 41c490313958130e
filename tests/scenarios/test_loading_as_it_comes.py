"""What can go wrong while a model is loaded that is still fetched, between real processes.

The weights come slowly, so that each fault strikes when half of them are here: the worker reads
them already. After it nothing of the load is left, and the next command gets an answer.
"""

import os
import signal
import subprocess
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs p2phub[inference]")

from tests.inference.worker.tiny_text import make_model, make_tokenizer
from tests.scenarios.nodes import flip
from tests.scenarios.processes import machines, wait_for
from tests.scenarios.test_bad_disks import full, small_disk

pytestmark = [pytest.mark.slow, pytest.mark.budget(300)]

MIB = 1 << 20
RATE = 2 * MIB
"""Bytes a second, of 60 MiB: half of it is more than the buffers of sockets hold, and takes longer
than a worker to start that imports scikit-learn for transformers."""
LOADS = 120
"""Seconds for a worker to start and load, on a machine that does much else."""
ASKED = ("run", "lab/x", "Hi", "--max-tokens", "2")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    made = make_model(120_000)
    made.save_pretrained(folder, max_shard_size="31MB")
    make_tokenizer().save_pretrained(folder)
    assert len(list(folder.glob("*.safetensors"))) == 2
    return folder


class Scene:
    """A publisher of the model, and a user's daemon that fetches it slowly."""

    def __init__(self, lab, source, user, daemon):
        self.lab, self.source, self.user, self.daemon = lab, source, user, daemon
        store = Path(user.settings.get("P2PHUB_STORE_PATH", user.store))
        self.partial = store / "partial"

    @contextmanager
    def half_way(self):
        """A command that is answered by the model, when its worker has read some of the weights."""
        process = self.user.start(*ASKED, json=False, stderr=subprocess.PIPE)
        wait_for("half of the model", self._is_half_way, lambda: None, LOADS)
        yield process
        assert process.returncode is not None, "the test is to wait for it"

    def _is_half_way(self):
        (worker,) = workers(self.daemon.pid) or [None]
        return worker and reads_weights(worker) and on_disk(self.partial) > 20 * MIB

    def nothing_is_left(self):
        assert self.user.run("ps").objects == []
        wait_for("the worker's end", lambda: not workers(self.daemon.pid), lambda: None)

    def answers(self):
        told = self.user.run(*ASKED, seconds=LOADS)
        assert told.code == 0, told
        assert told.last["publisher"] == self.source.publisher_id
        return told


def reads_weights(pid):
    """Whether a worker has a file of weights open."""
    return any("/partial/" in str(each) for each in open_files(pid))


def open_files(pid):
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            yield each.readlink()


def on_disk(folder):
    """Bytes that were written below a folder."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return 512 * sum(path.stat().st_blocks for path in files)


def workers(pid):
    """The processes that a daemon has started."""
    found = []
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):  # a thread that has ended meanwhile
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


def end_of(process):
    """How a command ended, and what it told."""
    out, told = process.communicate(timeout=LOADS)
    assert b"Traceback" not in told
    return process.returncode, out + told


def test_ctrl_c_ends_the_load_and_keeps_what_has_come(scene):
    with scene.half_way() as process:
        process.send_signal(signal.SIGINT)
        assert end_of(process)[0] == 130
    scene.nothing_is_left()
    assert on_disk(scene.partial) > 15 * MIB
    scene.answers()


def test_a_release_that_is_taken_back_meanwhile_never_answers(scene):
    with scene.half_way() as process:
        words = ("--release", "lab/x", "--withdraw", "--reason", "a mistake")
        scene.lab.done("key", "revoke", *words)
        code, told = end_of(process)
    assert code == 4, told
    assert b"a mistake" in told
    scene.nothing_is_left()


def test_a_node_that_is_killed_takes_its_worker_with_it(scene):
    with scene.half_way() as process:
        left = workers(scene.daemon.pid)
        scene.daemon.kill()
        code, told = end_of(process)
    assert code == 6, told
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
        code, told = end_of(process)
    assert code == 6, told
    scene.nothing_is_left()
    with scene.lab.running() as scene.source:
        assert scene.daemon.stop() == 0
        with scene.user.running(scene.source.address) as scene.daemon:
            scene.answers()


def test_a_source_that_stops_in_the_middle_of_a_piece_is_left(scene):
    with scene.half_way() as process:
        os.kill(scene.source.pid, signal.SIGSTOP)
        try:
            code, told = end_of(process)
        finally:
            os.kill(scene.source.pid, signal.SIGCONT)
    assert code == 6, told
    scene.nothing_is_left()
    scene.answers()


def test_a_wrong_byte_of_the_only_source_never_reaches_an_answer(scene):
    blobs = sorted((scene.lab.store / "blobs").rglob("*"), key=lambda path: path.stat().st_size)
    flip(blobs[-1], blobs[-1].stat().st_size - 100, keep_times=True)
    told = scene.user.run(*ASKED, seconds=LOADS)
    assert told.code == 4, told
    assert told.error["code"] == "wrong_bytes"
    scene.nothing_is_left()


def test_a_disk_that_fills_up_meanwhile(tmp_path, model):
    with (
        small_disk(tmp_path / "disk", 120 * MIB) as disk,
        scene_of(tmp_path, model, STORE_PATH=str(disk / "store")) as scene,
    ):
        with scene.half_way() as process, full(disk):
            code, told = end_of(process)
        assert code == 5, told
        scene.nothing_is_left()
        scene.answers()
