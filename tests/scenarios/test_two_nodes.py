"""Two daemons on loopback: one publishes, the other pulls, as two people would type it."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

import pytest

from p2phub.testing.files import make_safetensors, random_bytes, tiny_model_folder
from tests.scenarios.nodes import flip
from tests.scenarios.processes import Home, machines

MIB = 1 << 20


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


def contents(folder: Path) -> dict[str, bytes]:
    found = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


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


def test_a_release_can_be_named_in_every_way(pair):
    folder, published = pair.published("named", shard_bytes=100_000)
    pair.publisher.done("publish", folder, "named", "--tag", "v1")
    (folder / "config.json").write_text("{}")
    second = pair.publisher.done("publish", folder, "named")
    commit = published["commit"]
    assert second["commit"] != commit
    for revision in ("v1", commit, commit[:8]):
        assert pair.consumer.done("pull", f"lab/named@{revision}")["commit"] == commit
    for reference in ("p2p://lab/named", f"{pair.id}/named", f"p2p://{pair.id}/named@main"):
        assert pair.consumer.done("pull", reference)["commit"] == second["commit"]
    info = pair.consumer.done("info", "lab/named@v1")
    assert info["commit"] == commit
    assert {ref["name"]: ref["commit"] for ref in info["refs"]} == {
        "main": second["commit"],
        "v1": commit,
    }
    assert set(info["commits"]) == {commit, second["commit"]}


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


def test_globs_choose_files_and_pickles_come_only_when_asked_for(pair):
    folder, _ = pair.published("chosen", shard_bytes=50_000)
    (folder / "pytorch_model.bin").write_bytes(random_bytes("pickle", 3000))
    (folder / "sub").mkdir()
    (folder / "sub" / "a.json").write_text("[1]")
    pair.publisher.done("publish", folder, "chosen")

    def pulled(*words: str) -> set[str]:
        reply = pair.consumer.done("pull", "lab/chosen", *words, "--to", pair.folder / "globs")
        found = set(contents(pair.folder / "globs"))
        for path in sorted((pair.folder / "globs").rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        assert reply["bytes_total"] > 0
        return found

    assert pulled("--include", "*.json") == {"config.json", "sub/a.json"}
    assert pulled("--include", "*.json", "--exclude", "sub/") == {"config.json"}
    assert pulled("--exclude", "*.safetensors") == {"config.json", "README.md", "sub/a.json"}
    assert pulled("--include", "*.bin") == {"pytorch_model.bin"}
    whole = pair.consumer.run("pull", "lab/chosen")
    assert "pytorch_model.bin" in whole.events("warning")[0]["message"]
    error = pair.consumer.refused(2, "pull", "lab/chosen", "--include", "*.gguf")
    assert "ls" in error["remedy"]


def test_copies_are_writable_and_changing_them_changes_nothing_else(pair):
    folder, _ = pair.published("copied", shard_bytes=2 * MIB)
    target = pair.folder / "somewhere" / "of mine"
    done = pair.consumer.done("pull", "lab/copied", "--to", target)
    assert done["path"] == str(target)
    assert contents(target) == contents(folder)
    assert all(is_writable(path) and not path.is_symlink() for path in target.iterdir())
    with (target / "model.safetensors").open("r+b") as file:
        file.write(b"overwritten")
    assert pair.consumer.done("verify", "lab/copied")["verdict"] == "verified"
    pair.consumer.done("pull", "lab/copied", "--to", target)
    assert contents(target) == contents(folder)


def test_of_a_new_revision_only_what_changed_is_fetched(pair):
    tensors = {f"layer.{n}": ("U8", (MIB // 2,)) for n in range(8)}
    folder = tiny_model_folder(pair.folder / "revised", seed="revised", shard_bytes=1000)
    (folder / "model.safetensors").write_bytes(make_safetensors(tensors, "revised"))
    pair.publisher.done("publish", folder, "revised")
    pair.consumer.done("pull", "lab/revised")
    tensors["layer.new"] = ("U8", (MIB // 4,))
    (folder / "model.safetensors").write_bytes(make_safetensors(tensors, "revised"))
    second = pair.publisher.done("publish", folder, "revised")
    done = pair.consumer.done("pull", "lab/revised")
    assert done["commit"] == second["commit"]
    assert done["bytes_fetched"] + done["bytes_linked"] == done["bytes_total"]
    assert MIB // 4 <= done["bytes_fetched"] < MIB // 4 + 100_000
    assert contents(Path(done["path"])) == contents(folder)


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


def test_publishing_the_same_folder_again_makes_no_new_release(pair):
    folder, first = pair.published("unchanged", shard_bytes=50_000)
    again = pair.publisher.done("publish", folder, "unchanged")
    assert again["commit"] == first["commit"]


def test_an_empty_file_and_odd_names_travel(pair):
    folder = tiny_model_folder(pair.folder / "odd", seed="odd", shard_bytes=1000)
    (folder / "empty.txt").touch()
    (folder / "ünï cödé ♥.txt").write_text("x")
    deep = folder.joinpath(*"abcdefgh")
    deep.mkdir(parents=True)
    (deep / "file").write_bytes(random_bytes("odd", MIB + 1))
    (folder / "same-1").write_bytes(b"twice")
    (folder / "same-2").write_bytes(b"twice")
    pair.publisher.done("publish", folder, "odd")
    done = pair.consumer.done("pull", "lab/odd")
    assert contents(Path(done["path"])) == contents(folder)
    assert os.path.getsize(Path(done["path"]) / "empty.txt") == 0
    assert pair.consumer.done("verify", "lab/odd")["verdict"] == "verified"
    out = pair.folder / "odd-copies"
    pair.consumer.done("pull", "lab/odd", "--to", out)
    assert contents(out) == contents(folder)


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
