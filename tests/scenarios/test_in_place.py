"""Publishing in place, from the folder to whoever pulls: one copy on the publisher's disk, which is
its owner's; others get the bytes that were signed or none.
"""

import hashlib
import json

import pytest

from p2phub.errors import P2PHubError, UsageError, WrongBytesError
from p2phub.node.values import PublishRequest
from tests.scenarios.nodes import consumer, contents, model, new_publisher, node, pull, quiet

SHARD = "model-00001-of-00002.safetensors"


async def publish(running, folder, **how):
    return await running.publish(PublishRequest(folder, "x", **how), quiet)


async def test_what_is_published_in_place_is_pulled_from_where_it_lies(tmp_path):
    folder, there = model(tmp_path / "model"), tmp_path / "publisher"
    publisher = new_publisher(there)
    async with node(there) as serving:
        published = await publish(serving, folder, in_place=True)
        assert published.bytes_hashed == published.bytes
        stored = sum(
            path.lstat().st_blocks * 512 for path in (there / "store" / "blobs").rglob("*")
        )
        assert stored < published.bytes // 10
        again = await publish(serving, folder, in_place=True)
        assert again.commit == published.commit
        assert again.bytes_hashed < published.bytes // 2
        assert (await publish(serving, folder, in_place=True, rehash=True)).bytes_hashed == (
            published.bytes
        )
        async with consumer(tmp_path / "consumer", serving, publisher) as pulling:
            assert contents((await pull(pulling)).path) == contents(folder)


@pytest.mark.parametrize("change", ["edited", pytest.param("gone", marks=pytest.mark.slow)])
async def test_a_changed_file_is_given_to_nobody_and_heals_by_publishing_again(tmp_path, change):
    folder, there = model(tmp_path / "model"), tmp_path / "publisher"
    publisher = new_publisher(there)
    async with node(there) as serving:
        await publish(serving, folder, in_place=True)
        right = (folder / SHARD).read_bytes()
        if change == "edited":
            (folder / SHARD).write_bytes(right[:-1] + b"!")
        else:
            (folder / SHARD).unlink()
        changed = contents(folder)
        async with consumer(tmp_path / "consumer", serving, publisher) as pulling:
            with pytest.raises(P2PHubError) as caught:
                await pull(pulling)
            assert caught.value.exit in (4, 6)
            assert contents(folder) == changed
            (folder / SHARD).write_bytes(right)
            await publish(serving, folder, in_place=True)
            assert contents((await pull(pulling)).path) == contents(folder)


async def test_rm_leaves_the_folder_alone_and_frees_nothing(tmp_path):
    folder, there = model(tmp_path / "model"), tmp_path / "publisher"
    new_publisher(there)
    before = contents(folder)
    async with node(there) as serving:
        await publish(serving, folder, in_place=True)
        assert (await serving.remove("x")).bytes_freed == 0
        assert contents(folder) == before
        assert not [path for path in (there / "store" / "blobs").rglob("*") if path.is_symlink()]


async def test_a_model_of_ollamas_is_published_by_its_manifest_and_checked(tmp_path):
    models, there = tmp_path / "models", tmp_path / "publisher"
    new_publisher(there)
    (models / "blobs").mkdir(parents=True)
    manifest = models / "manifests" / "registry.ollama.ai" / "library" / "tiny" / "1b"
    manifest.parent.mkdir(parents=True)
    blob = models / "blobs" / f"sha256-{hashlib.sha256(b'weights').hexdigest()}"
    blob.write_bytes(b"weights")
    told = {
        "mediaType": "application/vnd.ollama.image.model",
        "digest": blob.name.replace("-", ":"),
        "size": 7,
    }
    manifest.write_text(json.dumps({"schemaVersion": 2, "layers": [told]}))
    async with node(there) as serving:
        await publish(serving, manifest, in_place=True)
        assert [row.path for row in await serving.ls("x")] == ["tiny-1b.gguf"]
        blob.write_bytes(b"WEIGHTS")
        with pytest.raises(WrongBytesError, match="is damaged"):
            await publish(serving, manifest, in_place=True)
        assert blob.read_bytes() == b"WEIGHTS"


async def test_a_link_to_the_keys_is_refused(tmp_path):
    folder, there = model(tmp_path / "model"), tmp_path / "publisher"
    new_publisher(there)
    (folder / "notes.txt").symlink_to(there / "keys" / "release.key")
    async with node(there) as serving:
        with pytest.raises(UsageError, match="leads out"):
            await publish(serving, folder, in_place=True)
