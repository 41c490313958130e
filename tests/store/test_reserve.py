"""The room that opens a store on a disk without any."""

import pytest

from p2phub.errors import NoSpaceError
from p2phub.store import reserve
from p2phub.store import store as module
from p2phub.store.disk import Disk
from p2phub.store.index import Index
from p2phub.store.store import Store
from p2phub.testing.disks import FullDisk
from p2phub.testing.samples import make_sample

from .conftest import bring

BIG = make_sample(1_200_000, seed="big", piece=100_000)


def test_is_kept_by_every_store_and_takes_real_blocks(store, layout):
    assert layout.reserve.stat().st_size == reserve.SIZE
    assert layout.reserve.stat().st_blocks * 512 >= reserve.SIZE


def test_is_made_once(store, layout, reopen):
    before = layout.reserve.stat()
    reopen()
    assert layout.reserve.stat().st_mtime_ns == before.st_mtime_ns


def test_a_torn_one_is_made_whole(store, layout, reopen):
    layout.reserve.write_bytes(b"half")
    reopen()
    assert layout.reserve.stat().st_size == reserve.SIZE


def test_is_given_up_once(store, layout):
    assert reserve.give_up(layout, Disk())
    assert not reserve.give_up(layout, Disk())
    assert not layout.reserve.exists()


def test_a_full_disk_only_delays_making_it(store, layout, reopen):
    layout.reserve.unlink()
    reserve.keep(layout, FullDisk(0))
    assert not layout.reserve.exists() or layout.reserve.stat().st_size == 0
    reopen()
    assert layout.reserve.stat().st_size == reserve.SIZE


class _FullIndex:
    """Opens an index only where there is room for what SQLite needs."""

    def __init__(self, layout):
        self._layout = layout

    def open(self, path, **options):
        if self._layout.reserve.exists():
            raise NoSpaceError(f"the disk is full: {path}")
        return Index.open(path, **options)


def test_a_store_on_a_disk_without_room_opens_and_can_be_emptied(layout, monkeypatch):
    with Store.open(layout) as store:
        bring(store, BIG)
    monkeypatch.setattr(module, "Index", _FullIndex(layout))
    with Store.open(layout) as store:
        assert store.blobs.remove(BIG.content)


def test_a_disk_without_room_and_without_a_reserve_is_said_to_be_full(layout, monkeypatch):
    Store.open(layout).close()
    monkeypatch.setattr(Index, "open", lambda *args, **options: _full(layout))
    for _ in range(2):
        with pytest.raises(NoSpaceError):
            Store.open(layout)


def _full(layout):
    raise NoSpaceError(f"the disk is full: {layout.index}")
