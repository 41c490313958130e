"""One wrong byte anywhere between a publisher and a reader: exit code 4, and nothing of it is seen.

First the disk of the node that serves, then our own.
"""

from contextlib import AsyncExitStack

import pytest
import trio

from p2phub.errors import WrongBytesError
from p2phub.node import bring, neighbours
from p2phub.node.values import PullRequest
from p2phub.store.layout import Layout
from p2phub.testing.files import random_bytes
from p2phub.testing.publishers import FakePublisher
from tests.scenarios.nodes import (
    MIB,
    consumer,
    contents,
    edit,
    flip,
    new_publisher,
    node,
    publish,
    pull,
    quiet,
    refused,
    snapshots,
)

pytestmark = pytest.mark.slow
SHARD = "model-00001-of-00002.safetensors"


async def finds_and_mends(pulling, folder):
    """`verify` names the shard that is damaged, and a pull makes it good."""
    (found,) = await pulling.verify("lab/x", quiet)
    assert found.verdict == "corrupt"
    assert any(SHARD in step.detail for step in found.steps if not step.ok)
    again = await pull(pulling)
    assert contents(again.path) == contents(folder)
    (found,) = await pulling.verify("lab/x", quiet)
    assert found.ok


def blob_of(home, path, rows):
    """Where the file `path` of a release lies in the store of `home`."""
    content = next(row.content for row in rows if row.path == path)
    return home / "store" / "blobs" / content.partition("-")[2][:2] / content


# ---------------------------------------------------------------- the disk of the node that serves


@pytest.mark.parametrize("path", ["config.json", SHARD])
async def test_a_flipped_byte_of_a_served_file(here, there, folder, path):
    """With its times set back or not; published again, it heals."""
    publisher = new_publisher(there)
    async with node(there) as serving, consumer(here, serving, publisher) as pulling:
        for keep_times in (False, True):
            await publish(serving, folder)  # from the folder that is right
            flip(blob_of(there, path, await serving.ls("x")), keep_times=keep_times)
            error = await refused(4, pulling)
            assert path in error.message
        await publish(serving, folder)
        assert contents((await pull(pulling)).path) == contents(folder)


async def test_a_flipped_byte_of_the_piece_table(here, there, folder):
    publisher = new_publisher(there)
    async with node(there) as serving:
        await publish(serving, folder)
        async with consumer(here, serving, publisher) as pulling:
            for at in (0, 50, -1):
                edit(there, "tables", "true", at)
                error = await refused(4, pulling)
                assert "of-00002.safetensors" in error.message
                assert "piece table" in error.message
                edit(there, "tables", "true", at)
            assert contents((await pull(pulling)).path) == contents(folder)


@pytest.mark.parametrize("kind", ["index", "page", "release"])
async def test_a_flipped_byte_of_a_document(here, there, folder, kind):
    called = {"index": "index", "page": "page of the index", "release": "manifest"}
    publisher = new_publisher(there)
    async with node(there) as serving:
        await publish(serving, folder)
        async with consumer(here, serving, publisher) as pulling:
            for at in (0, 40, 200, -1, -40, -100):
                edit(there, "documents", f"type = '{kind}'", at)
                error = await refused(4, pulling)
                assert called[kind] in error.message
                assert "lab" in error.message
                assert error.remedy
                edit(there, "documents", f"type = '{kind}'", at)
            assert contents((await pull(pulling)).path) == contents(folder)


async def test_a_flipped_byte_of_the_head(here, there, folder):
    """The serving node starts all the same; only it has a head, so only damage is delivered."""
    publisher = new_publisher(there)
    async with node(there) as serving:
        await publish(serving, folder)
    (there / "keys" / "release.key").unlink()  # it cannot sign a new head for its index
    for at in (0, 300, -1, -40, -100):
        edit(there, "documents", "type = 'head'", at)
        async with node(there) as serving, consumer(here, serving, publisher) as pulling:
            error = await refused(4, pulling)
            assert "the head of lab" in error.message
        edit(there, "documents", "type = 'head'", at)


async def test_no_head_at_all_is_no_damage(here, there, folder):
    new_publisher(there)
    async with node(there) as serving:
        await publish(serving, folder)
        async with consumer(here, serving, FakePublisher(7).publisher) as pulling:
            await refused(6, pulling)


async def test_one_honest_peer_is_enough(tmp_path, here, there, folder):
    """The publisher's disk is bad everywhere; a mirror has the same release."""
    publisher = new_publisher(there)
    async with node(there) as serving:
        await publish(serving, folder)
        async with consumer(tmp_path / "mirror", serving, publisher) as mirror:
            await pull(mirror)
            for kind in ("index", "page", "release"):
                edit(there, "documents", f"type = '{kind}'")
            edit(there, "tables", "true")
            flip(blob_of(there, SHARD, await mirror.ls("lab/x")))
            async with consumer(here, serving, publisher) as pulling:
                await pulling.connect(mirror.identity.addresses[0])
                done = await pull(pulling)
                assert contents(done.path) == contents(folder)


@pytest.mark.parametrize("keep_times", [False, True], ids=["and it owns up", "and it lies"])
async def test_who_has_a_bad_copy_of_one_file_still_brings_the_others(
    tmp_path, here, there, folder, keep_times, monkeypatch
):
    """One peer has the first shard as it should be, the other one everything else."""
    monkeypatch.setattr(bring, "FILES_AT_ONCE", 1)  # one shard after the other
    publisher = new_publisher(there)
    async with node(there) as serving:
        await publish(serving, folder)
        async with consumer(tmp_path / "mirror", serving, publisher) as mirror:
            await mirror.pull(PullRequest("lab/x", include=(SHARD,)), quiet)
            flip(blob_of(there, SHARD, await serving.ls("x")), keep_times=keep_times)
            async with consumer(here, serving, publisher) as pulling:
                await pulling.connect(mirror.identity.addresses[0])
                events = []
                done = await pulling.pull(PullRequest("lab/x"), events.append)
                assert contents(done.path) == contents(folder)
                told = [each.message for each in events if each.event == "warning"]
                assert all(serving.identity.peer_id in each and SHARD in each for each in told)
                assert len(told) <= 1


async def test_a_file_of_which_the_only_copy_was_found_damaged_is_with_nobody(here, there, folder):
    """Wrong bytes came, or would have: 4. From then on its owner has no copy that it may serve, so
    that none come, and that is told as such: 6."""
    publisher = new_publisher(there)
    async with node(there) as serving, consumer(here, serving, publisher) as pulling:
        await publish(serving, folder)
        flip(blob_of(there, SHARD, await serving.ls("x")))
        first = await refused(4, pulling)
        assert f"{SHARD}: a source says that its own copy is damaged" in first.message
        second = await refused(6, pulling)
        assert SHARD in second.message
        assert second.remedy


async def test_a_publisher_whose_own_head_rotted_signs_it_again(here, there, folder):
    publisher = new_publisher(there)
    async with node(there) as serving:
        await publish(serving, folder)
        (folder / "config.json").write_text("{}")
        second = await publish(serving, folder)
    edit(there, "documents", "type = 'head'")
    async with node(there) as serving, consumer(here, serving, publisher) as pulling:
        assert (await pull(pulling)).commit == second.commit
        (folder / "config.json").write_text("[]")
        third = await publish(serving, folder)
        assert (await pull(pulling)).commit == third.commit
        assert len((await pulling.info("lab/x")).commits) == 2


async def test_nothing_is_published_over_documents_that_rotted(there, folder):
    """Else the repos that the damaged page lists would vanish from the next index."""
    new_publisher(there)
    async with node(there) as serving:
        await publish(serving, folder)
        await publish(serving, folder, "y")
        (folder / "config.json").write_text("{}")
        for kind in ("index", "page", "release"):
            edit(there, "documents", f"type = '{kind}'")
            with pytest.raises(WrongBytesError, match="on this disk"):
                await publish(serving, folder)
            edit(there, "documents", f"type = '{kind}'")
        await publish(serving, folder)
        assert {hit.ref for hit in await serving.ls(None)} > {"lab/x@main", "lab/y@main"}


# ---------------------------------------------------------------- our own disk


async def test_a_document_that_rotted_here_is_fetched_again(here, there, folder):
    publisher = new_publisher(there)
    async with node(there) as serving:
        await publish(serving, folder)
        async with consumer(here, serving, publisher) as pulling:
            await pull(pulling)
            for kind in ("index", "page", "release"):
                edit(here, "documents", f"type = '{kind}'")
                await mended_by_a_pull(pulling)
        for kind in ("head", "index", "page", "release"):
            edit(here, "documents", f"type = '{kind}'")
            async with node(here) as alone:  # one that meets the publisher may hear it anew
                assert not await is_whole(alone)
            async with consumer(here, serving, publisher) as pulling:
                assert (await pull(pulling)).bytes_fetched == 0
                assert await is_whole(pulling)


async def mended_by_a_pull(pulling):
    """`verify` finds the damage, a pull fetches what is damaged, and then all is well."""
    assert not await is_whole(pulling)
    assert (await pull(pulling)).bytes_fetched == 0
    assert await is_whole(pulling)


async def is_whole(running):
    (found,) = await running.verify("lab/x", quiet)
    return found.ok


async def test_a_blob_that_somebody_wrote_into(here, there, folder, tmp_path):
    """As `save_pretrained` into a snapshot does: through the link, into the blob."""
    publisher = new_publisher(there)
    async with node(there) as serving:
        await publish(serving, folder)
        async with consumer(here, serving, publisher) as pulling:
            done = await pull(pulling)
            await pulling.verify("lab/x", quiet)  # so that nothing is left to hash after a start
    written = (done.path / SHARD).resolve()
    written.chmod(0o644)
    written.write_bytes(random_bytes("other weights", 2 * MIB))
    async with node(here) as damaged, consumer(tmp_path / "third", damaged, publisher) as third:
        error = await refused(4, third)
        assert SHARD in error.message
    async with node(there) as serving, consumer(here, serving, publisher) as pulling:
        again = await pull(pulling)
        assert 0 < again.bytes_fetched < 3 * MIB
        assert contents(again.path) == contents(folder)
        (found,) = await pulling.verify("lab/x", quiet)
        assert found.ok


async def test_a_pull_does_not_hand_out_a_blob_that_somebody_wrote_into(here, there, folder):
    publisher = new_publisher(there)
    async with node(there) as serving:
        await publish(serving, folder)
        async with consumer(here, serving, publisher) as pulling:
            done = await pull(pulling)
            for path in ("config.json", SHARD):
                flip((done.path / path).resolve(), keep_times=True)
            again = await pull(pulling)
            assert again.bytes_fetched > 2 * MIB
            assert contents(again.path) == contents(folder)


async def test_verify_finds_a_damaged_blob_and_a_pull_mends_it(here, there, folder):
    publisher = new_publisher(there)
    async with node(there) as serving:
        await publish(serving, folder)
        async with consumer(here, serving, publisher) as pulling:
            done = await pull(pulling)
            flip((done.path / SHARD).resolve(), keep_times=True)
            await finds_and_mends(pulling, folder)


async def test_a_piece_table_that_rotted_here(here, there, folder):
    publisher = new_publisher(there)
    async with node(there) as serving:
        await publish(serving, folder)
        async with consumer(here, serving, publisher) as pulling:
            await pull(pulling)
            edit(here, "tables", "true")
            await finds_and_mends(pulling, folder)


async def test_a_snapshot_that_somebody_changed(here, there, folder):
    publisher = new_publisher(there)
    async with node(there) as serving:
        await publish(serving, folder)
        async with consumer(here, serving, publisher) as pulling:
            path = (await pull(pulling)).path
            path.chmod(0o755)
            (path / "config.json").unlink()
            (path / "config.json").write_text("{}")
            (found,) = await pulling.verify("lab/x", quiet)
            assert any("config.json" in step.detail for step in found.steps if not step.ok)
            assert contents((await pull(pulling)).path) == contents(folder)
            assert Layout.of(here).snapshots in path.parents
            assert snapshots(here)
            await trio.lowlevel.checkpoint()


async def test_a_crowd_of_damaged_copies_does_not_hide_the_good_one(
    tmp_path, here, there, folder, monkeypatch
):
    """As many as a pull asks at once have a damaged copy; one more has a good one."""
    monkeypatch.setattr(neighbours, "ENOUGH", 2)
    publisher = new_publisher(there)
    async with AsyncExitStack() as stack:
        serving = await stack.enter_async_context(node(there))
        await publish(serving, folder)
        crowd = []
        for number in range(2):
            one = await stack.enter_async_context(
                consumer(tmp_path / str(number), serving, publisher)
            )
            await pull(one)
            await one.verify("lab/x", quiet)
            flip(blob_of(tmp_path / str(number), SHARD, await one.ls("lab/x")))
            crowd.append(one)
        pulling = await stack.enter_async_context(consumer(here, crowd[0], publisher))
        await pulling.connect(crowd[1].identity.addresses[0])
        await pulling.connect(serving.identity.addresses[0])
        done = await pull(pulling)
        assert contents(done.path) == contents(folder)
