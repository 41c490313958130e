"""Parts of files that nobody wants are not kept for ever; what a pull waits for is."""

import os
from types import SimpleNamespace

import pytest
import trio

from p2phub.config import load
from p2phub.node.housekeeping import DAY, SWEEP_EVERY, drop_old_parts
from p2phub.store.layout import Layout
from p2phub.store.store import Store
from p2phub.testing.samples import make_sample

PART = make_sample(3_000_000, piece=1_000_000)
NOW = 100 * DAY


@pytest.fixture
def store(tmp_path):
    with Store.open(Layout.of(tmp_path / "home")) as opened:
        yield opened


def begin(store, used):
    """A part of a file that was used last at `used`, in days."""
    partial = store.partials.open(PART.content, PART.table)
    partial.accept(0, memoryview(PART.piece(0)))
    store.partials.close(partial)
    for path in (partial.folder, partial.data):
        os.utime(path, (used * DAY, used * DAY))


def awaited_by_a_pull(monkeypatch, store):
    monkeypatch.setattr(store.repos, "awaited", lambda content: content == PART.content)


async def sweep(store, days=30, now=NOW, until=SWEEP_EVERY / 2):
    """Let housekeeping run for `until` seconds."""

    async def on_disk(work, *given):
        return work(*given)

    config = load(f"store.keep_parts = {days}", {})
    services = SimpleNamespace(store=store, config=config, now=lambda: now, on_disk=on_disk)
    with trio.move_on_after(until):
        await drop_old_parts(services)


async def test_a_part_that_nobody_wants_goes_after_its_days(store, autojump_clock):
    begin(store, 69)
    await sweep(store)
    assert store.partials.list() == ()


async def test_a_part_that_was_used_within_the_days_stays(store, autojump_clock):
    begin(store, 71)
    await sweep(store)
    assert store.partials.list() == (PART.content,)


async def test_a_part_that_an_unfinished_pull_waits_for_stays(store, monkeypatch, autojump_clock):
    begin(store, 1)
    awaited_by_a_pull(monkeypatch, store)
    await sweep(store)
    assert store.partials.list() == (PART.content,)


async def test_a_part_that_a_pull_has_open_stays(store, autojump_clock):
    begin(store, 1)
    partial = store.partials.open(PART.content, PART.table)
    await sweep(store)
    assert partial.read(0, 5) == PART.data[:5]
    store.partials.close(partial)


async def test_no_days_keep_it_for_ever(store, autojump_clock):
    begin(store, 1)
    await sweep(store, days=0)
    assert store.partials.list() == (PART.content,)


async def test_it_is_looked_for_again_and_again(store, autojump_clock):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: sweep(store, until=1.5 * SWEEP_EVERY))
        await trio.sleep(SWEEP_EVERY / 2)
        begin(store, 1)
    assert store.partials.list() == ()
