"""People in a hurry: several things at once, the wrong folder, a file deleted by hand."""

import contextlib
import shutil
from pathlib import Path

import pytest
import trio

from p2phub.errors import NotFoundError, RemoteError, UntrustedError, UsageError
from p2phub.node.values import PublishRequest, PullRequest
from p2phub.testing.files import random_bytes
from tests.network.loopback import until
from tests.scenarios.nodes import (
    MIB,
    consumer,
    contents,
    machine,
    model,
    new_publisher,
    node,
    publish,
    pull,
    quiet,
)


async def at_once(*jobs):
    """What they return, in the order in which they were given."""
    results = [None] * len(jobs)

    async def run(number, job):
        results[number] = await job

    async with trio.open_nursery() as nursery:
        for number, job in enumerate(jobs):
            nursery.start_soon(run, number, job)
    return results


async def test_publishes_at_once_leave_no_repo_out(tmp_path, there):
    new_publisher(there)
    folders = [model(tmp_path / str(n), seed=str(n)) for n in range(5)]
    async with node(there) as running:
        done = await at_once(
            *(publish(running, folder, f"repo-{n}") for n, folder in enumerate(folders))
        )
        for n, published in enumerate(done):
            assert (await running.info(f"repo-{n}")).commit == published.commit


async def test_publishes_of_one_repo_at_once_follow_one_another(tmp_path, there):
    new_publisher(there)
    folders = [model(tmp_path / str(n), seed=str(n)) for n in range(4)]
    async with node(there) as running:
        done = await at_once(*(publish(running, folder, "x") for folder in folders))
        info = await running.info("x")
        assert set(info.commits) == {published.commit for published in done}
        assert info.commit in info.commits
        for published in done:
            assert (await pull(running, f"x@{published.commit[:10]}")).commit == published.commit


async def test_pulls_of_one_release_at_once_fetch_it_once(tmp_path, here, there):
    folder, publisher = model(tmp_path / "model"), new_publisher(there)
    async with node(there) as serving:
        await publish(serving, folder)
        async with consumer(here, serving, publisher) as pulling:
            outs = [tmp_path / "out", tmp_path / "out", None, tmp_path / "other", None]
            done = await at_once(*(pull(pulling, to=out) for out in outs))
            assert sum(each.bytes_fetched for each in done) == done[0].bytes_total
            for each in done:
                assert each.bytes_fetched + each.bytes_linked == each.bytes_total
                assert contents(each.path) == contents(folder)


async def test_a_cancelled_pull_lets_another_one_go_on(tmp_path, here, there):
    folder, publisher = model(tmp_path / "model"), new_publisher(there)
    (folder / "large.safetensors").write_bytes(random_bytes("large", 32 * MIB))
    async with node(there) as serving:
        await publish(serving, folder)
        async with consumer(here, serving, publisher) as pulling:
            with trio.CancelScope() as first:

                def cancel(event):
                    if event.event == "file":
                        first.cancel()

                async with trio.open_nursery() as nursery:
                    nursery.start_soon(pulling.pull, PullRequest("lab/x"), cancel)
                    await trio.testing.wait_all_tasks_blocked(0.01)
            done = await pull(pulling)
            assert contents(done.path) == contents(folder)


async def may_fail(job):
    """Run a job that may come too late for what it wants."""
    with contextlib.suppress(NotFoundError, RemoteError):
        await job


async def test_publishing_and_removing_while_others_pull(tmp_path, here, there):
    folder, publisher = model(tmp_path / "model"), new_publisher(there)
    async with node(there) as serving:
        await publish(serving, folder)
        async with consumer(here, serving, publisher) as pulling:
            for turn in range(4):
                (folder / "config.json").write_text(f"[{turn}]")

                await at_once(
                    publish(serving, folder),
                    may_fail(pull(pulling)),
                    may_fail(pulling.remove("lab/x")),
                )
            done = await pull(pulling)
            assert contents(done.path) == contents(folder)
            assert all(found.ok for found in await pulling.verify(None, quiet))


async def test_a_file_that_two_releases_share_stays_when_one_is_removed(tmp_path, here, there):
    folder, publisher = model(tmp_path / "model"), new_publisher(there)
    async with node(there) as serving:
        await publish(serving, folder)
        await publish(serving, folder, "y")
        async with consumer(here, serving, publisher) as pulling:
            await pull(pulling)
            await pull(pulling, "lab/y")
            assert (await pulling.remove("lab/x")).bytes_freed == 0
            (found,) = await pulling.verify("lab/y", quiet)
            assert found.ok
            assert (await pulling.remove("lab/y")).bytes_freed > 4 * MIB
            assert (await pulling.status()).bytes == 0


async def test_what_was_deleted_by_hand_comes_back(tmp_path, here, there):
    folder, publisher = model(tmp_path / "model"), new_publisher(there)
    async with node(there) as serving:
        await publish(serving, folder)
        async with consumer(here, serving, publisher) as pulling:
            path = (await pull(pulling)).path
            for lost in ((path / "config.json").resolve(), path, here / "store" / "blobs"):
                lost.unlink() if lost.is_file() else shutil.rmtree(lost)
                assert contents((await pull(pulling)).path) == contents(folder)
                assert all(found.ok for found in await pulling.verify(None, quiet))


async def test_a_pulled_model_can_be_published_from_its_snapshot(tmp_path, here, there):
    folder, publisher = model(tmp_path / "model"), new_publisher(there)
    new_publisher(here)
    async with node(there) as serving:
        await publish(serving, folder)
        async with node(here, serving) as pulling:
            done = await pull(pulling, f"{publisher}/x")
            mine = await publish(pulling, done.path, "mine")
            assert contents((await pull(serving, f"{mine.publisher_id}/mine")).path) == contents(
                folder
            )


async def test_our_own_keys_are_never_published(tmp_path, there):
    new_publisher(there)
    (tmp_path / "README.md").write_text("x")
    async with node(there) as running:
        for folder in (there, tmp_path, there / "keys", there / "run"):
            folder.mkdir(exist_ok=True)
            with pytest.raises(UsageError, match="keys"):
                await publish(running, folder)
        with pytest.raises(NotFoundError):
            await running.info("x")


async def test_copies_go_only_where_they_can(tmp_path, here, there):
    folder, publisher = model(tmp_path / "model"), new_publisher(there)
    file, store = tmp_path / "file", here / "store"
    file.write_text("mine")
    async with node(there) as serving:
        await publish(serving, folder)
        async with consumer(here, serving, publisher) as pulling:
            for to in (store, store / "snapshots" / "x", file, file / "sub"):
                with pytest.raises(UsageError):
                    await pull(pulling, to=to)
            assert (await pulling.status()).bytes == 0
            assert file.read_text() == "mine"


async def test_a_message_that_is_too_long_is_told_before_the_work(tmp_path, there):
    new_publisher(there)
    async with node(there) as running:
        with pytest.raises(UsageError, match="message"):
            await running.publish(PublishRequest(Path("/nowhere"), "x", "x" * 100_000), quiet)


@pytest.mark.slow
async def test_a_publisher_that_restarts_elsewhere_is_found_again_at_once(tmp_path, here, there):
    """It comes back on other ports, and nobody waits until an old failure is forgotten."""
    folder, publisher = model(tmp_path / "model"), new_publisher(there)
    async with machine(there) as serving:
        running = await serving.on()
        await publish(running, folder)
        async with consumer(here, running, publisher) as pulling:
            await pull(pulling)
            for turn in range(2):
                await serving.off()
                await pulling.remove("lab/x")
                with pytest.raises(RemoteError):
                    await pull(pulling)
                running = await serving.on()
                (folder / "config.json").write_text(f"[{turn}]")
                published = await publish(running, folder)
                await until(lambda: pulling._network.peers(), 10)
                done = await pull(pulling)
                assert done.commit == published.commit
                assert [peer.direct for peer in await pulling.peers()] == [True]


@pytest.mark.slow
async def test_a_publisher_restored_from_a_backup_goes_on_and_does_not_fork(tmp_path, here, there):
    """What it signed after the backup is out there; it learns that before it signs again."""
    folder, publisher = model(tmp_path / "model"), new_publisher(there)
    async with node(there) as running:
        await publish(running, folder)
    shutil.copytree(there, tmp_path / "backup", symlinks=True)
    async with node(there) as running, consumer(here, running, publisher) as pulling:
        for name in ("x", "y", "z"):
            (folder / "config.json").write_text(f'["{name}"]')
            await publish(running, folder, name)
            await pull(pulling, f"lab/{name}")
    async with (
        consumer(here, None, publisher) as pulling,
        node(tmp_path / "backup", pulling) as restored,
    ):
        (folder / "config.json").write_text('["restored"]')
        published = await publish(restored, folder)
        done = await pull(pulling)
        assert (done.commit, done.verdict) == (published.commit, "verified")
        assert contents(done.path) == contents(folder)
        assert (await pull(pulling, "lab/y")).verdict == "verified"
        assert len((await restored.info("x")).commits) >= 2


async def test_a_key_that_may_not_sign_changes_nothing(tmp_path, there):
    folder = model(tmp_path / "model")
    new_publisher(there)
    async with node(there) as running:
        first = await publish(running, folder)
        (folder / "config.json").write_text("[]")
        with pytest.raises(UntrustedError, match="no release key"):
            await running.publish(PublishRequest(folder, "x", sign_with="node"), quiet)
        info = await running.info("x")
        assert (info.commit, info.commits) == (first.commit, (first.commit,))
        assert (await publish(running, folder)).commit != first.commit


async def test_a_source_that_stops_in_the_middle_is_told_and_what_came_stays(tmp_path, here, there):
    folder, publisher = model(tmp_path / "model"), new_publisher(there)
    (folder / "large.safetensors").write_bytes(random_bytes("large", 48 * MIB))
    async with machine(there) as serving:
        running = await serving.on()
        await publish(running, folder)
        async with consumer(here, running, publisher) as pulling:
            progressed = trio.Event()

            def watch(event):
                if event.event == "file":
                    progressed.set()

            async with trio.open_nursery() as nursery:

                @nursery.start_soon
                async def stop():
                    await progressed.wait()
                    await serving.off()

                with contextlib.suppress(RemoteError):
                    await pulling.pull(PullRequest("lab/x"), watch)
                progressed.set()
            running = await serving.on()
            await pulling.connect(running.identity.addresses[0])
            done = await pull(pulling)
            assert contents(done.path) == contents(folder)
            assert done.bytes_linked > 0
