"""A repo of several variants, between two nodes: one is chosen or named, and only it is fetched."""

import json
import struct
from dataclasses import replace

import pytest

from p2phub.errors import EngineError, NoMemoryError, NotFoundError
from p2phub.formats.limits import MIB
from p2phub.inference.memory import KEEP_FREE, Device, Machine
from p2phub.node.choosing import Capacity
from p2phub.node.infer import Inference
from p2phub.testing.model_pools import FakePool
from tests.scenarios.nodes import consumer, new_publisher, node, publish, snapshots

ROOM = 1 << 40


def gguf(elements):
    """A GGUF file of one F32 tensor, which says that it is of a llama."""

    def text(value):
        return struct.pack("<Q", len(value)) + value.encode()

    key = text("general.architecture") + struct.pack("<I", 8) + text("llama")
    tensor = text("w") + struct.pack("<IQIQ", 1, elements, 0, 0)
    header = b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + key + tensor
    return header + bytes(-len(header) % 32) + bytes(4 * elements)


FILES = {
    "config.json": json.dumps({"architectures": ["LlamaForCausalLM"]}).encode(),
    "x-Q4_0.gguf": gguf(1 << 19),
    "x-Q8_0.gguf": gguf(1 << 20),
    "mmproj-F16.gguf": gguf(1 << 21),
}


class Scene:
    def __init__(self, running) -> None:
        self.pool, self.running = FakePool(), running
        self.inference = Inference(running._services, self.pool)

    def give(self, size):
        """Let the machine have so many bytes for models."""
        inference, cpu = self.inference._services.config.inference, Device("cpu", 2 * size, size)
        self.inference._machine = Capacity(replace(inference, memory=size), (cpu,))

    async def load(self, name):
        return await self.inference.load(name, None, lambda event: None)

    async def ask(self, name):
        async with self.inference.serve(name, "") as served:
            return served.name

    async def ids(self):
        return [(row.id, row.loaded, row.default) for row in await self.inference.models()]


@pytest.fixture
async def scene(tmp_path):
    publisher = new_publisher(tmp_path / "a")
    folder = tmp_path / "model"
    folder.mkdir()
    for name, data in FILES.items():
        (folder / name).write_bytes(data)
    async with node(tmp_path / "a") as serving:
        await publish(serving, folder)
        async with consumer(tmp_path / "b", serving, publisher) as running:
            yield Scene(running)


async def test_a_named_one_alone_is_fetched_and_two_are_two_models(scene, tmp_path):
    row = await scene.load("lab/x:q4_0")
    assert (row.id, row.variant) == ("lab/x:Q4_0", "Q4_0")
    assert {path.name for path in snapshots(tmp_path / "b")} == {"config.json", "x-Q4_0.gguf"}
    assert await scene.ask("lab/x:x-q4_0.gguf") == "lab/x:Q4_0"
    assert await scene.ask("lab/x") == "lab/x:Q4_0"  # it is here
    with pytest.raises(NotFoundError, match="not on this disk") as caught:
        await scene.ask("lab/x:Q8_0")
    assert "p2phub serve lab/x:Q8_0" in caught.value.remedy
    for asking in (scene.ask, scene.load, scene.inference.fit):
        with pytest.raises(NotFoundError, match="no variant Q5_0 of lab/x") as caught:
            await asking("lab/x:Q5_0")
        assert caught.value.remedy == "name one of Q4_0 (3 MiB), Q8_0 (5 MiB)"
    await scene.load("lab/x@main:Q8_0")
    assert [spec.variant for spec in scene.pool.specs] == ["Q4_0", "Q8_0"]
    assert await scene.ids() == [("lab/x:Q4_0", True, False), ("lab/x:Q8_0", True, True)]
    assert (await scene.inference.unload("lab/x:q8_0")).id == "lab/x:Q8_0"
    assert [row.id for row in await scene.inference.loaded()] == ["lab/x:Q4_0"]
    await scene.load("lab/x:Q8_0")
    await scene.inference.unload("lab/x")
    assert await scene.inference.loaded() == ()


async def test_the_largest_that_fits_is_what_fit_tells_and_what_is_loaded(scene, tmp_path):
    scene.give(ROOM)
    told = await scene.inference.fit("lab/x")
    assert told.chosen == "Q8_0"
    needs = {each.name: each.bytes_needed for each in told.variants}
    assert list(needs) == ["Q8_0", "Q4_0"]
    assert needs["Q8_0"] - needs["Q4_0"] == 2 * MIB
    scene.give(needs["Q8_0"] - 1)
    told = await scene.inference.fit("lab/x")
    assert (told.chosen, told.fits) == ("Q4_0", True)
    assert (await scene.load("lab/x")).id == "lab/x:Q4_0"
    assert not [path for path in snapshots(tmp_path / "b") if path.name == "x-Q8_0.gguf"]
    scene.give(ROOM)
    assert await scene.ask("lab/x") == "lab/x:Q4_0"
    assert (await scene.inference.fit("lab/x")).chosen == "Q4_0"
    assert (await scene.inference.fit("lab/x:Q8_0")).chosen == "Q8_0"


@pytest.mark.parametrize("name", ["lab/x", "lab/x:Q4_0"])
async def test_what_fit_tells_is_what_is_reserved_and_what_ps_shows(scene, name):
    told = await scene.inference.fit(name)
    before = (await scene.load(name)).memory_bytes  # it comes meanwhile
    await scene.inference.unload(name)
    again = Scene(scene.running)  # remembers nothing
    await again.ask(name)
    (row,) = await again.inference.loaded()
    assert before == row.memory_bytes == told.bytes_needed > 100 * MIB


async def test_a_device_of_which_nobody_tells_is_left_to_who_loads(scene):
    inference = replace(scene.running._services.config.inference, device="cuda:7")
    scene.inference._machine = Capacity(inference, (Device("cpu", ROOM, ROOM),))
    with pytest.raises(EngineError, match="cuda:7"):
        await scene.inference.fit("lab/x")
    assert (await scene.load("lab/x:Q4_0")).memory_bytes == 0  # the pool counts its files


async def test_what_is_free_is_told_as_it_is_when_somebody_asks(scene):
    scene.give(ROOM)
    told = await scene.inference.fit("lab/x")
    (cpu,) = [each for each in await Machine().devices() if each.name == "cpu"]
    assert told.free_bytes == pytest.approx(cpu.free - cpu.total * KEEP_FREE, rel=0.5)
    assert told.available_bytes == ROOM


async def test_none_that_fits_names_the_smallest_before_any_weights_come(scene, tmp_path):
    scene.give(MIB)
    with pytest.raises(NoMemoryError, match="Q4_0, the smallest, needs"):
        await scene.load("lab/x")
    assert not snapshots(tmp_path / "b")
    assert scene.pool.specs == []
