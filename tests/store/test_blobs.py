"""Blobs: written once, checked before each use, never believed on their name."""

import os
import stat
import threading
from contextlib import contextmanager

import pytest

from p2phub.errors import DamagedBlobError, NoSpaceError, NotFoundError, WrongBytesError
from p2phub.formats.digest import blake3, sha256
from p2phub.formats.pieces import PieceTable
from p2phub.store.stamp import Stamp
from p2phub.store.statements import query
from p2phub.store.verification import bad_pieces
from p2phub.testing.samples import Sample, make_sample

from .conftest import bring, held

BIG = make_sample(1_500_000, seed="big")
SMALL = make_sample(5_000, seed="small")
EMPTY = make_sample(0)
SAMPLES = [BIG, SMALL, EMPTY]


def flip(path, offset=0):
    """Change one bit in place, as root can, and set the old times back."""
    before = path.stat()
    with open(os.open(path, os.O_RDWR), "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def count_checks(monkeypatch):
    checked = []

    def counting(fd, table, path, **options):
        checked.append(table.content_id)
        return bad_pieces(fd, table, path, **options)

    monkeypatch.setattr("p2phub.store.blobs.bad_pieces", counting)
    return checked


@pytest.mark.parametrize("sample", SAMPLES, ids=["big", "small", "empty"])
class TestEverySize:
    def test_what_arrived_can_be_read_again(self, store, sample):
        bring(store, sample)
        assert store.blobs.has(sample.content)
        assert held(store, sample.content) == sample.data

    def test_a_blob_survives_closing(self, store, reopen, sample):
        bring(store, sample)
        again = reopen()
        assert held(again, sample.content) == sample.data
        assert again.blobs.table(sample.content) == sample.table

    def test_a_blob_is_read_only(self, store, sample):
        bring(store, sample)
        path = store.blobs.path(sample.content)
        assert stat.S_IMODE(path.stat().st_mode) == 0o444
        assert path.parent.parent == store.layout.blobs

    def test_what_is_not_here_is_not_found(self, store, sample):
        assert not store.blobs.has(sample.content)
        for ask in (store.blobs.open_verified, store.blobs.hash_whole, store.blobs.verify):
            with pytest.raises(NotFoundError):
                ask(sample.content)

    def test_removing_leaves_no_file_row_or_piece(self, store, sample):
        bring(store, sample)
        assert store.blobs.remove(sample.content)
        assert not store.blobs.has(sample.content)
        assert not store.blobs.path(sample.content).exists()
        assert store.blobs.totals() == (0, 0)
        digests = [sample.table.digest(n) for n in range(sample.table.count)]
        assert store.blobs.find_pieces(digests) == {}
        assert not store.blobs.remove(sample.content)


def test_an_untouched_blob_is_opened_without_reading_it(store, monkeypatch):
    bring(store, BIG)
    checked = count_checks(monkeypatch)
    for _ in range(3):
        os.close(store.blobs.open_verified(BIG.content))
    assert checked == []


@pytest.mark.parametrize("offset", [0, 700_000, 1_499_999])
def test_a_flipped_bit_is_found_even_if_the_times_were_set_back(store, offset):
    bring(store, BIG)
    path = store.blobs.path(BIG.content)
    flip(path, offset)
    with pytest.raises(DamagedBlobError, match=str(BIG.content)) as caught:
        store.blobs.open_verified(BIG.content)
    assert caught.value.exit == 4
    assert f"wrong pieces: {offset // 65536}" in caught.value.message
    assert caught.value.remedy
    assert not store.blobs.has(BIG.content)
    assert not path.exists()
    assert (store.layout.quarantine / str(BIG.content)).exists()


def test_a_blob_that_was_only_touched_is_hashed_once_and_used_again(store, monkeypatch):
    bring(store, BIG)
    path = store.blobs.path(BIG.content)
    path.chmod(0o644)
    os.utime(path)
    checked = count_checks(monkeypatch)
    assert held(store, BIG.content) == BIG.data
    assert held(store, BIG.content) == BIG.data
    assert checked == [BIG.content]
    assert stat.S_IMODE(path.stat().st_mode) == 0o444


def test_many_threads_that_find_a_touched_blob_hash_it_once(store, monkeypatch):
    bring(store, BIG)
    os.utime(store.blobs.path(BIG.content))
    checked = count_checks(monkeypatch)
    threads = [threading.Thread(target=held, args=(store, BIG.content)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert checked == [BIG.content]


def test_a_restored_copy_with_another_inode_is_recognised_by_its_bytes(store, tmp_path):
    bring(store, BIG)
    path = store.blobs.path(BIG.content)
    (tmp_path / "backup").write_bytes(path.read_bytes())
    (tmp_path / "backup").rename(path)
    assert held(store, BIG.content) == BIG.data


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.write_bytes(b""),
        lambda path: os.truncate(path, 1_499_999),
        lambda path: os.truncate(path, 1_500_001),
        lambda path: path.write_bytes(bytes(1_500_000)),
    ],
    ids=["emptied", "cut", "longer", "overwritten"],
)
def test_a_blob_of_another_length_or_content_is_damaged(store, change):
    bring(store, BIG)
    change(store.blobs.path(BIG.content))
    with pytest.raises(DamagedBlobError):
        store.blobs.open_verified(BIG.content)
    assert not store.blobs.has(BIG.content)


def test_a_link_planted_in_the_place_of_a_blob_is_not_followed(store, tmp_path):
    bring(store, SMALL)
    path = store.blobs.path(SMALL.content)
    (tmp_path / "same").write_bytes(SMALL.data)
    path.unlink()
    path.symlink_to(tmp_path / "same")
    with pytest.raises(DamagedBlobError):
        store.blobs.open_verified(SMALL.content)
    assert not store.blobs.has(SMALL.content)


def test_a_pipe_planted_in_the_place_of_a_blob_makes_nobody_wait(store):
    bring(store, SMALL)
    path = store.blobs.path(SMALL.content)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(DamagedBlobError):
        store.blobs.open_verified(SMALL.content)


def test_folders_planted_in_the_place_of_a_blob_are_set_aside_one_after_the_other(store):
    for _ in range(2):
        bring(store, SMALL)
        path = store.blobs.path(SMALL.content)
        path.unlink()
        path.mkdir()
        (path / "stray").touch()
        with pytest.raises(DamagedBlobError):
            store.blobs.open_verified(SMALL.content)
    bring(store, SMALL)
    flip(store.blobs.path(SMALL.content))
    with pytest.raises(DamagedBlobError):
        store.blobs.open_verified(SMALL.content)
    bring(store, SMALL)
    assert held(store, SMALL.content) == SMALL.data


def test_a_blob_that_was_deleted_by_hand_is_forgotten_and_can_come_again(store):
    bring(store, SMALL)
    store.blobs.path(SMALL.content).unlink()
    with pytest.raises(DamagedBlobError, match="gone"):
        store.blobs.open_verified(SMALL.content)
    assert not store.blobs.has(SMALL.content)
    bring(store, SMALL)
    assert held(store, SMALL.content) == SMALL.data


def test_has_looks_at_the_disk_and_not_only_at_its_rows(store):
    bring(store, BIG)
    store.blobs.path(BIG.content).unlink()
    assert not store.blobs.has(BIG.content)
    assert store.blobs.totals() == (0, 0)


def test_a_damaged_blob_can_come_again(store):
    bring(store, BIG)
    flip(store.blobs.path(BIG.content))
    with pytest.raises(DamagedBlobError):
        store.blobs.open_verified(BIG.content)
    bring(store, BIG)
    assert held(store, BIG.content) == BIG.data


class TestInTheMeantime:
    """What other threads do between two steps of one that looks."""

    def test_a_blob_that_is_removed_while_it_is_opened_is_not_found_and_not_damaged(
        self, store, monkeypatch
    ):
        bring(store, BIG)
        once(monkeypatch, store.blobs, "_open", lambda: store.blobs.remove(BIG.content))
        with pytest.raises(NotFoundError):
            store.blobs.open_verified(BIG.content)

    def test_a_blob_that_went_and_came_while_it_was_opened_keeps_its_row(self, store, monkeypatch):
        bring(store, BIG)

        def went_and_came():
            store.blobs.path(BIG.content).unlink()

        once(monkeypatch, store.blobs, "_open", went_and_came)
        once(monkeypatch, store.blobs, "_forget", lambda: bring(store, BIG))
        with pytest.raises(NotFoundError):
            store.blobs.open_verified(BIG.content)
        assert held(store, BIG.content) == BIG.data
        assert store.blobs.totals() == (1, len(BIG.data))

    def test_a_good_copy_that_came_while_a_bad_one_was_hashed_stays(self, store, monkeypatch):
        bring(store, BIG)
        flip(store.blobs.path(BIG.content), 5)

        def replaced():
            assert store.blobs.verify(BIG.content) == [0]
            bring(store, BIG)

        once(monkeypatch, store.blobs, "_quarantine", replaced)
        with pytest.raises(DamagedBlobError):
            store.blobs.open_verified(BIG.content)
        assert held(store, BIG.content) == BIG.data


def once(monkeypatch, thing, name, before):
    """Do something just before the next call of a method."""
    real = getattr(thing, name)

    def first(*given):
        monkeypatch.setattr(thing, name, real)
        before()
        return real(*given)

    monkeypatch.setattr(thing, name, first)


class TestOnAFullDisk:
    """Looking goes on; what would be noted is noted another time."""

    @pytest.fixture
    def full(self, store, monkeypatch):
        bring(store, BIG)
        return lambda: monkeypatch.setattr(store.index, "write", no_space)

    def test_a_touched_blob_is_read(self, store, full):
        os.utime(store.blobs.path(BIG.content))
        full()
        assert held(store, BIG.content) == BIG.data

    def test_a_blob_that_is_gone_is_not_here(self, store, full):
        store.blobs.path(BIG.content).unlink()
        full()
        assert not store.blobs.has(BIG.content)

    def test_a_damaged_blob_is_damaged(self, store, full):
        flip(store.blobs.path(BIG.content), 5)
        full()
        with pytest.raises(DamagedBlobError):
            store.blobs.open_verified(BIG.content)

    def test_a_blob_can_be_verified_and_hashed(self, store, full):
        full()
        assert store.blobs.verify(BIG.content) == []
        assert store.blobs.hash_whole(BIG.content) == sha256(BIG.data)


@contextmanager
def no_space():
    raise NoSpaceError("the disk is full")
    yield


class TestTheWholeFilesSha256:
    def test_is_not_known_from_pieces_alone(self, store):
        bring(store, BIG)
        assert store.blobs.sha256(BIG.content) is None
        assert store.blobs.by_sha256(sha256(BIG.data)) == []
        assert store.blobs.unhashed() == [BIG.content]

    def test_is_known_once_it_was_hashed_and_after_a_restart(self, store, reopen):
        bring(store, BIG)
        seen = []
        assert store.blobs.hash_whole(BIG.content, seen.append) == sha256(BIG.data)
        assert sum(seen) == BIG.content.size
        again = reopen()
        assert again.blobs.sha256(BIG.content) == sha256(BIG.data)
        assert again.blobs.by_sha256(sha256(BIG.data)) == [BIG.content]
        assert again.blobs.unhashed() == []

    def test_of_a_small_file_is_known_at_once(self, store):
        bring(store, SMALL)
        assert store.blobs.by_sha256(sha256(SMALL.data)) == [SMALL.content]
        assert store.blobs.unhashed() == []

    def test_a_claim_that_was_never_checked_offers_nothing(self, store):
        # A release may claim any SHA-256 for these bytes: it is not in this table.
        bring(store, BIG)
        store.blobs.hash_whole(BIG.content)
        assert store.blobs.by_sha256(sha256(b"what a liar claims")) == []

    def test_of_rotten_bytes_is_never_remembered(self, store):
        bring(store, BIG)
        flip(store.blobs.path(BIG.content), 900_000)
        with pytest.raises(DamagedBlobError):
            store.blobs.hash_whole(BIG.content)
        assert not store.blobs.has(BIG.content)

    def test_bits_that_rot_under_an_unchanged_stamp_are_found_too(self, store):
        bring(store, BIG)
        rot(store, BIG.content, 900_000)
        os.close(store.blobs.open_verified(BIG.content))
        with pytest.raises(DamagedBlobError):
            store.blobs.hash_whole(BIG.content)

    def test_two_tables_of_one_file_are_both_found(self, store):
        other = make_sample(1_500_000, seed="big", piece=100_000)
        for sample in (BIG, other):
            bring(store, sample)
            store.blobs.hash_whole(sample.content)
        assert store.blobs.by_sha256(sha256(BIG.data)) == [BIG.content, other.content]

    def test_big_files_are_those_hashed_whole(self, store):
        bring(store, BIG)
        bring(store, SMALL)
        assert store.blobs.big_files(1_000_000) == []
        store.blobs.hash_whole(BIG.content)
        assert store.blobs.big_files(1_000_000) == [sha256(BIG.data)]
        assert store.blobs.big_files(1_500_000) == []


def rot(store, content, offset):
    """Change a bit and make the row agree with the new stamp: what a failing disk looks like."""
    path = store.blobs.path(content)
    flip(path, offset)
    with store.index.write() as statements:
        stamp = Stamp.of(path.stat())
        statements.run("blobs.set_stamp", *stamp.row, content.digest, content.size)


class TestVerify:
    def test_finds_what_the_stamp_cannot_show_and_names_the_pieces(self, store):
        bring(store, BIG)
        rot(store, BIG.content, 70_000)
        assert store.blobs.verify(BIG.content) == [1]
        assert not store.blobs.has(BIG.content)

    def test_counts_the_pieces_of_a_good_file_and_hashes_it(self, store):
        bring(store, BIG)
        seen = []
        found = store.blobs.examine(BIG.content, seen.append)
        assert (found.pieces, found.bad_pieces) == (BIG.table.count, ())
        assert found.sha256 == sha256(BIG.data) == store.blobs.sha256(BIG.content)
        assert sum(seen) == BIG.content.size

    def test_a_file_with_something_after_its_last_piece_is_wrong(self, store):
        bring(store, SMALL)
        path = store.blobs.path(SMALL.content)
        path.write_bytes(SMALL.data + b"more")
        assert store.blobs.verify(SMALL.content) == [0]

    def test_a_touched_but_good_file_is_remembered_as_it_is_now(self, store, monkeypatch):
        bring(store, BIG)
        os.utime(store.blobs.path(BIG.content))
        assert store.blobs.verify(BIG.content) == []
        checked = count_checks(monkeypatch)
        os.close(store.blobs.open_verified(BIG.content))
        assert checked == []


class TestReadOnly:
    def test_a_damaged_blob_is_refused_and_left_where_it_is(self, store, reopen):
        bring(store, BIG)
        flip(store.blobs.path(BIG.content))
        reader = reopen(read_only=True)
        with pytest.raises(DamagedBlobError):
            reader.blobs.open_verified(BIG.content)
        assert reader.blobs.verify(BIG.content) == [0]
        assert reader.blobs.path(BIG.content).exists()

    def test_a_touched_blob_can_be_read(self, store, reopen):
        bring(store, BIG)
        os.utime(store.blobs.path(BIG.content))
        assert held(reopen(read_only=True), BIG.content) == BIG.data

    def test_a_missing_blob_is_missing(self, store, reopen):
        bring(store, BIG)
        store.blobs.path(BIG.content).unlink()
        assert not reopen(read_only=True).blobs.has(BIG.content)


class TestTables:
    def test_a_table_that_is_not_that_of_the_file_is_refused(self, store):
        other = make_sample(1_500_000, seed="other")
        with pytest.raises(WrongBytesError):
            store.blobs.put_table(BIG.content, other.table.pack())
        assert store.blobs.table(BIG.content) is None

    def test_a_table_is_found_by_its_own_digest_as_it_travels(self, store):
        store.blobs.put_table(BIG.content, BIG.table.pack())
        assert store.blobs.packed_table(BIG.content.digest) == BIG.table.pack()
        assert store.blobs.packed_table(bytes(32)) is None

    def test_a_table_that_rotted_in_the_index_is_never_used(self, store):
        bring(store, BIG)
        with store.index.write() as statements:
            rotten = bytes(len(BIG.table.pack()))
            statements.run("blobs.put_table", BIG.content.digest, BIG.content.size, rotten)
        with pytest.raises(WrongBytesError):
            store.blobs.table(BIG.content)

    def test_a_small_file_needs_none(self, store):
        assert store.blobs.table(SMALL.content) == PieceTable.for_small(SMALL.content)
        store.blobs.put_table(SMALL.content, b"")


class TestPieces:
    def test_are_found_where_they_lie(self, store):
        bring(store, BIG)
        digests = [BIG.table.digest(n) for n in range(BIG.table.count)]
        found = store.blobs.find_pieces([*digests, bytes(32)])
        assert set(found) == set(digests)
        for n, digest in enumerate(digests):
            assert found[digest] == [(BIG.content, BIG.table.offset(n), BIG.table.length(n))]

    def test_shared_by_two_blobs_stay_known_when_one_goes(self, store):
        longer = make_sample(2_000_000, seed="big")
        bring(store, BIG)
        bring(store, longer)
        store.blobs.remove(BIG.content)
        found = store.blobs.find_pieces([BIG.table.digest(0)])
        assert [place[0] for place in found[BIG.table.digest(0)]] == [longer.content]

    def test_of_a_file_made_of_one_piece_repeated_are_no_problem(self, store):
        zeros = bytes(1 << 20)
        table = PieceTable.build([1 << 20] * 2, [blake3(zeros)] * 2)
        bring(store, Sample(table, zeros * 2))
        assert held(store, table.content_id) == zeros * 2
        assert store.blobs.remove(table.content_id)


def test_totals_follow_every_coming_and_going(store):
    for sample in SAMPLES:
        bring(store, sample)
    assert store.blobs.totals() == (3, 1_505_000)
    assert set(store.blobs.every()) == {sample.content for sample in SAMPLES}
    store.blobs.remove(SMALL.content)
    assert store.blobs.totals() == (2, 1_500_000)
    assert store.blobs.total_bytes() == 1_500_000


@pytest.mark.parametrize(
    ("name", "index"),
    [("big_files", "blobs_by_size"), ("not_hashed", "blobs_not_hashed")],
)
def test_what_is_asked_every_few_minutes_does_not_look_at_every_blob(store, name, index):
    text = query(f"blobs.{name}")
    plan = store.index._writer.execute(f"EXPLAIN QUERY PLAN {text}", (1,) * text.count("?"))
    assert f"INDEX {index}" in plan.fetchall()[0][3]
