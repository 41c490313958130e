"""A cache that the real client has filled, right and wrong, and a node that adopts it."""

import hashlib
import os
from pathlib import Path

import pytest

from p2phub.errors import NotFoundError, UsageError
from p2phub.node.values import AdoptRequest, PullRequest, Warned
from p2phub.testing.files import random_bytes
from tests.scenarios.huggingface import ask, hf, hub
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
from tests.scenarios.processes import machines
from tests.scenarios.test_huggingface_cache import release_of

pytestmark = pytest.mark.slow
pytest.importorskip("huggingface_hub", minversion="2")

SIZE = 17 * MIB


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "hub"


@pytest.fixture
def folder(folder):
    """Also with a file that is too large for a git digest."""
    (folder / "weights.dat").write_bytes(random_bytes("x", SIZE))
    return folder


def blobs(cache) -> dict[str, Path]:
    return {path.name: path for path in cache.glob("*/blobs/*")}


def download(release, folder, cache, repo="lab/x"):
    """What `snapshot_download` makes of a release, from another hub."""
    with hub(release, folder, repo) as endpoint:
        code = "from huggingface_hub import snapshot_download as get\n"
        ask(f"{code}said = get('{repo}')", cache, endpoint)


def stored(home: Path) -> int:
    """Bytes that the blobs of a node take."""
    return sum(path.lstat().st_size for path in (home / "store" / "blobs").rglob("*/*-*"))


async def test_what_was_adopted_is_not_fetched_and_not_copied(tmp_path, folder, cache, here, there):
    publisher = new_publisher(there)
    async with node(there) as serving:
        published = await publish(serving, folder)
        release = release_of(serving, published)
        download(release, folder, cache)
        async with consumer(here, serving, publisher) as running:
            told = await running.adopt(AdoptRequest(cache), quiet)
            assert (told.files, told.adopted, told.known) == (len(release.files),) * 2 + (0,)
            assert (told.bytes, told.left_alone) == (release.total_size, ())
            before = contents(cache)
            pulled = await pull(running)
            assert (pulled.bytes_fetched, pulled.bytes_linked) == (0, release.total_size)
            assert contents(pulled.path) == contents(folder)
            assert stored(here) < MIB
            again = await running.adopt(AdoptRequest(cache), quiet)
            assert (again.adopted, again.known) == (0, len(release.files))
            # Into the very cache that its files lie in: none becomes a link to itself.
            hf_pulled = await running.pull(PullRequest("lab/x", cache, layout="hf"), quiet)
            assert contents(hf_pulled.path) == contents(folder)
            assert not any(blob.is_symlink() for blob in blobs(cache).values())
            assert contents(cache) == before


async def test_peers_get_what_was_adopted_by_its_sha256(tmp_path, folder, cache, there):
    publisher = new_publisher(there)
    async with node(there, SWARM_UP=str(MIB)) as slow:
        published = await publish(slow, folder)
        release = release_of(slow, published)
        download(release, folder, cache)
        async with node(tmp_path / "other", slow) as quick:
            await quick.adopt(AdoptRequest(cache), quiet)
            async with consumer(tmp_path / "consumer", slow, publisher) as pulling:
                done = await pull(pulling)
                shares = {share.name: share.bytes for share in done.shares}
                assert shares[quick.identity.peer_id] > SIZE // 2
                assert contents(done.path) == contents(folder)


async def test_corrupt_files_are_named_and_left_alone(tmp_path, folder, cache, here, there):
    publisher = new_publisher(there)
    async with node(there) as serving:
        release = release_of(serving, await publish(serving, folder))
        download(release, folder, cache)
        sha256 = hashlib.sha256((folder / "weights.dat").read_bytes()).hexdigest()
        rotten, short = blobs(cache)[sha256], cache / "models--lab--x" / "blobs" / ("0" * 40)
        flip(rotten)
        short.write_bytes(b"half")
        (cache / "models--lab--x" / "blobs" / ("1" * 40)).symlink_to("/etc/passwd")
        (cache / "models--lab--x" / "blobs" / f"{'2' * 40}.12345678.incomplete").touch()
        before, warned = contents(cache), []
        async with consumer(here, serving, publisher) as running:
            told = await running.adopt(AdoptRequest(cache), warned.append)
            left = {each.path.name: each.reason for each in told.left_alone}
            assert sorted(left) == sorted(["0" * 40, "1" * 40, sha256])
            assert "is not what its name says" in left[sha256]
            assert "/etc/passwd" in left["1" * 40]
            said = [each.message for each in warned if isinstance(each, Warned)]
            assert sum(str(rotten) in each for each in said) == 1
            assert told.adopted == len(release.files) - 1
            assert contents(cache) == before
            pulled = await pull(running)
            assert pulled.bytes_fetched >= SIZE
            assert contents(pulled.path) == contents(folder)


async def test_a_look_uses_nothing_and_repos_can_be_left_out(tmp_path, folder, cache, here, there):
    new_publisher(there)
    async with node(there) as serving:
        release = release_of(serving, await publish(serving, folder))
    download(release, folder, cache)
    download(release, folder, cache, "private/y")
    async with node(here) as running:
        looked = await running.adopt(AdoptRequest(cache, dry_run=True), quiet)
        assert (looked.adopted, looked.repos) == (len(release.files), 2)
        assert looked.dry_run
        assert running._services.store.blobs.every() == []
        none = await running.adopt(AdoptRequest(cache, exclude=("*/*",)), quiet)
        assert (none.files, none.adopted, none.repos) == (0, 0, 0)
        one = await running.adopt(AdoptRequest(cache, exclude=("private/*",)), quiet)
        assert (one.repos, one.adopted) == (1, len(release.files))
        places = {running._services.store.blobs.place(file.content) for file in release.files}
        assert {each.parent.parent.name for each in places} == {"models--lab--x"}


async def test_what_is_forgotten_is_given_to_nobody_but_what_a_release_needs_stays(
    tmp_path, folder, cache, here, there
):
    publisher = new_publisher(there)
    async with node(there) as serving:
        release = release_of(serving, await publish(serving, folder))
        download(release, folder, cache)
        async with consumer(here, serving, publisher) as running:
            store = running._services.store
            await running.adopt(AdoptRequest(cache), quiet)
            told = await running.adopt(AdoptRequest(cache, forget=True), quiet)
            assert told.forgotten == len(release.files)
            assert store.blobs.every() == []
            await running.adopt(AdoptRequest(cache), quiet)
            pulled = await pull(running)
            kept = await running.adopt(AdoptRequest(cache, forget=True), quiet)
            assert kept.forgotten == 0
            assert contents(pulled.path) == contents(folder)
            with pytest.raises(UsageError):
                await running.adopt(AdoptRequest(cache, forget=True, dry_run=True), quiet)


async def test_files_that_go_or_change_later_are_used_no_more(tmp_path, folder, cache, here, there):
    publisher = new_publisher(there)
    async with node(there) as serving:
        release = release_of(serving, await publish(serving, folder))
        download(release, folder, cache)
        async with consumer(here, serving, publisher) as running:
            await running.adopt(AdoptRequest(cache), quiet)
            await pull(running)
            hf(cache, "cache", "rm", "model/lab/x", "--yes")
            assert not blobs(cache)
            again = await pull(running)
            assert again.bytes_fetched == release.total_size
            assert contents(again.path) == contents(folder)


async def test_a_folder_that_is_no_cache_is_told_apart(tmp_path, here):
    (tmp_path / "hf-home" / "hub" / "models--lab--x" / "blobs").mkdir(parents=True)
    async with node(here) as running:
        with pytest.raises(UsageError) as caught:
            await running.adopt(AdoptRequest(tmp_path / "hf-home"), quiet)
        assert str(tmp_path / "hf-home" / "hub") in caught.value.remedy
        with pytest.raises(UsageError) as caught:
            await running.adopt(AdoptRequest(tmp_path / "hf-home/hub/models--lab--x"), quiet)
        assert str(tmp_path / "hf-home" / "hub") in caught.value.remedy
        with pytest.raises(NotFoundError):
            await running.adopt(AdoptRequest(tmp_path / "nowhere"), quiet)
        told = await running.adopt(AdoptRequest(tmp_path / "hf-home" / "hub"), quiet)
        assert (told.repos, told.files) == (1, 0)


def test_the_command_says_what_it_did(tmp_path, folder, cache):
    with machines(tmp_path) as made:
        home = made.home("other")
        repo = cache / "models--lab--x" / "blobs"
        repo.mkdir(parents=True)
        data = (folder / "weights.dat").read_bytes()
        (repo / hashlib.sha256(data).hexdigest()).write_bytes(data)
        (repo / ("a" * 64)).write_bytes(os.urandom(2 * MIB))
        home.settings["HF_HUB_CACHE"] = str(cache)
        looked = home.done("adopt", "--dry-run")
        assert (looked["adopted"], looked["dry_run"]) == (1, True)
        told = home.run("adopt")
        assert (told.code, told.last["adopted"], told.last["known"]) == (0, 1, 0)
        assert told.last["left_alone"][0]["path"] == str(repo / ("a" * 64))
        assert "a" * 64 in told.err
        home.done("adopt", "--forget")
        home.done("adopt")
        (repo / ("b" * 40)).symlink_to(os.fsdecode(b"/tmp/odd-\xff"))
        odd = home.done("adopt")["left_alone"][0]
        assert odd["path"] == str(repo / ("b" * 40))
        assert odd["reason"].endswith("odd-\\udcff")
        assert home.done("adopt", "--forget")["forgotten"] == 1
        assert home.refused(2, "adopt", "--forget", "--dry-run")
        assert home.refused(3, "adopt", tmp_path / "nowhere")["code"]
