"""Parts of files between real nodes: ranges, restarts, the rest afterwards, and what is said."""

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from p2phub.client.async_hub import AsyncHub
from p2phub.errors import NotFoundError, QuotaError, UsageError
from p2phub.formats.ranges import MAX_READ
from p2phub.gateway.server import open_gateway
from p2phub.node.node import Node
from p2phub.node.parts import PartHere, PartRequest
from p2phub.node.values import PublishRequest, PullRequest

from .nodes import (
    MIB,
    consumer,
    contents,
    flip,
    new_publisher,
    node,
    publish,
    pull,
    quiet,
    settings,
)

pytestmark = pytest.mark.slow
BIG = 24 * MIB
NAME = "data.bin"


def folder(path: Path) -> Path:
    path.mkdir()
    (path / NAME).write_bytes(os.urandom(BIG))
    (path / "notes.txt").write_text("two words")
    (path / "deep").mkdir()
    (path / "deep" / "other.bin").write_bytes(os.urandom(3 * MIB))
    return path


async def bring(running: Node, *ranges: tuple[int, int], path: str = NAME) -> PartHere:
    return await running.bring_ranges(PartRequest("lab/x", path, ranges), quiet)


async def read(running: Node, *ranges: tuple[int, int], path: str = NAME) -> bytes:
    return await running.read(PartRequest("lab/x", path, ranges))


async def here(running: Node) -> dict[str, str]:
    return {row.path: row.here for row in await running.ls("lab/x@main")}


async def test_parts_come_without_the_rest_and_the_rest_comes_later(tmp_path):
    source = folder(tmp_path / "in")
    data = (source / NAME).read_bytes()
    publisher = new_publisher(tmp_path / "a")
    async with node(tmp_path / "a") as a:
        await publish(a, source)
        async with consumer(tmp_path / "b", a, publisher) as b:
            assert await read(b, (5 * MIB, 5 * MIB + 10), (0, 3)) == (
                data[5 * MIB : 5 * MIB + 10] + data[:3]
            )
            first = await bring(b, (12 * MIB, 16 * MIB))
            assert 4 * MIB <= first.bytes_fetched <= 6 * MIB
            assert first.size == BIG
            again = await bring(b, (12 * MIB, 16 * MIB), (5 * MIB, 5 * MIB + 10))
            assert (again.bytes_fetched, again.bytes_linked) == (0, 0)
            assert await here(b) == {NAME: "partial", "notes.txt": "none", "deep/other.bin": "none"}
            (row,) = await b.ls(None)
            assert row.here == (await b.info("lab/x")).here == "partial"
            with pytest.raises(NotFoundError, match="no file"):
                await read(b, (0, 1), path="nothing.bin")
            with pytest.raises(UsageError):
                await read(b, (0, BIG + 1))
            with pytest.raises(UsageError, match="16777217 bytes"):
                await read(b, (0, MAX_READ + 1))
        async with consumer(tmp_path / "b", a, publisher) as b:  # after a restart
            assert (await bring(b, (12 * MIB, 16 * MIB))).bytes_fetched == 0
            assert await read(b, (13 * MIB, 14 * MIB)) == data[13 * MIB : 14 * MIB]
            pulled = await b.pull(PullRequest("lab/x", tmp_path / "out", ("*",)), quiet)
            total = BIG + 3 * MIB + 9
            assert pulled.bytes_linked >= first.bytes_fetched
            assert pulled.bytes_fetched + pulled.bytes_linked == total
            assert contents(tmp_path / "out") == contents(source)
            assert (await bring(b, (0, BIG))).bytes_fetched == 0
            assert await read(b, (BIG - 2, BIG)) == data[-2:]
        async with consumer(tmp_path / "b", None, publisher) as b:  # nobody is there
            assert await read(b, (1, 1000)) == data[1:1000]


async def test_a_part_that_is_the_whole_file_is_the_file(tmp_path):
    source = folder(tmp_path / "in")
    publisher = new_publisher(tmp_path / "a")
    async with node(tmp_path / "a") as a, consumer(tmp_path / "b", a, publisher) as b:
        await publish(a, source)
        assert await read(b, (4, 7), path="notes.txt") == b"wor"
        await bring(b, (0, 2 * MIB), (2 * MIB, 3 * MIB), path="deep/other.bin")
        assert await here(b) == {
            NAME: "none",
            "notes.txt": "complete",
            "deep/other.bin": "complete",
        }


async def test_a_part_counts_against_the_quota_and_is_dropped_with_its_release(tmp_path):
    source = folder(tmp_path / "in")
    publisher = new_publisher(tmp_path / "a")
    async with node(tmp_path / "a") as a:
        await publish(a, source)
        async with consumer(tmp_path / "b", a, publisher, STORE_QUOTA=str(12 * MIB)) as b:
            await bring(b, (0, 6 * MIB))
            with pytest.raises(QuotaError):
                await bring(b, (10 * MIB, 20 * MIB))
            with pytest.raises(QuotaError):
                await b.pull(PullRequest("lab/x", None, ("*",)), quiet)
        async with consumer(tmp_path / "b", a, publisher, STORE_QUOTA=str(12 * MIB)) as b:
            with pytest.raises(QuotaError):
                await bring(b, (10 * MIB, 20 * MIB))
            removed = await b.remove("lab/x")
            assert removed.bytes_freed >= 6 * MIB
            assert not list((tmp_path / "b" / "store" / "partial").iterdir())
            assert await b.ls(None) == ()
            await bring(b, (10 * MIB, 20 * MIB))


async def test_a_part_that_rotted_is_fetched_again(tmp_path):
    source = folder(tmp_path / "in")
    data = (source / NAME).read_bytes()
    publisher = new_publisher(tmp_path / "a")
    async with node(tmp_path / "a") as a, consumer(tmp_path / "b", a, publisher) as b:
        await publish(a, source)
        await bring(b, (0, 4 * MIB))
        (partial,) = (tmp_path / "b" / "store" / "partial").glob("*/data")
        flip(partial, MIB, keep_times=True)
        assert await read(b, (0, 4 * MIB)) == data[: 4 * MIB]


async def test_what_other_files_here_have_is_not_fetched_for_a_part(tmp_path):
    source = folder(tmp_path / "in")
    publisher = new_publisher(tmp_path / "a")
    async with node(tmp_path / "a") as a, consumer(tmp_path / "b", a, publisher) as b:
        await publish(a, source)
        await b.pull(PullRequest("lab/x", None, ("*",)), quiet)
        old = (source / NAME).read_bytes()
        (source / NAME).write_bytes(os.urandom(1000) + old)
        await a.publish(PublishRequest(source, "x"), quiet)
        part = await bring(b, (10 * MIB, 12 * MIB))
        assert part.bytes_fetched == 0
        assert 2 * MIB <= part.bytes_linked <= 4 * MIB
        assert (
            await read(b, (10 * MIB, 12 * MIB)) == (source / NAME).read_bytes()[10 * MIB : 12 * MIB]
        )
        assert (await pull(b)).bytes_fetched == 0


async def test_a_second_pull_with_other_globs_completes_the_rest(tmp_path):
    source = folder(tmp_path / "in")
    publisher = new_publisher(tmp_path / "a")
    async with node(tmp_path / "a") as a, consumer(tmp_path / "b", a, publisher) as b:
        await publish(a, source)
        first = await b.pull(PullRequest("lab/x", None, ("deep/",)), quiet)
        assert first.bytes_fetched == 3 * MIB
        assert [path.name for path in first.path.rglob("*") if not path.is_dir()] == ["other.bin"]
        assert await here(b) == {NAME: "none", "notes.txt": "none", "deep/other.bin": "complete"}
        assert (await b.info("lab/x")).here == "partial"
        rest = await b.pull(PullRequest("lab/x", None, ("*",), ("deep/",)), quiet)
        assert rest.bytes_fetched == BIG + 9
        assert (await b.info("lab/x")).here == "complete"
        assert contents(rest.path) == contents(source)
        everything = await b.pull(PullRequest("lab/x", tmp_path / "out", ("*",)), quiet)
        assert everything.bytes_fetched == 0
        assert contents(tmp_path / "out") == contents(source)


async def test_a_rank_loads_its_tensors_and_fetches_little_else(tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    tensors = {f"layer.{n}.weight": torch.randn(2048, 512) for n in range(6)}  # 4 MiB each
    save_file(tensors, source / "model.safetensors")
    publisher = new_publisher(tmp_path / "a")
    async with (
        node(tmp_path / "a") as a,
        consumer(tmp_path / "b", a, publisher) as b,
        open_gateway(b, settings(GATEWAY_LISTEN="127.0.0.1:0"), tmp_path / "b") as gateway,
        AsyncHub(url=gateway.url, token=gateway.token) as hub,
    ):
        await publish(a, source)
        loaded = await hub.load_tensors(
            "lab/x", ["layer.3.weight", "layer.1.weight"], rank=1, world=4, split={"*.3.*": 0}
        )
        assert torch.equal(loaded["layer.3.weight"], tensors["layer.3.weight"][512:1024])
        assert torch.equal(loaded["layer.1.weight"], tensors["layer.1.weight"])
        fetched = sum(b._services.store.partials.written(each) for each in _begun(b))
        assert fetched <= 5 * MIB + MIB + 64 * 1024  # an edge piece at most, and the header
        assert (await hub.load_tensors("lab/x")).keys() == tensors.keys()
        assert (await here(b))["model.safetensors"] == "complete"
        with pytest.raises(NotFoundError):
            await hub.load_tensors("lab/nothing")


def _begun(running: Node):
    return running._services.store.partials.list()
