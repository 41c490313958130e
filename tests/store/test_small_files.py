"""Small files that arrive together: all are checked, few syncs are made, nothing half stays."""

import os

import pytest

from p2phub.errors import NoSpaceError, QuotaError, WrongBytesError
from p2phub.formats.ids import ContentId
from p2phub.store.blobs import READ_ONLY
from p2phub.testing.disks import CountingDisk, FullDisk, PowerCut, PowerCutError
from p2phub.testing.samples import make_sample

FILES = [make_sample(1 + 100 * number, seed=number) for number in range(20)]
SIZE = sum(sample.content.size for sample in FILES)


def give(handful, samples=FILES):
    for sample in samples:
        handful.accept(sample.content, memoryview(sample.data))


def together(store, samples=FILES):
    """Let them arrive and keep them."""
    handful = store.small_files.begin(SIZE)
    try:
        give(handful, samples)
        return handful.keep()
    finally:
        handful.end()


def check(store, samples=FILES):
    for sample in samples:
        with store.blobs.opened(sample.content):
            path = store.blobs.path(sample.content)
            assert path.read_bytes() == sample.data
            assert path.stat().st_mode & 0o777 == READ_ONLY
        assert store.blobs.sha256(sample.content) == sample.content.digest


def test_become_blobs_with_one_sync_of_the_files_and_one_of_the_names(reopen):
    disk = CountingDisk()
    store = reopen(disk=disk)
    before = len(disk.changes)
    assert set(together(store)) == {sample.content for sample in FILES}
    check(store)
    actions = [action for action, _ in disk.changes[before:]]
    assert actions.count("sync_all") == 2
    assert actions.count("sync") == actions.count("sync_path") == 0
    assert not list(store.layout.temp.iterdir())
    assert not list(store.layout.partial.iterdir())
    assert not list(store.layout.journal.iterdir())


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_are_read_only_for_everybody_whatever_the_user_masks(store, mask):
    before = os.umask(mask)
    try:
        together(store)
    finally:
        os.umask(before)
    check(store)


def test_wrong_bytes_are_not_written_and_cost_nobody_else(reopen):
    disk = CountingDisk()
    store = reopen(disk=disk)
    handful = store.small_files.begin(SIZE)
    give(handful, FILES[:2])
    before = len(disk.changes)
    for wrong in (b"", FILES[3].data[:-1] + b"?", FILES[3].data + b"?"):
        with pytest.raises(WrongBytesError):
            handful.accept(FILES[3].content, memoryview(wrong))
    assert len(disk.changes) == before
    assert len(handful.keep()) == 2
    handful.end()
    check(store, FILES[:2])


def test_a_file_that_comes_twice_is_written_once(store):
    handful = store.small_files.begin(SIZE)
    give(handful)
    give(handful)
    assert len(list(store.layout.temp.iterdir())) == len(FILES)
    assert len(handful.keep()) == len(FILES)
    handful.end()


def test_two_handfuls_of_the_same_files_make_one_blob_of_each(store):
    one, two = store.small_files.begin(SIZE), store.small_files.begin(SIZE)
    give(one)
    give(two)
    one.keep()
    two.keep()
    one.end()
    two.end()
    check(store)
    assert not list(store.layout.temp.iterdir())


def test_two_handfuls_are_kept_as_one(reopen):
    disk = CountingDisk()
    store = reopen(disk=disk)
    one, two = store.small_files.begin(SIZE), store.small_files.begin(SIZE)
    give(one, FILES[:12])
    give(two, FILES[8:])
    one.take_over(two)
    assert set(one.keep()) == {sample.content for sample in FILES}
    one.end()
    two.end()
    check(store)
    assert [action for action, _ in disk.changes].count("sync_all") == 2
    assert not list(store.layout.temp.iterdir())


def test_what_was_not_kept_is_gone_and_gives_its_room_back(reopen):
    store = reopen(quota=SIZE + 10)
    for _ in range(3):
        handful = store.small_files.begin(SIZE)
        give(handful)
        handful.end()
    assert not list(store.layout.temp.iterdir())
    with pytest.raises(QuotaError):
        store.small_files.begin(SIZE + 11)
    together(store)
    check(store)


def test_a_disk_that_fills_up_keeps_nothing_half_and_works_again(reopen):
    disk = FullDisk()
    store = reopen(disk=disk)
    handful = store.small_files.begin(SIZE)
    give(handful, FILES[:5])
    disk.fail()
    with pytest.raises(NoSpaceError):
        give(handful, FILES[5:])
    handful.end()
    disk.mend()
    assert not list(store.layout.temp.iterdir())
    together(store)
    check(store)


def test_what_was_begun_or_lies_in_the_way_is_left_to_others(store):
    begun = store.partials.open(FILES[1].content, FILES[1].table)
    begun.accept(0, memoryview(FILES[1].data))
    store.blobs.path(FILES[2].content).parent.mkdir(parents=True, exist_ok=True)
    store.blobs.path(FILES[2].content).write_bytes(b"left by a lost index")
    together(store, FILES[3:4])
    asked = [sample.content for sample in FILES[:5]]
    assert store.small_files.wanted(asked) == (FILES[0].content, FILES[4].content)
    store.partials.close(begun)


def test_the_power_goes_at_every_change_and_no_wrong_or_half_file_is_left(reopen):
    at = 0
    while True:
        disk = PowerCut(at)
        try:
            together(reopen(disk=disk), FILES[:10])
        except PowerCutError:
            cut = True
        else:
            cut = False
        store = reopen()
        for sample in FILES[:10]:
            if store.blobs.has(sample.content):
                check(store, [sample])
        assert not list(store.layout.temp.iterdir())
        assert not list(store.layout.journal.iterdir())
        if not cut:
            break
        for sample in FILES[:10]:
            store.blobs.remove(sample.content)
            store.partials.remove(sample.content)
        at += 1
    assert at > 40
    check(store, FILES[:10])


def test_a_file_with_a_piece_table_is_none_of_these(store):
    handful = store.small_files.begin(0)
    with pytest.raises(WrongBytesError):
        handful.accept(ContentId(2 << 20, bytes(32)), memoryview(bytes(2 << 20)))
    handful.end()
