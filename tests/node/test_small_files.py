"""Many small files from good and bad sources, in virtual time."""

import pytest
import trio

from p2phub.errors import NoSpaceError, RemoteError
from p2phub.node.small_files import SmallFilesFetch
from p2phub.protocol import batch_plan
from p2phub.store.layout import Layout
from p2phub.store.store import Store
from p2phub.testing.disks import CountingDisk, FullDisk
from p2phub.testing.samples import make_sample
from p2phub.testing.sources import (
    ClaimsAllHasNone,
    DamagedSource,
    DroppingSource,
    EndlessSource,
    HangingSource,
    HonestSource,
    LyingSource,
)

FILES = [make_sample(10 + number, seed=number) for number in range(40)]
CONTENTS = [sample.content for sample in FILES]


@pytest.fixture
def disk():
    return CountingDisk()


@pytest.fixture
def store(tmp_path, disk):
    with Store.open(Layout.of(tmp_path), disk=disk) as store:
        yield store


async def on_disk(work, *args):
    """In virtual time nothing waits for a thread."""
    await trio.lowlevel.checkpoint()
    return work(*args)


async def fetch(store, *kinds, files=FILES):
    """The fetch, its sources, and how many bytes were counted for each."""
    counted, kept = {}, []

    def brought(source, size):
        counted[source] = counted.get(source, 0) + size

    sources = [kind(kind.__name__, files, latency=0.01) for kind in kinds]
    job = SmallFilesFetch(CONTENTS, store.small_files, on_disk, brought=brought, kept=kept.extend)
    with trio.fail_after(3600):  # virtual seconds
        await job.run(sources)
    assert sorted(kept) == sorted(content for content in CONTENTS if store.blobs.has(content))
    assert not list(store.layout.temp.iterdir())
    return job, sources, counted


def is_whole(store):
    for sample in FILES:
        with store.blobs.opened(sample.content):
            assert store.blobs.path(sample.content).read_bytes() == sample.data
    return True


async def test_one_request_brings_all(autojump_clock, store):
    _, (source,), counted = await fetch(store, HonestSource)
    assert is_whole(store)
    assert source.batches == [tuple(CONTENTS)]
    assert counted == {"HonestSource": sum(content.size for content in CONTENTS)}


async def test_one_honest_source_is_enough_among_all_the_bad_ones(autojump_clock, store):
    _, _, counted = await fetch(
        store,
        LyingSource,
        HangingSource,
        DroppingSource,
        EndlessSource,
        ClaimsAllHasNone,
        DamagedSource,
        HonestSource,
    )
    assert is_whole(store)
    assert sum(counted.values()) == sum(content.size for content in CONTENTS)
    assert trio.current_time() < 60


async def test_a_liar_is_named_once_caught_and_never_asked_again(
    autojump_clock, store, monkeypatch
):
    monkeypatch.setattr(batch_plan, "SHARE", 10)  # so that both are asked, whoever comes first
    job, (liar, _), _ = await fetch(store, LyingSource, HonestSource)
    assert len(liar.batches) == 1
    ((content, lie),) = job.lies.items()
    assert job.caught == {content: {"LyingSource"}}
    assert "LyingSource" in lie.message
    assert is_whole(store)


async def test_what_came_before_the_connection_broke_is_kept(autojump_clock, store):
    await fetch(store, DroppingSource)
    here = [content for content in CONTENTS if store.blobs.has(content)]
    assert here == CONTENTS[: len(here)]
    assert len(here) == 3


async def test_what_nobody_has_is_left(autojump_clock, store):
    job, _, _ = await fetch(store, HonestSource, HonestSource, files=FILES[:5])
    assert [content for content in CONTENTS if store.blobs.has(content)] == CONTENTS[:5]
    assert not job.caught


async def test_a_source_that_hangs_is_passed_by_after_two_seconds(autojump_clock, store):
    await fetch(store, HangingSource, HonestSource)
    assert is_whole(store)
    assert trio.current_time() < 4


async def test_a_cancelled_fetch_keeps_what_came(autojump_clock, store):
    source = HonestSource("slow", FILES, latency=1)
    job = SmallFilesFetch(CONTENTS, store.small_files, on_disk)
    with trio.move_on_after(10.5):
        await job.run([source])
    assert [content for content in CONTENTS if store.blobs.has(content)] == CONTENTS[:10]


async def test_a_full_disk_ends_it_with_that_error(autojump_clock, tmp_path):
    disk = FullDisk()
    with Store.open(Layout.of(tmp_path), disk=disk) as store:
        disk.fail()
        with pytest.raises(NoSpaceError):
            await fetch(store, HonestSource)
        disk.mend()
        await fetch(store, HonestSource)
        assert is_whole(store)


async def test_no_error_of_a_source_ends_it(autojump_clock, store):
    class Failing(HonestSource):
        async def fetch_many(self, contents, accept):
            raise RemoteError("gone")

    await fetch(store, Failing)
    assert not any(map(store.blobs.has, CONTENTS))


class SlowDisk:
    """Keeps nothing before it is told to; begins at once."""

    def __init__(self):
        self.let_go, self.keepings = trio.Event(), []

    async def __call__(self, work, *args):
        await trio.lowlevel.checkpoint()
        if work.__name__ == "_keep":
            self.keepings.append(len(args[0]))
            await self.let_go.wait()
        return work(*args)


async def test_a_connection_goes_on_while_the_disk_keeps_and_not_too_far(
    autojump_clock, store, monkeypatch
):
    monkeypatch.setattr(batch_plan, "SHARE", 10)
    disk, source = SlowDisk(), HonestSource("one", FILES, latency=0.01)
    source.connections = 1
    job = SmallFilesFetch(CONTENTS, store.small_files, disk)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(job.run, [source])
        await trio.sleep(100)
        assert len(source.batches) == 2  # the first is being kept, the second waits for it
        disk.let_go.set()
    assert is_whole(store)
    assert len(source.batches) == 4


async def test_what_comes_while_the_disk_keeps_is_kept_together(autojump_clock, store, monkeypatch):
    monkeypatch.setattr(batch_plan, "SHARE", 10)
    disk = SlowDisk()
    sources = [HonestSource(str(number), FILES, latency=number) for number in (1, 2)]
    for source in sources:
        source.connections = 2
    job = SmallFilesFetch(CONTENTS, store.small_files, disk)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(job.run, sources)
        await trio.sleep(1000)
        disk.let_go.set()
    assert is_whole(store)
    assert disk.keepings[0] == 1
    assert sum(disk.keepings) == sum(len(source.batches) for source in sources)
    assert len(disk.keepings) == 2


async def test_what_was_not_kept_yet_is_kept_by_a_fetch_that_is_cancelled(
    autojump_clock, store, monkeypatch
):
    monkeypatch.setattr(batch_plan, "SHARE", 10)
    disk, source = SlowDisk(), HonestSource("one", FILES, latency=0.01)
    source.connections = 1
    job = SmallFilesFetch(CONTENTS, store.small_files, disk)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(job.run, [source])
        await trio.sleep(100)
        nursery.cancel_scope.cancel()
        disk.let_go.set()
    assert [content for content in CONTENTS if store.blobs.has(content)] == CONTENTS[:20]
    assert not list(store.layout.temp.iterdir())
