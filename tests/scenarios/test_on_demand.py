"""Files that are read while they are fetched, between two real nodes."""

import hashlib

import pytest
import trio

from p2phub.errors import (
    NoFileError,
    NoRevisionError,
    NoSourceError,
    NotFoundError,
    RevokedError,
    UntrustedError,
)
from p2phub.node import hub, on_demand
from p2phub.node.events import ReleaseWithdrawn
from p2phub.testing.files import random_bytes
from p2phub.trust.verdict import Verdict
from tests.network.loopback import until
from tests.scenarios.nodes import MIB, consumer, flip, new_publisher, node, publish, pull, settings
from tests.scenarios.test_damage import blob_of

pytestmark = pytest.mark.slow
BIG = "model.safetensors.data"
SIZE = 24 * MIB


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "in"
    path.mkdir()
    (path / BIG).write_bytes(random_bytes("big", SIZE))
    (path / "config.json").write_text("{}")
    (path / "README.md").write_text("---\nlicense: mit\n---\n# A repo")
    return path


@pytest.fixture
def here(tmp_path):
    return tmp_path / "here"


@pytest.fixture
def there(tmp_path):
    return tmp_path / "there"


async def entry(running, name=BIG, reference="lab/x"):
    resolved = await running.hub.find(reference, None, "model")
    (file,) = [each for each in resolved.release.files if "/".join(each.path) == name]
    return resolved, file


async def read(running, start=0, stop=SIZE, name=BIG):
    resolved, file = await entry(running, name)
    async with running.hub.reading(resolved, file, start, stop) as reading:
        return b"".join([data async for data in reading])


def fetched(running):
    """Bytes that came from peers."""
    return running._services.traffic.down.total


async def test_a_file_is_read_while_it_comes_and_is_here_then(here, there, folder):
    publisher = new_publisher(there)
    data = (folder / BIG).read_bytes()
    async with node(there, SWARM_UP=str(4 * MIB)) as serving:
        await publish(serving, folder)
        async with consumer(here, serving, publisher) as reader:
            resolved, file = await entry(reader)
            got = hashlib.sha256()
            first = None
            async with reader.hub.reading(resolved, file, 0, SIZE) as reading:
                assert reading.blob < 0
                async for chunk in reading:
                    got.update(chunk)
                    first = fetched(reader) if first is None else first
            assert first < SIZE / 2
            assert got.digest() == hashlib.sha256(data).digest()
            assert fetched(reader) == SIZE
            async with reader.hub.reading(resolved, file, 5, 9) as reading:
                assert reading.blob >= 0
                assert b"".join([chunk async for chunk in reading]) == data[5:9]
            assert fetched(reader) == SIZE


async def test_fifty_readers_share_one_fetch(here, there, folder):
    publisher = new_publisher(there)
    digest = hashlib.sha256((folder / BIG).read_bytes()).digest()
    async with node(there) as serving:
        await publish(serving, folder)
        async with consumer(here, serving, publisher) as reader:
            right = []

            async def one():
                right.append(hashlib.sha256(await read(reader)).digest() == digest)

            async with trio.open_nursery() as nursery:
                for _ in range(50):
                    nursery.start_soon(one)
            assert right == [True] * 50
            assert fetched(reader) == SIZE


async def test_a_range_costs_its_pieces(here, there, folder):
    publisher = new_publisher(there)
    data = (folder / BIG).read_bytes()
    async with node(there) as serving:
        await publish(serving, folder)
        async with consumer(here, serving, publisher) as reader:
            start = 11 * MIB + 7
            assert await read(reader, start, start + 100) == data[start : start + 100]
            assert 0 < fetched(reader) < 4 * MIB
            assert await read(reader, start, start + 100) == data[start : start + 100]
            assert await read(reader, SIZE - 9, SIZE) == data[-9:]
            assert fetched(reader) < 8 * MIB
            assert await read(reader) == data
            assert fetched(reader) == SIZE


async def test_a_range_does_not_wait_for_a_slow_fetch_of_the_rest(here, there, folder, monkeypatch):
    monkeypatch.setattr(on_demand, "HURRY", 0.2)
    publisher = new_publisher(there)
    data = (folder / BIG).read_bytes()
    async with node(there) as serving:
        await publish(serving, folder)
        async with (
            consumer(here, serving, publisher, SWARM_DOWN=str(MIB)) as reader,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(read, reader)
            await until(lambda: fetched(reader) > 9 * MIB)
            with trio.fail_after(12):  # the rest takes fifteen seconds
                assert await read(reader, SIZE - 100, SIZE) == data[-100:]
            nursery.cancel_scope.cancel()


async def test_who_lost_the_connection_finds_what_came_meanwhile(here, there, folder):
    publisher = new_publisher(there)
    async with node(there, SWARM_UP=str(12 * MIB)) as serving:
        await publish(serving, folder)
        async with consumer(here, serving, publisher) as reader:
            resolved, file = await entry(reader)
            async with reader.hub.reading(resolved, file, 0, SIZE) as reading:
                await anext(aiter(reading))
            await until(lambda: fetched(reader) == SIZE)  # it goes on
            assert hashlib.sha256(await read(reader)).digest() == file.sha256
            assert fetched(reader) == SIZE


async def test_what_nobody_wants_any_more_is_not_fetched(here, there, folder, monkeypatch):
    monkeypatch.setattr(on_demand, "GRACE", 0.2)
    publisher = new_publisher(there)
    async with node(there, SWARM_UP=str(4 * MIB)) as serving:
        await publish(serving, folder)
        async with consumer(here, serving, publisher) as reader:
            resolved, file = await entry(reader)
            async with reader.hub.reading(resolved, file, 0, SIZE) as reading:
                await anext(aiter(reading))
            await until(lambda: reader._services.traffic.pulls == 0)
            assert fetched(reader) < SIZE
            assert hashlib.sha256(await read(reader)).digest() == file.sha256
            assert fetched(reader) == SIZE  # what came first was kept


async def test_a_byte_that_is_wrong_is_never_handed_out(here, there, folder):
    publisher = new_publisher(there)
    data = (folder / BIG).read_bytes()
    async with node(there) as serving:
        await publish(serving, folder)
        blob = blob_of(there, BIG, await serving.ls("lab/x"))
        async with consumer(here, serving, publisher) as reader:
            resolved, file = await entry(reader)
            flip(blob, 20 * MIB, keep_times=True)
            got = bytearray()
            with pytest.raises((UntrustedError, NoSourceError)):
                await take(reader, resolved, file, got)
            assert data.startswith(bytes(got))
            assert len(got) <= 20 * MIB


async def take(reader, resolved, file, got):
    async with reader.hub.reading(resolved, file, 0, file.size) as reading:
        async for chunk in reading:
            got += chunk


async def test_a_source_that_dies_ends_the_reading_with_an_error(here, there, folder):
    publisher = new_publisher(there)
    got, failed = bytearray(), []

    async def doomed(reader):
        try:
            await take(reader, *await entry(reader), got)
        except NoSourceError as error:
            failed.append(error)

    async with consumer(here, None, publisher) as reader, trio.open_nursery() as nursery:
        async with node(there, reader, SWARM_UP=str(2 * MIB)) as serving:
            await publish(serving, folder)
            nursery.start_soon(doomed, reader)
            await until(lambda: len(got) > 0)
        with trio.fail_after(30):
            await until(lambda: failed)
        assert len(got) < SIZE


async def test_a_release_that_is_taken_back_is_not_read_to_its_end(here, there, folder):
    publisher = new_publisher(there)
    async with node(there, SWARM_UP=str(2 * MIB)) as serving:
        done = await publish(serving, folder)
        async with consumer(here, serving, publisher) as reader:
            resolved, file = await entry(reader)

            told = ReleaseWithdrawn(
                ref=done.ref,
                commit=done.commit,
                digest=done.digest,
                publisher_id=publisher,
                verdict=Verdict.REVOKED.value,
                reason="a test",
            )

            async def withdraw():
                await until(lambda: fetched(reader) > 0)
                reader._services.withdrawals._tell(resolved.digest, told)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(withdraw)
                with pytest.raises(RevokedError):
                    await take(reader, resolved, file, bytearray())


async def test_a_release_whose_last_file_was_read_is_told_to_others(here, there, folder, tmp_path):
    publisher = new_publisher(there)
    async with node(there) as serving:
        await publish(serving, folder)
        async with consumer(here, serving, publisher) as reader:
            for name in (BIG, "config.json", "README.md"):
                await read(reader, 0, (folder / name).stat().st_size, name)
            await until(lambda: reader._services.traffic.pulls == 0)
            rows = await reader.ls(None)
            assert [(row.ref, row.here) for row in rows] == [("lab/x@main", "complete")]
            async with consumer(tmp_path / "third", reader, publisher) as third:
                assert (await pull(third)).bytes_fetched > SIZE


class TestFinding:
    async def test_tells_a_repo_from_a_revision_and_from_a_kind(self, here, there, folder):
        publisher = new_publisher(there)
        async with node(there) as serving:
            await publish(serving, folder)
            async with consumer(here, serving, publisher) as reader:
                with pytest.raises(NoRevisionError):
                    await reader.hub.find("lab/x", "nope", "model")
                for repo in ("lab/nope", "nobody/x", "UPPER/x", "lab/../x", "x" * 300):
                    with pytest.raises(NotFoundError) as caught:
                        await reader.hub.find(repo, None, "model")
                    assert not isinstance(caught.value, NoRevisionError | NoFileError)
                with pytest.raises(NotFoundError, match="is a model"):
                    await reader.hub.find("lab/x", None, "dataset")

    async def test_of_a_publisher_that_published_nothing_yet_finds_nothing(self, there):
        new_publisher(there)
        async with node(there) as serving:
            for repo in ("x", "lab/x"):
                with pytest.raises(NotFoundError):
                    await serving.hub.find(repo, None, "model")

    async def test_asks_peers_once_in_a_while_and_sees_what_is_new_then(
        self, here, there, folder, monkeypatch
    ):
        publisher = new_publisher(there)
        async with node(there) as serving:
            first = await publish(serving, folder)
            async with consumer(here, serving, publisher) as reader:
                assert (await reader.hub.find("lab/x", None, "model")).commit == first.commit
                with monkeypatch.context() as patch:
                    patch.setattr(hub, "resolve", None)  # nobody is asked
                    await reader.hub.find("lab/x", "main", "model")
                (folder / "config.json").write_text("[]")
                second = await publish(serving, folder)
                monkeypatch.setattr(hub, "FRESH", -1.0)
                found = await reader.hub.find("lab/x", None, "model")
                assert found.commit == second.commit
                history = await reader.hub.history(found)
                assert [past.commit for past in history] == [second.commit, first.commit]

    async def test_reads_what_is_here_with_nobody_to_ask(self, here, there, folder):
        publisher = new_publisher(there)
        async with node(there) as serving:
            await publish(serving, folder)
            async with consumer(here, serving, publisher) as reader:
                await pull(reader)
        async with node(here) as alone:
            resolved = await alone.hub.find("lab/x", None, "model")
            assert (await alone.hub.readme(resolved, fetch=False)).endswith("# A repo")
            assert len(await read(alone)) == SIZE
            assert settings().network.bootstrap == ()
