"""A model in a server of its own, from verified files to its end: nothing wrong is served."""

import json
import os
import signal
from contextlib import asynccontextmanager
from dataclasses import replace
from urllib.request import urlopen

import pytest
import trio

from p2phub.errors import DamagedBlobError, EngineError, UnsupportedError, plain_errors
from p2phub.inference import private_folder
from p2phub.inference.memory import Device
from p2phub.inference.pool import open_pool
from p2phub.inference.requests import Generate
from p2phub.inference.spec import ModelSpec, RunOptions
from p2phub.inference.starting import Starter
from p2phub.inference.wire import Arrived, Moved
from p2phub.testing.engine_conformance import EngineConformance, Subject
from p2phub.testing.files import random_bytes
from p2phub.testing.processes import alive
from tests.inference.echo import echo_spec, text_of
from tests.inference.fake_vllm import fake_vllm
from tests.inference.worker.release_files import model_file

FILES = {"config.json": b"{}", "model.safetensors": random_bytes("weights", 2_000_000)}
GIB = 1 << 30


class Machine:
    """A machine of which the tests say what it has."""

    def __init__(self, *more):
        self.now = (Device("cpu", 100 * GIB, 90 * GIB), *more)

    async def devices(self):
        return self.now


class Scene:
    """A release on a disk, and the program that is to serve it."""

    def __init__(self, folder):
        self.folder = folder
        self.files = tuple(model_file(folder / "blobs", *each) for each in FILES.items())
        self.told = folder / "told.json"
        self.program = fake_vllm(folder)
        self.spec = ModelSpec("r", "lab/x", "vllm", "text-generation", self.files)
        self.machine = Machine()

    def starter(self, *options):
        words = [str(self.program), f"--told={self.told}", *options]
        return Starter(" ".join(words), lambda: "http://127.0.0.1:8642", self.machine)

    @asynccontextmanager
    async def started(self, *options, spec=None, arriving=None, steps=None):
        def report(*step):
            if steps is not None:
                steps.append(step)

        with plain_errors():
            async with trio.open_nursery() as nursery:
                starter = self.starter(*options)
                engine = await starter(nursery, spec or self.spec, report, arriving)
                try:
                    yield engine
                finally:
                    with trio.CancelScope(shield=True):
                        await engine.close()

    def heard(self):
        """What the program was told."""
        return json.loads(self.told.read_text())

    def left(self):
        """The folders that are left, and the processes."""
        heard = self.heard() if self.told.exists() else {}
        pids = [heard[name] for name in ("pid", "child") if name in heard]
        return [*(self.folder / "tmp").iterdir()], [each for each in pids if alive(each)]


@pytest.fixture
def scene(tmp_path, monkeypatch):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(private_folder.tempfile, "gettempdir", lambda: str(tmp_path / "tmp"))
    return Scene(tmp_path)


class TestConformance(EngineConformance):
    """The promises of every engine, but that it counts tokens beforehand."""

    test_the_prompt_is_counted_as_it_is_told_at_the_end = None

    @pytest.fixture
    async def subject(self, scene):
        spec = replace(scene.spec, options=RunOptions(slots=4))
        async with scene.started(spec=spec) as engine:
            port = scene.heard()["options"]["port"]
            yield Subject(
                engine,
                long=Generate("#pause=0.005 #more=100"),
                short=lambda number: Generate(f"this is answer {number} of many"),
                under_way=lambda: under_way(port),
                too_long=Generate("word " * 5000),
                wrong=None,
                crash=lambda: os.kill(engine.pid, signal.SIGKILL),
            )


def under_way(port):
    with urlopen(f"http://127.0.0.1:{port}/under_way") as answer:
        return json.load(answer)["count"]


async def test_it_is_given_the_verified_files_and_what_node_toml_says(scene):
    steps = []
    options = RunOptions(context=2048, slots=7, threads=3, dtype="float16", allow_remote_code=True)
    spec = replace(scene.spec, options=options)
    async with scene.started("--enforce-eager", spec=spec, steps=steps) as engine:
        assert await text_of(engine, Generate("hello you")) == "hello you "
        heard, info = scene.heard(), engine.info
        assert engine.pid == heard["pid"]
    assert heard["files"] == {name: len(data) for name, data in FILES.items()}
    told, variables = heard["options"], heard["environment"]
    assert (told["max-model-len"], told["max-num-seqs"], told["dtype"]) == ("2048", "7", "float16")
    assert {"trust-remote-code", "enforce-eager"} <= told.keys()
    assert (variables["HF_ENDPOINT"], variables["HF_HUB_OFFLINE"]) == ("http://127.0.0.1:8642", "1")
    assert (variables["OMP_NUM_THREADS"], variables.get("PYTHONPATH")) == ("3", None)
    assert variables["TMPDIR"].startswith(str(scene.folder / "tmp"))
    assert (info.engine, info.device, info.context, info.slots) == ("vllm", "cpu", 2048, 7)
    assert (info.weight_bytes, info.read_bytes) == (2_000_000, 2_000_002)
    assert info.tasks == ("text-generation",)
    assert [step[0] for step in steps][-1] == "starting vLLM"
    assert scene.left() == ([], [])


async def test_code_runs_only_where_it_may(scene):
    async with scene.started():
        assert "trust-remote-code" not in scene.heard()["options"]
    code = replace(scene.spec, files=(*scene.files, model_file(scene.folder, "m.py", b"x")))
    scene.told.unlink()
    with pytest.raises(UnsupportedError, match=r"m\.py may run code"):
        async with scene.started(spec=code):
            pytest.fail("it does not start")
    assert not scene.told.exists()


async def test_gpus_are_its_own_and_it_takes_its_share_of_them(scene, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    gpus = [Device(f"cuda:{number}", 80 * GIB, 80 * GIB) for number in range(3)]
    scene.machine = Machine(*gpus)
    options = RunOptions(device="cuda:1,cuda:2", cache_bytes=80 * GIB)
    async with scene.started(spec=replace(scene.spec, options=options)) as engine:
        told, variables = scene.heard()["options"], scene.heard()["environment"]
        assert engine.info.cache_bytes == 80 * GIB
    assert (told["tensor-parallel-size"], told["gpu-memory-utilization"]) == ("2", "0.5")
    assert variables["CUDA_VISIBLE_DEVICES"] == "1,2"


async def test_a_disk_that_changed_after_it_was_verified_refuses_to_load(scene):
    model_file(scene.folder / "blobs", "model.safetensors", FILES["model.safetensors"][:-1] + b"x")
    with pytest.raises(DamagedBlobError, match="is not what was published"):
        async with scene.started():
            pytest.fail("it does not start")
    assert not scene.told.exists()
    assert scene.left() == ([], [])


async def test_a_file_that_changes_while_it_loads_is_not_served(scene):
    with pytest.raises(DamagedBlobError, match="was changed while"):
        async with scene.started("--tampers"):
            pytest.fail("it is not given out")
    assert scene.left() == ([], [])


async def test_a_server_that_does_not_load_is_told_with_its_last_words(scene):
    with pytest.raises(EngineError, match=r"exit code 1(?s:.)*more memory than there is"):
        async with scene.started("--fails"):
            pytest.fail("it does not start")
    assert scene.left() == ([], [])


async def test_who_gives_up_while_it_loads_leaves_nothing(scene):
    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:

            async def give_up():
                while not scene.told.exists():  # noqa: ASYNC110 - another process writes it
                    await trio.sleep(0.01)
                scope.cancel()

            nursery.start_soon(give_up)
            await scene.starter("--slow=60")(nursery, scene.spec, lambda *step: None)
    assert scope.cancelled_caught
    assert scene.left() == ([], [])


async def test_it_waits_for_files_that_still_come(scene):
    config, weights = scene.files
    coming = replace(weights, where="", complete=False)
    spec = replace(scene.spec, files=(config, coming))

    async def arriving():
        yield Moved(weights.name, weights.where + ".part")
        yield Arrived(weights.name, 0, 5)
        assert not scene.told.exists()
        yield Moved(weights.name, weights.where)
        yield Arrived(weights.name, 0, 2_000_000)

    async with scene.started(spec=spec, arriving=arriving()) as engine:
        assert await text_of(engine, Generate("hello")) == "hello "


@pytest.mark.parametrize(
    ("setting", "told"), [("", r"\[inference\] vllm names no program"), ("/no/vllm", "/no/vllm")]
)
async def test_a_program_that_is_none_is_told_with_the_setting(scene, setting, told):
    async with trio.open_nursery() as nursery:
        with pytest.raises(EngineError, match=told) as raised:
            await Starter(setting, machine=scene.machine)(nursery, scene.spec, lambda *step: None)
    assert "node.toml" in raised.value.remedy


async def test_what_it_is_not_told_is_refused(scene):
    spec = replace(scene.spec, options=RunOptions(quantize="int8"))
    with pytest.raises(UnsupportedError, match="quantize"):
        async with scene.started(spec=spec):
            pytest.fail("it does not start")
    assert scene.left() == ([], [])


async def test_in_a_pool_a_crash_costs_the_request_and_the_next_one_starts_it_anew(scene):
    async with open_pool(start=scene.starter(), machine=scene.machine) as pool:
        async with pool.lease(scene.spec) as engine:
            first = engine.behind.pid
            assert pool.loaded()[0].pid == first
            with pytest.raises(EngineError, match="SIGABRT"):
                await text_of(engine, Generate("word #crash"))
        async with pool.lease(scene.spec) as engine:
            assert engine.behind.pid != first
            assert await text_of(engine, Generate("hello")) == "hello "
        await pool.unload("r")
        assert not alive(engine.behind.pid)
    assert scene.left() == ([], [])


async def test_other_models_have_a_worker_as_before(scene):
    starter, machine = scene.starter(), scene.machine
    async with (
        open_pool(start=starter, machine=machine) as pool,
        pool.lease(echo_spec()) as engine,
    ):
        assert await text_of(engine, Generate("hello you")) == "hello you"
