"""Which engine a model is told to run in: vLLM only where it is wanted, or set and of use."""

from types import SimpleNamespace

import pytest

from p2phub.inference.memory import Device
from p2phub.inference.spec import Adapter, ModelSpec, RunOptions
from p2phub.inference_settings import InferenceSettings
from p2phub.node.models import spec_of
from p2phub.node.specs import Specs

CPU, GPU = Device("cpu", 8, 8), Device("cuda:0", 8, 8)


class Machine:
    """A machine that counts how often it is asked."""

    def __init__(self, *devices):
        self.now, self.asked = devices, 0

    async def devices(self):
        self.asked += 1
        return self.now


async def engine_of(
    machine, of="transformers", task="text-generation", times=1, adapter=None, **settings
):
    inference = InferenceSettings(**settings)
    options = RunOptions(quantize="" if inference.quantize == "none" else inference.quantize)
    spec = ModelSpec("r", "lab/x", of, task, (), options)

    async def on_disk(work, *arguments):
        return spec if adapter is None or work is spec_of else adapter

    adapters = () if adapter is None else (SimpleNamespace(digest="a", exact="lab/a", files=()),)
    services = SimpleNamespace(config=SimpleNamespace(inference=inference), on_disk=on_disk)
    model = SimpleNamespace(missing=("x",), called="lab/x", adapters=adapters)
    specs = Specs(services, machine)
    return [(await specs.of(model)).engine for _ in range(times)][-1]


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({}, "transformers"),
        ({"vllm": "vllm"}, "vllm"),
        ({"vllm": "vllm", "engine": "transformers"}, "transformers"),
        ({"vllm": "vllm", "device": "cpu"}, "transformers"),
        ({"vllm": "vllm", "device": "cuda:0"}, "vllm"),
        ({"vllm": "vllm", "quantize": "int8"}, "transformers"),
        ({"engine": "vllm"}, "vllm"),  # which then says that there is no program
    ],
)
async def test_with_a_gpu(settings, found):
    assert await engine_of(Machine(CPU, GPU), **settings) == found


@pytest.mark.parametrize(
    ("settings", "found"),
    [({"vllm": "vllm"}, "transformers"), ({"vllm": "vllm", "engine": "vllm"}, "vllm")],
)
async def test_without_a_gpu_it_is_run_only_where_it_is_named(settings, found):
    assert await engine_of(Machine(CPU), **settings) == found


@pytest.mark.parametrize(
    ("engine", "task"),
    [("llamacpp", "text-generation"), ("transformers", "feature-extraction")],
)
async def test_what_it_does_not_do_runs_in_what_does(engine, task):
    machine = Machine(CPU, GPU)
    assert await engine_of(machine, engine, task, vllm="vllm", engine="vllm") == engine


async def test_an_adapter_goes_to_an_engine_that_takes_it():
    adapter = Adapter("lab/a", (), "a")
    machine = Machine(CPU, GPU)
    assert await engine_of(machine, adapter=adapter, vllm="vllm") == "transformers"


async def test_the_machine_is_not_asked_for_every_request():
    machine = Machine(CPU, GPU)
    assert await engine_of(machine, times=20, vllm="vllm") == "vllm"
    assert machine.asked == 1
