"""The world changes while a pull goes on: addresses, ports, and what `main` means."""

from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from p2phub.errors import P2PHubError
from p2phub.testing.files import random_bytes
from tests.scenarios.nodes import (
    MIB,
    consumer,
    contents,
    machine,
    new_publisher,
    publish,
    pull,
    quiet,
)

pytestmark = pytest.mark.slow

SLOW = str(6 * MIB)
"""Bytes a second: so that something can happen in the middle."""
SIZE = 18 * MIB
PATIENCE = 60.0  # seconds, on a busy machine


@pytest.fixture
def folder(tmp_path):
    """A big file, and enough small ones to be asked for together."""
    made = tmp_path / "model"
    made.mkdir()
    (made / "big.dat").write_bytes(random_bytes("big", SIZE))
    for number in range(20):
        (made / f"{number}.json").write_text(f'{{"n": {number}}}')
    return made


def bitmaps(home: Path) -> list[bytes]:
    """A byte a piece of every file on its way: 1 if it was verified and written."""
    return [path.read_bytes() for path in (home / "store" / "partial").glob("*/bitmap")]


async def until_some_came(home: Path, pieces: int = 15) -> None:
    with trio.fail_after(PATIENCE):
        while not any(found.count(1) >= pieces for found in bitmaps(home)):  # noqa: ASYNC110
            await trio.sleep(0.02)


async def try_to_pull(running) -> None:
    """Pull, and be told that it did not work: its node was switched off under it, say."""
    try:
        await pull(running)
    except (P2PHubError, trio.Cancelled, BaseExceptionGroup):
        await trio.lowlevel.checkpoint_if_cancelled()


@asynccontextmanager
async def pulling(running):
    """A pull that goes on beside the body; gives a list that its result is put into."""
    results = []

    async def one() -> None:
        results.append(await pull(running))

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one)
            yield results


async def test_a_publisher_that_moves_to_another_port_in_mid_pull_is_found_there(tmp_path, folder):
    here, there = tmp_path / "here", tmp_path / "there"
    publisher = new_publisher(there)
    async with machine(there) as serving:
        before = await serving.on(SWARM_UP=SLOW)
        await publish(before, folder)
        async with consumer(here, before, publisher) as reader, pulling(reader) as results:
            await until_some_came(here)
            was_at = before.identity.addresses
            await serving.off()
            after = await serving.on(reader)
            assert after.identity.addresses != was_at
    (done,) = results
    assert contents(done.path) == contents(folder)
    assert done.bytes_fetched <= done.bytes_total  # no piece was accepted twice


async def test_a_reader_that_comes_back_from_another_address_goes_on_where_it_was(tmp_path, folder):
    here, there = tmp_path / "here", tmp_path / "there"
    publisher = new_publisher(there)
    async with machine(there) as serving, machine(here) as reading:
        source = await serving.on(SWARM_UP=SLOW)
        await publish(source, folder)
        reader = await reading.on(source)
        await reader.trust.add("lab", publisher)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(try_to_pull, reader)
            await until_some_came(here)
            nursery.cancel_scope.cancel()
        await reading.off()
        kept = max(found.count(1) for found in bitmaps(here))
        again = await reading.on(source)
        done = await pull(again)
        assert contents(done.path) == contents(folder)
        assert done.bytes_linked >= kept * 64 * 1024
        assert done.bytes_linked + done.bytes_fetched == done.bytes_total


async def test_a_pull_ends_with_the_revision_it_began_with(tmp_path, folder):
    here, there = tmp_path / "here", tmp_path / "there"
    publisher = new_publisher(there)
    async with machine(there) as serving:
        source = await serving.on(SWARM_UP=SLOW)
        first = await publish(source, folder)
        old = contents(folder)
        async with consumer(here, source, publisher) as reader:
            async with pulling(reader) as results:
                await until_some_came(here)
                (folder / "0.json").write_text("newer")
                second = await publish(source, folder)
            assert results[0].commit == first.commit
            assert contents(results[0].path) == old
            done = await pull_until(reader, second.commit)
            assert contents(done.path) == contents(folder)
            assert done.bytes_fetched == len("newer")


async def pull_until(reader, commit: str):
    """Pull `main` until this is the commit that it means."""
    with trio.fail_after(PATIENCE):
        while (done := await pull(reader)).commit != commit:  # noqa: ASYNC110 - the news travels
            await trio.sleep(0.1)
    return done


async def test_an_interrupted_pull_of_main_takes_the_newer_revision_and_what_it_had(
    tmp_path, folder
):
    here, there = tmp_path / "here", tmp_path / "there"
    publisher = new_publisher(there)
    async with machine(there) as serving:
        source = await serving.on(SWARM_UP=SLOW)
        first = await publish(source, folder)
        async with consumer(here, source, publisher) as reader, trio.open_nursery() as nursery:
            nursery.start_soon(try_to_pull, reader)
            await until_some_came(here)
            nursery.cancel_scope.cancel()
        kept = max(found.count(1) for found in bitmaps(here))
        data = bytearray((folder / "big.dat").read_bytes())
        data[-100] ^= 1
        (folder / "big.dat").write_bytes(data)
        second = await publish(source, folder)
        async with consumer(here, source, publisher) as reader:
            done = await pull(reader)
            assert done.commit == second.commit
            assert contents(done.path) == contents(folder)
            assert done.bytes_linked >= (kept - 1) * 64 * 1024
            assert done.bytes_fetched <= done.bytes_total - (kept - 1) * 64 * 1024
            # What was begun of the old one is listed, and goes when a person lets it go.
            await reader.remove(f"lab/x@{first.commit}")
            assert not bitmaps(here)
            assert all(found.ok for found in await reader.verify(None, quiet))
