"""Nodes in this process that share what they pull while they pull it, and across repos."""

import pytest
import trio

from p2phub.network.peer_source import PeerSource
from p2phub.node import bring
from p2phub.node.completing import Completing
from p2phub.node.doubts import Doubts
from p2phub.node.neighbours import Neighbours
from p2phub.node.values import PullRequest
from p2phub.testing.files import random_bytes
from tests.scenarios.nodes import (
    MIB,
    consumer,
    contents,
    new_publisher,
    node,
    publish,
    pull,
    quiet,
)

pytestmark = pytest.mark.slow
SIZE = 17 * MIB


def folder_with(path, seed="x", size=SIZE):
    path.mkdir()
    (path / "weights.dat").write_bytes(random_bytes(seed, size))
    return path


def shares(pulled):
    return {share.name: share.bytes for share in pulled.shares}


async def test_who_pulls_is_a_source_for_others_while_it_pulls(tmp_path):
    """Its pieces are found by peer exchange alone, and it tells the DHT that it has some."""
    publisher = new_publisher(tmp_path / "publisher")
    async with node(tmp_path / "publisher", SWARM_UP=str(3 * MIB)) as serving:
        published = await publish(serving, folder_with(tmp_path / "model"))
        async with (
            consumer(tmp_path / "first", serving, publisher) as first,
            consumer(tmp_path / "second", serving, publisher) as second,
        ):
            done = {}

            async def bring(running):
                done[running] = await running.pull(PullRequest("lab/x"), quiet)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(bring, first)
                await trio.sleep(2)
                assert first not in done
                digest = bytes.fromhex(published.digest)
                records = second._services.records
                told = await records.providers(digest, 8)
                assert first.identity.peer_id in {peer.peer_id for peer in told}
                nursery.start_soon(bring, second)
            assert contents(done[second].path) == contents(done[first].path)
            assert shares(done[second])[first.identity.peer_id] > MIB
            sent = sum(shares(each).get(serving.identity.peer_id, 0) for each in done.values())
            assert sent < 1.3 * SIZE


async def test_a_big_file_comes_from_whoever_has_it_for_another_repo(tmp_path):
    here, other = tmp_path / "publisher", tmp_path / "other"
    publisher, _ = new_publisher(here), new_publisher(other)
    async with node(here, SWARM_UP=str(MIB)) as slow, node(other, slow) as quick:
        await publish(slow, folder_with(tmp_path / "model"))
        await publish(quick, folder_with(tmp_path / "same file"), "another-name")
        async with consumer(tmp_path / "consumer", slow, publisher) as pulling:
            done = await pull(pulling)
            assert shares(done)[quick.identity.peer_id] > SIZE // 2
            assert contents(done.path) == contents(tmp_path / "model")


async def test_who_was_slow_and_alone_has_the_piece_table_is_asked_for_it(tmp_path, monkeypatch):
    publisher = new_publisher(tmp_path / "publisher")
    async with node(tmp_path / "publisher") as serving, node(tmp_path / "idle", serving) as idle:
        await publish(serving, folder_with(tmp_path / "model"))
        slow = frozenset([serving.identity.peer_id])
        monkeypatch.setattr(Doubts, "last_for", lambda doubts, contents: slow)
        async with consumer(tmp_path / "consumer", serving, publisher) as pulling:
            await pulling.connect(idle.identity.addresses[0])
            done = await pull(pulling)
            assert contents(done.path) == contents(tmp_path / "model")


async def test_who_had_the_release_and_hangs_then_holds_up_nobody(tmp_path, monkeypatch):
    answered, answers = [], PeerSource.document

    async def document(source, digest, limit):
        if len(answered) == 3 and source.name == answered[-1]:  # index, page and release
            await trio.sleep_forever()
        data = await answers(source, digest, limit)
        answered.append(source.name)
        return data

    monkeypatch.setattr(Completing, "want", lambda *news: None)  # the pull asks for all three
    publisher = new_publisher(tmp_path / "publisher")
    async with node(tmp_path / "publisher") as serving:
        await publish(serving, folder_with(tmp_path / "model"))
        async with consumer(tmp_path / "mirror", serving, publisher) as mirror:
            await pull(mirror)
            async with consumer(tmp_path / "consumer", serving, publisher) as pulling:
                await pulling.connect(mirror.identity.addresses[0])
                monkeypatch.setattr(PeerSource, "document", document)
                with trio.fail_after(9):
                    done = await pull(pulling)
                assert contents(done.path) == contents(tmp_path / "model")
                assert len(set(answered)) == 2


async def test_who_had_the_release_and_none_of_its_files_costs_no_second_attempt(
    tmp_path, monkeypatch
):
    async def nobody(neighbours, without=()):
        return []

    monkeypatch.setattr(bring, "ATTEMPT_PAUSE", 60)
    monkeypatch.setattr(bring, "FIRST", 60)  # nobody else is found meanwhile
    folder, publisher = tmp_path / "model", new_publisher(tmp_path / "publisher")
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    async with node(tmp_path / "publisher") as serving:
        await publish(serving, folder)
        async with consumer(tmp_path / "reader", serving, publisher) as reader:
            teller = reader.identity.peer_id
            monkeypatch.setattr(Neighbours, "known", lambda all, name: all._sources.get(teller))
            async with consumer(tmp_path / "consumer", reader, publisher) as pulling:
                await pulling._services.neighbours.near()
                monkeypatch.setattr(Neighbours, "near", nobody)
                with trio.fail_after(20):
                    done = await pull(pulling)
                assert contents(done.path) == contents(folder)
