"""What a start finishes, and that it looks at nothing else."""

import pytest

from p2phub.store import recovery
from p2phub.store.disk import Disk
from p2phub.testing.samples import make_sample

from .conftest import bring, held, leftovers

BIG = make_sample(1_200_000, seed="big", piece=100_000)
SMALL = make_sample(5_000, seed="small")


def orphan(store, sample, *, known_table=True):
    """A blob's file with its mark and without its row: a crash between the two."""
    path = store.layout.blob(sample.content)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(sample.data)
    path.chmod(0o444)
    if known_table:
        store.blobs.put_table(sample.content, sample.table.pack())
    (store.layout.journal / f"put-{sample.content}").touch()
    return path


@pytest.mark.parametrize("sample", [BIG, SMALL], ids=["big", "small"])
def test_a_file_without_a_row_is_verified_and_taken_back(store, reopen, layout, sample):
    path = orphan(store, sample)
    again = reopen()
    assert not path.exists()
    assert not again.blobs.has(sample.content)
    partial = again.partials.open(sample.content, sample.table)
    assert partial.complete
    partial.commit()
    assert held(again, sample.content) == sample.data
    assert leftovers(layout) == []


def test_wrong_bytes_without_a_row_never_become_a_blob(store, reopen):
    path = orphan(store, BIG)
    path.chmod(0o644)
    path.write_bytes(BIG.data[:500_000] + bytes(700_000))
    partial = reopen().partials.open(BIG.content, BIG.table)
    assert [run.first for run in partial.missing()] == [5]
    assert partial.count_done == 5


def test_a_file_whose_table_nobody_knows_is_removed(store, reopen, layout):
    path = orphan(store, BIG, known_table=False)
    reopen()
    assert not path.exists()
    assert leftovers(layout) == []


def test_a_row_whose_file_was_just_dropped_goes_too(store, reopen, layout):
    bring(store, BIG)
    (layout.journal / f"drop-{BIG.content}").touch()
    layout.blob(BIG.content).unlink()
    again = reopen()
    assert again.blobs.totals() == (0, 0)
    assert leftovers(layout) == []


def test_a_partial_whose_file_became_a_blob_just_before_the_crash_goes(store, reopen, layout):
    bring(store, BIG)
    folder = layout.partial / str(BIG.content)
    folder.mkdir()
    (folder / "bitmap").write_bytes(b"\1" * 12)
    reopen()
    assert leftovers(layout) == []


def test_what_nobody_has_a_name_for_is_thrown_away(store, reopen, layout, tmp_path):
    (tmp_path / "precious").write_text("data")
    (layout.temp / "ingest-1").write_bytes(b"half")
    (layout.temp / "link").symlink_to(tmp_path)
    (layout.temp / "snapshot-1" / "deep").mkdir(parents=True)
    (layout.temp / "snapshot-1" / "deep").chmod(0o555)
    reopen()
    assert leftovers(layout) == []
    assert (tmp_path / "precious").exists()


def test_a_start_reads_no_blob_and_no_partial(store, reopen, layout, monkeypatch):
    for n in range(20):
        bring(store, make_sample(100, seed=n))
    partial = store.partials.open(BIG.content, BIG.table)
    partial.accept(0, memoryview(BIG.piece(0)))
    looked = []
    real = recovery.Journal.unfinished
    monkeypatch.setattr(
        recovery.Journal, "unfinished", lambda self: looked.append(self) or real(self)
    )

    def never(*args, **options):
        raise AssertionError("a start must not hash anything")

    monkeypatch.setattr("p2phub.store.blobs.bad_pieces", never)
    monkeypatch.setattr("p2phub.store.partial.bad_pieces", never)
    again = reopen()
    assert looked
    assert again.blobs.totals()[0] == 20


def test_recovering_twice_is_the_same(store, layout):
    orphan(store, BIG)
    for _ in range(2):
        recovery.recover(layout, Disk(), store.blobs, store.partials)
    assert store.partials.open(BIG.content, BIG.table).complete
