"""A model that still comes, in a worker of its own: read as it comes, and never with a wrong byte.

The last shard is held back until the worker has told that it read the first one.
"""

import os
import signal
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import trio

pytest.importorskip("torch", reason="needs p2phub[inference]")
from safetensors.torch import save

from p2phub.errors import EngineError, WrongBytesError
from p2phub.inference import worker_engine
from p2phub.inference.requests import Finished, Generate, Sampling
from p2phub.inference.wire import Arrived, Moved, Tabled
from p2phub.inference.worker_engine import start_worker
from p2phub.inference.worker_process import WorkerProcess
from p2phub.testing.processes import gone
from tests.inference.worker.release_files import model_file, spec_of
from tests.inference.worker.tiny_text import make_model, make_tokenizer

pytestmark = pytest.mark.slow
FIRST, LAST = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
LARGE = "model.embed_tokens.weight"


class Scene:
    """A model in two shards, of which the second has a piece table that comes late."""

    def __init__(self, folder):
        model = make_model(30000)
        model.config.save_pretrained(folder)
        make_tokenizer().save_pretrained(folder)
        small = [model_file(folder, each.name, each.read_bytes()) for each in folder.iterdir()]
        state = {name: each.contiguous() for name, each in model.state_dict().items()}
        self.data = {LAST: save({LARGE: state.pop(LARGE)}), FIRST: save(state)}
        shards = [
            model_file(folder, name, self.data[name], complete=False) for name in (FIRST, LAST)
        ]
        self.last = shards[1]
        assert self.last.packed_table
        shards[1] = replace(self.last, packed_table=b"", where="")
        self.spec = replace(spec_of(*small, *shards, device="cpu", threads=1), name="lab/x")
        self.first_read = trio.Event()

    def spoil(self):
        data = self.data[LAST]
        Path(self.last.where).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))

    def report(self, what, done, total):
        if what == "reading weights" and done >= len(self.data[FIRST]) // 2:
            self.first_read.set()

    async def arriving(self):
        yield Arrived(FIRST, 0, len(self.data[FIRST]))
        await self.first_read.wait()
        yield Tabled(LAST, self.last.packed_table)
        yield Moved(LAST, self.last.where)
        yield Arrived(LAST, 0, len(self.data[LAST]))


@pytest.fixture
def scene(tmp_path):
    return Scene(tmp_path)


async def test_a_model_is_read_while_it_comes_and_answers(scene):
    async with trio.open_nursery() as nursery:
        engine = await start_worker(nursery, scene.spec, scene.report, scene.arriving())
        request = Generate("a", Sampling(max_tokens=2, temperature=0))
        *_, end = [each async for each in engine.generate(request)]
        assert type(end) is Finished
        await engine.close()


async def test_a_wrong_byte_in_what_came_last_ends_the_load_and_nothing_answers(scene):
    scene.spoil()
    async with trio.open_nursery() as nursery:
        with pytest.raises(WrongBytesError, match=LAST):
            await start_worker(nursery, scene.spec, scene.report, scene.arriving())
    assert scene.first_read.is_set()


@pytest.mark.parametrize("end", ["killed", "given up"])
async def test_a_load_that_ends_while_the_last_shard_is_still_to_come_leaves_nothing(
    scene, monkeypatch, end
):
    made = []

    def start(options):
        made.append(WorkerProcess(options))
        return made[-1]

    async def arriving():
        yield Arrived(FIRST, 0, len(scene.data[FIRST]))
        await scene.first_read.wait()
        if end == "killed":
            os.kill(made[0].pid, signal.SIGKILL)
        else:
            loading.cancel()
        await trio.sleep_forever()

    monkeypatch.setattr(worker_engine, "WorkerProcess", start)
    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as loading:
            told = pytest.raises(EngineError, match=r"SIGKILL\) while it loaded")
            with told if end == "killed" else nullcontext():
                await start_worker(nursery, scene.spec, scene.report, arriving())
    assert loading.cancelled_caught == (end == "given up")
    (process,) = made
    assert gone([process.pid])
    assert not process._folder.path.exists()
