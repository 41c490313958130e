"""Two nodes on loopback: one publishes, the other pulls.

First as daemons and typed commands, as two people would; then in this process, which is quicker.
"""

import stat
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from p2phub.errors import UsageError
from p2phub.node.values import PublishRequest, PullRequest
from p2phub.testing.files import make_safetensors, random_bytes, tiny_model_folder
from tests.scenarios.nodes import (
    MIB,
    consumer,
    contents,
    flip,
    new_publisher,
    node,
    publish,
    pull,
    quiet,
)
from tests.scenarios.processes import Home, machines

pytestmark = pytest.mark.budget(90)


@dataclass
class Pair:
    """A publisher called `lab` on both sides, whose daemon the consumer's daemon knows."""

    publisher: Home
    consumer: Home
    id: str
    folder: Path

    def published(self, name: str, **options: int) -> tuple[Path, dict]:
        """A fresh model folder, published as `name`."""
        folder = tiny_model_folder(self.folder / name, seed=name, **options)
        return folder, self.publisher.done("publish", folder, name)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pair")
    with machines(folder) as made:
        publisher, consumer = made.publisher(), made.home("consumer")
        with publisher.running() as first, consumer.running(bootstrap=first.address):
            assert first.publisher_id is not None
            consumer.done("trust", "add", "lab", first.publisher_id)
            yield Pair(publisher, consumer, first.publisher_id, folder)


def is_writable(path: Path) -> bool:
    return bool(path.stat().st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))


def test_a_pull_brings_the_very_files_and_a_second_one_nothing(pair):
    folder, published = pair.published("identical", shards=2, shard_bytes=2 * MIB)
    first = pair.consumer.run("pull", "lab/identical")
    assert first.code == 0, first
    done = first.last
    snapshot = Path(done["path"])
    assert contents(snapshot) == contents(folder)
    assert done["commit"] == published["commit"]
    assert done["ref"] == "lab/identical@main"
    assert done["verdict"] == "verified"
    assert done["bytes_fetched"] == done["bytes_total"] == published["bytes"]
    assert (done["bytes_linked"], done["sources"]) == (0, 1)
    assert first.events("resolved")[0]["publisher_id"] == pair.id
    assert first.events("plan")[0]["bytes_to_fetch"] == published["bytes"]
    assert {each["path"] for each in first.events("file")} == set(contents(folder))
    assert first.events("progress")[-1]["bytes_done"] == published["bytes"]
    assert not is_writable(snapshot)
    assert not any(is_writable(path) for path in snapshot.iterdir())
    again = pair.consumer.done("pull", "lab/identical")
    assert (again["bytes_fetched"], again["bytes_linked"]) == (0, published["bytes"])
    assert again["path"] == done["path"]
    verified = pair.consumer.done("verify", "lab/identical")
    assert (verified["verdict"], verified["stale_since"]) == ("verified", None)
    assert all(step["ok"] for step in verified["steps"])


@pytest.mark.parametrize(
    ("code", "reference"),
    [
        (3, "lab/steady@v9"),
        (3, "lab/steady@00000000"),
        (3, "stranger/steady"),
        (2, "lab/../steady"),
        (6, "a" * 51 + "q/steady"),
    ],
)
def test_what_cannot_be_found_is_told_with_its_exit_code(pair, code, reference):
    if not (pair.folder / "steady").exists():
        pair.published("steady", shard_bytes=10_000)
    pair.consumer.refused(code, "pull", reference)


@pytest.mark.slow
def test_a_node_can_be_looked_at_and_a_removed_release_comes_back(pair):
    _, published = pair.published("looked-at", shards=2, shard_bytes=MIB)
    consumer = pair.consumer
    consumer.done("pull", "lab/looked-at")
    info = consumer.done("info", "lab/looked-at")
    assert (info["here"], info["files"], info["bytes"]) == ("complete", 5, published["bytes"])
    assert (info["task"], info["license"]) == ("text-generation", "apache-2.0")
    rows = consumer.run("ls").objects
    assert [row["commit"] for row in rows if row["ref"].startswith("lab/looked-at@")] == [
        published["commit"]
    ]
    files = consumer.run("ls", "lab/looked-at").objects
    assert sum(file["size"] for file in files) == published["bytes"]
    assert all(file["here"] == "complete" for file in files)
    hits = consumer.run("search", "looked-at", "--task", "text-generation").objects
    assert [hit["ref"] for hit in hits] == ["lab/looked-at@main"]
    assert consumer.run("search", "looked-at", "--license", "mit").objects == []
    path = Path(info["path"])
    freed = consumer.done("rm", "lab/looked-at")["bytes_freed"]
    assert freed >= 2 * MIB
    assert not path.exists()
    consumer.refused(3, "rm", "lab/looked-at")
    assert consumer.done("info", "lab/looked-at")["here"] in ("none", "partial")
    again = consumer.done("pull", "lab/looked-at")
    assert again["bytes_fetched"] == freed
    assert contents(path) == contents(pair.folder / "looked-at")


def test_an_alias_is_pinned_once_and_a_second_id_names_both(pair):
    other = "b" * 51 + "a"
    error = pair.consumer.refused(4, "trust", "add", "lab", other)
    assert pair.id in error["message"]
    assert other in error["message"]
    pins = pair.consumer.run("trust", "ls").objects
    assert [pin["publisher_id"] for pin in pins if pin["alias"] == "lab"] == [pair.id]


@pytest.mark.slow
def test_a_flipped_byte_ends_with_exit_code_4_and_leaves_nothing(pair):
    pair.published("flipped", shard_bytes=2 * MIB)
    files = pair.publisher.run("ls", "flipped").objects
    content = next(file["content"] for file in files if file["path"] == "model.safetensors")
    blob = pair.publisher.store / "blobs" / content.partition("-")[2][:2] / content
    flip(blob, at=MIB, keep_times=True)
    error = pair.consumer.refused(4, "pull", "lab/flipped", "--to", pair.folder / "flipped-out")
    assert "model.safetensors" in error["message"]
    assert not (pair.folder / "flipped-out").exists()
    assert not (pair.consumer.store / "snapshots" / pair.id / "flipped").exists()
    assert pair.publisher.run("verify", "flipped").code == 4
    pair.publisher.done("publish", pair.folder / "flipped", "flipped")
    pair.consumer.done("pull", "lab/flipped")
    assert pair.consumer.done("verify", "lab/flipped")["verdict"] == "verified"


# ---------------------------------------------------------------- in this process


@asynccontextmanager
async def two(tmp_path):
    """A node that publishes and one that pulls."""
    publisher = new_publisher(tmp_path / "a")
    async with (
        node(tmp_path / "a") as serving,
        consumer(tmp_path / "b", serving, publisher) as pulling,
    ):
        yield serving, pulling


async def test_a_release_can_be_named_in_every_way(tmp_path, folder):
    async with two(tmp_path) as (serving, pulling):
        first = await publish(serving, folder)
        await serving.publish(PublishRequest(folder, "x", tag="v1"), quiet)
        (folder / "config.json").write_text("{}")
        second = await publish(serving, folder)
        commit = first.commit
        assert second.commit != commit
        for revision in ("v1", commit, commit[:8]):
            assert (await pull(pulling, f"lab/x@{revision}")).commit == commit
        lab = first.publisher_id
        for reference in ("lab/x", "p2p://lab/x", f"{lab}/x", f"p2p://{lab}/x@main"):
            assert (await pull(pulling, reference)).commit == second.commit
        info = await pulling.info("lab/x@v1")
        assert {ref.name: ref.commit for ref in info.refs} == {"main": second.commit, "v1": commit}
        assert set(info.commits) == {commit, second.commit}


async def test_globs_choose_files_and_pickles_come_only_when_asked_for(tmp_path, folder):
    (folder / "pytorch_model.bin").write_bytes(random_bytes("pickle", 3000))
    (folder / "sub").mkdir()
    (folder / "sub" / "a.json").write_text("[1]")
    async with two(tmp_path) as (serving, pulling):
        await publish(serving, folder)

        async def pulled(name, include=(), exclude=()):
            out = tmp_path / name
            await pulling.pull(PullRequest("lab/x", out, include, exclude), quiet)
            return set(contents(out))

        jsons = {"config.json", "sub/a.json", "model.safetensors.index.json"}
        assert await pulled("1", ("*.json",)) == jsons
        assert await pulled("2", ("*.json",), ("sub/",)) == jsons - {"sub/a.json"}
        assert await pulled("3", (), ("*.safetensors",)) == {*jsons, "README.md"}
        assert await pulled("4", ("*.bin",)) == {"pytorch_model.bin"}
        events = []
        await pulling.pull(PullRequest("lab/x"), events.append)
        assert any(
            "pytorch_model.bin" in each.message for each in events if each.event == "warning"
        )
        with pytest.raises(UsageError, match="no file"):
            await pulled("5", ("*.gguf",))


async def test_copies_are_writable_and_changing_them_changes_nothing_else(tmp_path, folder):
    async with two(tmp_path) as (serving, pulling):
        await publish(serving, folder)
        target = tmp_path / "somewhere" / "of mine"
        assert (await pull(pulling, to=target)).path == target
        assert contents(target) == contents(folder)
        assert all(is_writable(path) and not path.is_symlink() for path in target.iterdir())
        with (target / "model-00001-of-00002.safetensors").open("r+b") as file:
            file.write(b"overwritten")
        assert all(found.ok for found in await pulling.verify("lab/x", quiet))
        (target / ".p2phub-0123-0123456789abcdef").write_text("what a killed pull has left")
        await pull(pulling, to=target)
        assert contents(target) == contents(folder)


async def test_of_a_new_revision_only_what_changed_is_fetched(tmp_path, folder):
    tensors = {f"layer.{n}": ("U8", (MIB // 2,)) for n in range(8)}
    weights = folder / "model-00001-of-00002.safetensors"
    weights.write_bytes(make_safetensors(tensors, "revised"))
    async with two(tmp_path) as (serving, pulling):
        await publish(serving, folder)
        await pull(pulling)
        tensors["layer.new"] = ("U8", (MIB // 4,))
        weights.write_bytes(make_safetensors(tensors, "revised"))
        second = await publish(serving, folder)
        done = await pull(pulling)
        assert done.commit == second.commit
        assert done.bytes_fetched + done.bytes_linked == done.bytes_total
        assert MIB // 4 <= done.bytes_fetched < MIB // 4 + 100_000
        assert contents(done.path) == contents(folder)


async def test_publishing_the_same_folder_again_makes_no_new_release(tmp_path, folder):
    async with two(tmp_path) as (serving, _):
        assert (await publish(serving, folder)).commit == (await publish(serving, folder)).commit


async def test_empty_files_twins_and_odd_names_travel(tmp_path, folder):
    (folder / "empty.txt").touch()
    (folder / "ünï cödé ♥.txt").write_text("x")
    deep = folder.joinpath(*"abcdefgh")
    deep.mkdir(parents=True)
    (deep / "file").write_bytes(random_bytes("odd", MIB + 1))
    (folder / "same-1").write_bytes(b"twice")
    (folder / "same-2").write_bytes(b"twice")
    async with two(tmp_path) as (serving, pulling):
        await publish(serving, folder)
        assert contents((await pull(pulling)).path) == contents(folder)
        assert all(found.ok for found in await pulling.verify("lab/x", quiet))
        await pull(pulling, to=tmp_path / "copies")
        assert contents(tmp_path / "copies") == contents(folder)
