"""Publishing a folder's files: all of them become blobs, or nothing stays."""

import os

import pytest

from p2phub.errors import FileChangedError, NoSpaceError, QuotaError
from p2phub.formats.digest import sha256
from p2phub.store import intake
from p2phub.store.layout import Layout
from p2phub.store.store import Store
from p2phub.testing.disks import CountingDisk, FullDisk, PowerCut, PowerCutError
from p2phub.testing.files import random_bytes
from p2phub.testing.samples import Sample, make_sample

from .conftest import bring, held, leftovers


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "big").write_bytes(random_bytes("big", 1_300_000))
    for n in range(5):
        (folder / f"small-{n}").write_bytes(random_bytes(n, 1000))
    (folder / "empty").touch()
    return folder


def sources(folder):
    return sorted(folder.iterdir())


def test_every_file_becomes_a_blob_whose_sha256_is_known(store, folder, layout):
    found = store.blobs.ingest_many(sources(folder))
    for source, ingested in zip(sources(folder), found, strict=True):
        assert held(store, ingested.content) == source.read_bytes()
        assert store.blobs.by_sha256(sha256(source.read_bytes())) == [ingested.content]
    assert store.blobs.unhashed() == []
    assert leftovers(layout) == []


def test_files_larger_than_a_batch_and_many_batches_come_in(store, folder, monkeypatch):
    monkeypatch.setattr(intake, "BATCH_FILES", 2)
    monkeypatch.setattr(intake, "BATCH_BYTES", 500)
    assert len(store.blobs.ingest_many(sources(folder))) == 7
    assert store.blobs.totals()[0] == 7


def test_the_same_bytes_twice_are_one_blob_and_two_answers(store, folder):
    (folder / "twin").write_bytes((folder / "big").read_bytes())
    found = store.blobs.ingest_many([folder / "big", folder / "twin"])
    assert found[0].content == found[1].content
    assert store.blobs.totals()[0] == 1


def test_what_is_a_blob_already_is_not_written_again(store, folder, layout):
    first = store.blobs.ingest(folder / "big")
    inode = store.blobs.path(first.content).stat().st_ino
    assert store.blobs.ingest(folder / "big").content == first.content
    assert store.blobs.path(first.content).stat().st_ino == inode
    assert leftovers(layout) == []


def test_a_pulled_blob_that_is_published_again_is_hashed_whole_thereby(store, tmp_path):
    (tmp_path / "f").write_bytes(random_bytes("big", 1_300_000))
    ingested = store.blobs.ingest(tmp_path / "f")
    store.blobs.remove(ingested.content)
    sample = make_sample(1_300_000, seed="big")
    bring(store, Sample(ingested.table, sample.data))
    assert store.blobs.sha256(ingested.content) is None
    store.blobs.ingest(tmp_path / "f")
    assert store.blobs.sha256(ingested.content) == ingested.sha256


def test_a_blob_that_somebody_deleted_by_hand_comes_back(store, folder):
    first = store.blobs.ingest(folder / "big")
    store.blobs.path(first.content).unlink()
    store.blobs.ingest(folder / "big")
    assert held(store, first.content) == (folder / "big").read_bytes()


def test_one_file_that_changed_leaves_nothing_of_the_others(store, folder, layout, monkeypatch):
    monkeypatch.setattr(intake, "BATCH_FILES", 2)
    known = store.blobs.ingest(folder / "small-0")
    with pytest.raises(FileChangedError, match="nowhere"):
        store.blobs.ingest_many([*sources(folder), folder / "nowhere"])
    assert store.blobs.every() == [known.content]
    assert len(list(layout.blobs.rglob("*-*"))) == 1
    assert leftovers(layout) == []


def test_a_quota_that_is_too_small_is_met_before_the_copy(reopen, folder, layout):
    store = reopen(quota=100_000)
    with pytest.raises(QuotaError):
        store.blobs.ingest_many(sources(folder))
    assert store.blobs.totals() == (0, 0)
    assert leftovers(layout) == []
    store.blobs.ingest(folder / "small-1")


def test_a_quota_is_given_back_after_a_failure(reopen, folder):
    store = reopen(quota=1_400_000)
    with pytest.raises(FileChangedError):
        store.blobs.ingest_many([folder / "big", folder / "nowhere"])
    store.blobs.ingest(folder / "big")


@pytest.fixture
def changes(tmp_path, folder, layout):
    """Which changes an ingest makes to a store that was open before."""
    disk = CountingDisk()
    for each in (layout, Layout.of(tmp_path / "count")):
        Store.open(each).close()
    with Store.open(Layout.of(tmp_path / "count"), disk=disk) as store:
        first = len(disk.changes)
        store.blobs.ingest_many(sources(folder))
    return range(first, len(disk.changes))


def test_a_disk_that_fills_up_at_any_point_leaves_nothing(reopen, folder, layout, changes):
    failed = 0
    for at in changes:
        disk = FullDisk(at)
        store = reopen(disk=disk)
        try:
            store.blobs.ingest_many(sources(folder))
        except NoSpaceError:
            failed += 1
            assert store.blobs.totals() == (0, 0)
            assert [path for path in layout.blobs.rglob("*-*") if path.is_file()] == []
            assert leftovers(layout) == []
        for content in store.blobs.every():
            store.blobs.remove(content)
        for path in layout.blobs.iterdir():
            path.rmdir()
    assert failed > 20


def test_a_power_cut_at_any_point_leaves_whole_blobs_and_nothing_else(
    reopen, folder, layout, changes
):
    for at in changes:
        store = reopen(disk=PowerCut(at))
        with pytest.raises(PowerCutError):
            store.blobs.ingest_many(sources(folder))
        store = reopen()
        on_disk = {path.name for path in layout.blobs.rglob("*-*")}
        assert on_disk == {str(content) for content in store.blobs.every()}
        assert list(layout.temp.iterdir()) == list(layout.journal.iterdir()) == []
        for content in store.partials.list():
            assert not content.has_table
            assert store.partials.remove(content)
        for content in store.blobs.every():
            os.close(store.blobs.open_verified(content))
            store.blobs.remove(content)
        for path in layout.blobs.iterdir():
            path.rmdir()
