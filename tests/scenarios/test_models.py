"""From a name to a model in memory, between two nodes: no more is fetched than it needs."""

import json
import math

import pytest
import trio

from p2phub.errors import NotFoundError, UnsupportedError
from p2phub.formats.ids import Reference
from p2phub.inference.wire import Arrived
from p2phub.node.events import Loading, Planned, Resolved
from p2phub.node.headers import describe, describe_here
from p2phub.node.infer import Inference
from p2phub.node.resolve import resolve
from p2phub.testing.model_pools import FakePool
from tests.scenarios.nodes import consumer, new_publisher, node, publish, snapshots

FILES = {
    "config.json": json.dumps({"architectures": ["LlamaForCausalLM"]}).encode(),
    "tokenizer.json": b"{}",
    "model.safetensors": b"weights!" * (1 << 18),
    "onnx/model.onnx": b"the same once more" * 1000,
    "odd[1].json": b"{}",
}


def folder(path, files=FILES):
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


async def test_a_model_is_fetched_and_loaded_and_then_answers(tmp_path):
    publisher = new_publisher(tmp_path / "a")
    async with node(tmp_path / "a") as serving:
        await publish(serving, folder(tmp_path / "model"))
        async with consumer(tmp_path / "b", serving, publisher) as running:
            pool, told = FakePool(), []
            inference = Inference(running._services, pool)
            with pytest.raises(NotFoundError):
                async with inference.serve("lab/x", ""):
                    pass
            row = await inference.load("lab/x", math.inf, told.append)
            assert (row.id, row.verdict, row.keep_seconds) == ("lab/x", "verified", None)
            here = {path.name for path in snapshots(tmp_path / "b")}
            assert here == {"config.json", "tokenizer.json", "model.safetensors", "odd[1].json"}
            kinds = [type(event) for event in told]
            assert kinds[0] is Resolved
            assert {Planned, Loading} <= set(kinds)
            weights = pool.specs[0].find("model.safetensors")
            assert (weights.complete, weights.where) == (False, "")
            assert Arrived("model.safetensors", 0, 2 << 20) in pool.heard
            async with inference.serve("lab/x", "text-generation") as served:
                assert served.publisher == publisher
            again = []
            await inference.load("lab/x", None, again.append)
            assert Planned not in map(type, again)
            assert len(pool.specs) == 1


async def test_a_newer_release_that_is_not_here_leaves_the_older_one_answering(tmp_path):
    publisher = new_publisher(tmp_path / "a")
    async with node(tmp_path / "a") as serving:
        first = await publish(serving, folder(tmp_path / "model"))
        async with consumer(tmp_path / "b", serving, publisher) as running:
            inference = Inference(running._services, FakePool())
            await inference.load("lab/x", None, lambda event: None)
            newer = {**FILES, "model.safetensors": b"others!!" * (1 << 18)}
            second = await publish(serving, folder(tmp_path / "model", newer))
            await running.resolve("lab/x")
            async with inference.serve("lab/x", "") as served:
                assert served.release == first.digest
            await inference.load("lab/x", None, lambda event: None)
            async with inference.serve("lab/x", "") as served:
                assert served.release == second.digest


async def test_what_a_model_needs_is_told_before_its_weights_come(tmp_path):
    publisher = new_publisher(tmp_path / "a")
    header = json.dumps({"w": {"dtype": "F32", "shape": [1 << 20], "data_offsets": [0, 4 << 20]}})
    weights = len(header).to_bytes(8, "little") + header.encode() + bytes(4 << 20)
    async with node(tmp_path / "a") as serving:
        await publish(serving, folder(tmp_path / "model", FILES | {"model.safetensors": weights}))
        async with consumer(tmp_path / "b", serving, publisher) as running:
            resolved = await resolve(running._services, Reference.parse("lab/x"))
            found = await describe(running._services, resolved, [("model.safetensors",)])
            assert found.config == {"architectures": ["LlamaForCausalLM"]}
            ((name, told),) = found.files.items()
            assert name == "model.safetensors"
            assert describe_here(running._services, resolved, [(name,)]) == found
            assert [(each.name, each.shape) for each in told.tensors] == [("w", (1 << 20,))]
            told = await Inference(running._services, FakePool()).fit("lab/x")
            assert (told.ref, told.engine) == ("lab/x@main", "transformers")
            size = {"bfloat16": 2, "float32": 4}[told.dtype]  # what this processor computes with
            assert told.weight_bytes == size << 20
            assert told.fits
            assert told.release == resolved.digest.hex()
            assert (await running.status()).bytes < 2 << 20


async def test_what_has_no_weights_is_described_by_nothing(tmp_path):
    publisher = new_publisher(tmp_path / "a")
    async with node(tmp_path / "a") as serving:
        await publish(serving, folder(tmp_path / "model", {"data.csv": b"1,2"}))
        async with consumer(tmp_path / "b", serving, publisher) as running:
            with pytest.raises(UnsupportedError, match="neither safetensors nor GGUF"):
                await Inference(running._services, FakePool()).fit("lab/x")


async def test_what_is_no_model_is_not_fetched(tmp_path):
    publisher = new_publisher(tmp_path / "a")
    async with node(tmp_path / "a") as serving:
        await publish(serving, folder(tmp_path / "model", {"data.csv": b"1,2"}))
        async with consumer(tmp_path / "b", serving, publisher) as running:
            with pytest.raises(UnsupportedError):
                await Inference(running._services, FakePool()).load(
                    "lab/x", None, lambda event: None
                )
            assert not snapshots(tmp_path / "b")
            await trio.lowlevel.checkpoint()
