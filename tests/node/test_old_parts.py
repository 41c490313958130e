"""Parts of files that nobody wants are not kept for ever; what a pull waits for is."""

import os
from types import SimpleNamespace

import pytest
import trio

from p2phub.config import load
from p2phub.formats.digest import sha256
from p2phub.formats.ids import commit_id
from p2phub.formats.manifest import Release
from p2phub.node.housekeeping import DAY, SWEEP_EVERY, drop_old_parts
from p2phub.store.adoption import Placed
from p2phub.store.ingest import ingest
from p2phub.store.layout import Layout
from p2phub.store.store import Store
from p2phub.testing.publishers import FakePublisher
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
    forgotten = []
    services = SimpleNamespace(
        store=store,
        config=config,
        now=lambda: now,
        on_disk=on_disk,
        announcer=SimpleNamespace(forget=forgotten.append),
    )
    with trio.move_on_after(until):
        await drop_old_parts(services)
    return forgotten


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


DATA = b"read by somebody" * 99


def keep(store, days_ago, now=NOW):
    """A file that came so long ago."""
    with store.uploads.begin(len(DATA)) as upload:
        upload.write(DATA)
        kept = upload.keep(None)
    age(store, days_ago, now)
    return kept.content


def age(store, days_ago, now=NOW):
    """What is here came so long ago."""
    with store.index.write() as statements:
        statements._connection.execute(
            "UPDATE blobs SET ctime_ns = ?", ((now - days_ago * DAY) * 10**9,)
        )


async def test_a_file_that_is_in_no_repo_goes_after_its_days_and_is_announced_no_more(
    store, autojump_clock
):
    content = keep(store, 31)
    assert await sweep(store) == [sha256(DATA)]
    assert not store.blobs.known(content)
    assert store.blobs.total_bytes() == 0


@pytest.mark.parametrize(("days_ago", "days"), [(29, 30), (400, 0)])
async def test_one_that_came_within_the_days_stays(store, autojump_clock, days_ago, days):
    content = keep(store, days_ago)
    assert await sweep(store, days) == []
    assert store.blobs.known(content)


async def test_one_that_a_repo_needs_stays(store, autojump_clock, tmp_path):
    content = keep(store, 99)
    publisher = FakePublisher(1)
    envelope = publisher.release("x", {"a.bin": DATA})
    release = Release.from_payload(envelope.payload)
    assert release.files[0].content == content
    store.documents.put(envelope.digest, "release", envelope.pack())
    store.repos.record_release(envelope.digest, release)
    digest, who = envelope.digest, publisher.publisher
    store.repos.pulled(who, "x", commit_id(digest), digest=digest, ref="main", now=1)
    assert await sweep(store) == []
    assert store.blobs.has(content)


async def test_a_file_of_a_person_stays_where_it_lies(store, autojump_clock, tmp_path):
    mine = tmp_path / "mine.bin"
    mine.write_bytes(DATA)
    found = ingest(mine, None, store.disk)
    placed = Placed(mine, found.stamp, found.content, found.table, found.sha256)
    (content,) = store.blobs.adopt_in_place([placed])
    age(store, 99)
    assert await sweep(store) == []
    assert store.blobs.known(content)
    assert mine.read_bytes() == DATA


@pytest.mark.parametrize("now", [0, 250_000_000_000, 2**53 - 1])
async def test_a_clock_that_is_far_off_ends_no_node(store, autojump_clock, now):
    keep(store, 0)
    await sweep(store, now=now)
