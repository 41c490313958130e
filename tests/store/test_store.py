"""A store as a whole: how it opens, who may have it, and that it comes up whatever was left."""

import subprocess
import sys

import pytest

from p2phub.errors import NoSpaceError, NotFoundError, P2PHubError, RefusedError, StoreLockedError
from p2phub.store.store import Store
from p2phub.testing.disks import FullDisk, PowerCut, PowerCutError, ReadOnlyDisk
from p2phub.testing.samples import make_sample

from .conftest import bring, held, leftovers

BIG = make_sample(1_200_000, seed="big", piece=100_000)
SMALL = make_sample(5_000, seed="small")


class TestOpening:
    def test_makes_what_is_missing_and_closes_the_home_to_others(self, layout):
        Store.open(layout).close()
        assert layout.index.exists()
        for folder in (layout.home, layout.keys, layout.run):
            assert folder.stat().st_mode & 0o777 == 0o700

    def test_again_finds_everything(self, store, reopen):
        bring(store, BIG)
        bring(store, SMALL)
        again = reopen()
        assert held(again, BIG.content) == BIG.data
        assert held(again, SMALL.content) == SMALL.data

    def test_twice_in_one_process_is_refused(self, store, layout):
        with pytest.raises(StoreLockedError):
            Store.open(layout)
        bring(store, BIG)

    def test_fails_and_leaves_no_lock(self, layout):
        layout.store.mkdir(parents=True)
        layout.index.write_bytes(b"no database" * 1000)
        for _ in range(2):
            with pytest.raises(P2PHubError, match="damaged"):
                Store.open(layout)
        layout.index.unlink()
        Store.open(layout).close()

    def test_as_a_context_ends_it(self, layout):
        with Store.open(layout) as store:
            bring(store, SMALL)
        with Store.open(layout) as store:
            assert held(store, SMALL.content) == SMALL.data

    def test_closing_twice_is_nothing(self, layout):
        store = Store.open(layout)
        store.close()
        store.close()

    def test_a_place_that_is_a_file_is_said(self, layout):
        layout.home.mkdir()
        layout.store.write_text("mine")
        with pytest.raises(P2PHubError, match="store"):
            Store.open(layout)
        assert layout.store.read_text() == "mine"


class TestReadingOnly:
    def test_what_was_never_made_is_empty_and_stays_unmade(self, layout):
        with Store.open(layout, read_only=True) as store:
            assert store.blobs.totals() == (0, 0)
            assert store.partials.list() == ()
            assert store.repos.local() == []
            with pytest.raises(NotFoundError):
                store.blobs.open_verified(BIG.content)
        assert not layout.home.exists()

    def test_beside_the_one_who_writes(self, store, layout):
        with Store.open(layout, read_only=True) as reader:
            bring(store, BIG)
            assert held(reader, BIG.content) == BIG.data
            store.blobs.remove(BIG.content)
            assert not reader.blobs.has(BIG.content)

    def test_changes_nothing(self, store, layout):
        bring(store, BIG)
        store.close()
        before = {path: path.lstat().st_ctime_ns for path in layout.store.rglob("*")}
        with Store.open(layout, read_only=True) as reader:
            assert held(reader, BIG.content) == BIG.data
            with pytest.raises(RefusedError, match="reading only"):
                reader.blobs.remove(BIG.content)
        after = {path: path.lstat().st_ctime_ns for path in before}
        assert before.items() <= after.items()


@pytest.fixture
def begun(layout):
    """A store with a blob, a file half here, an unfinished journal and rubbish."""
    with Store.open(layout) as store:
        bring(store, BIG)
        partial = store.partials.open(SMALL.content, SMALL.table)
        partial.accept(0, memoryview(SMALL.data))
        store.partials.close(partial)
    (layout.temp / "ingest-1").write_bytes(b"half")
    (layout.journal / f"put-{BIG.content}").touch()
    return layout


def test_a_start_that_loses_power_at_any_point_can_be_made_again(begun):
    for at in range(100):
        try:
            Store.open(begun, disk=PowerCut(at)).close()
        except PowerCutError:
            continue
        break
    assert at > 8
    with Store.open(begun) as store:
        assert held(store, BIG.content) == BIG.data
        assert store.partials.open(SMALL.content, SMALL.table).complete


def test_a_start_on_a_disk_that_became_read_only_is_refused_at_any_point_and_loses_nothing(begun):
    for at in range(100):
        try:
            Store.open(begun, disk=ReadOnlyDisk(at)).close()
        except RefusedError:
            continue
        break
    assert at > 8
    with Store.open(begun) as store:
        assert held(store, BIG.content) == BIG.data


def test_a_start_on_a_full_disk_is_possible_to_make_room(begun):
    room = FullDisk()
    with Store.open(begun, disk=room) as store:
        room.fail()
        assert store.blobs.remove(BIG.content)
        assert not begun.blob(BIG.content).exists()
        with pytest.raises(NoSpaceError):
            store.partials.open(BIG.content, BIG.table).accept(0, memoryview(BIG.piece(0)))
    assert [path for path in leftovers(begun) if "journal" in path] == []


@pytest.fixture
def lost(layout):
    """A store whose index was lost, as `RefusedError` tells people to do with a damaged one."""
    with Store.open(layout) as store:
        bring(store, BIG)
        bring(store, SMALL)
    layout.index.unlink()
    return layout


class TestALostIndex:
    def test_costs_no_piece(self, lost):
        with Store.open(lost) as store:
            assert not store.blobs.has(BIG.content)
            for sample in (BIG, SMALL):
                partial = store.partials.open(sample.content, sample.table)
                assert partial.complete
                partial.commit()
                store.partials.close(partial)
                assert held(store, sample.content) == sample.data
        assert leftovers(lost) == []

    def test_makes_no_blob_of_bytes_that_changed_meanwhile(self, lost):
        path = lost.blob(BIG.content)
        path.chmod(0o644)
        path.write_bytes(BIG.data[:450_000] + bytes(100_000) + BIG.data[550_000:])
        with Store.open(lost) as store:
            partial = store.partials.open(BIG.content, BIG.table)
            assert [(run.first, run.count) for run in partial.missing()] == [(4, 2)]

    def test_lets_the_same_files_be_published_again(self, lost, tmp_path):
        (tmp_path / "file").write_bytes(BIG.data)
        with Store.open(lost) as store:
            found = store.blobs.ingest(tmp_path / "file")
            assert held(store, found.content) == BIG.data
            assert store.blobs.totals() == (1, len(BIG.data))

    @pytest.mark.parametrize("what", ["link", "folder"])
    def test_takes_nothing_that_is_no_file(self, lost, tmp_path, what):
        path = lost.blob(BIG.content)
        (tmp_path / "precious").write_bytes(b"precious")
        path.unlink()
        path.symlink_to(tmp_path / "precious") if what == "link" else path.mkdir()
        with Store.open(lost) as store:
            partial = store.partials.open(BIG.content, BIG.table)
            assert partial.count_done == 0
            bring(store, BIG)
            assert held(store, BIG.content) == BIG.data
        assert (tmp_path / "precious").read_bytes() == b"precious"
        assert (tmp_path / "precious").stat().st_mode & 0o777 != 0o600

    def test_survives_a_power_cut_at_any_point_of_taking_back(self, lost):
        for at in range(100):
            try:
                with Store.open(lost, disk=PowerCut(at)) as store:
                    bring(store, BIG)
                break
            except PowerCutError:
                continue
        assert 20 < at < 99
        with Store.open(lost) as store:
            assert held(store, BIG.content) == BIG.data
        assert leftovers(lost) == []


INGEST = """
import os, sys
from pathlib import Path
from p2phub.store.disk import Disk
from p2phub.store.layout import Layout
from p2phub.store.store import Store

class Stepping(Disk):
    "Asks before every change."
    def _about_to(self, action, path):
        os.write(1, b".")
        os.read(0, 1)

store = Store.open(Layout.of(Path(sys.argv[1])), disk=Stepping())
store.blobs.ingest_many(Path(path) for path in sys.argv[2:])
os.write(1, b"!")
"""


def ingest_until(layout, files, changes):
    """Let a process take in files and kill it before that change; whether it was done before."""
    process = subprocess.Popen(
        [sys.executable, "-c", INGEST, str(layout.home), *map(str, files)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
    )
    with process:
        for _ in range(changes):
            process.stdin.write(b".")
        seen = b""
        while len(seen) <= changes and not seen.endswith(b"!"):
            seen += process.stdout.read(1)
        process.kill()
    return seen.endswith(b"!")


@pytest.mark.budget(120)
def test_a_publish_that_is_killed_anywhere_leaves_no_rubbish_and_no_wrong_byte(layout, tmp_path):
    samples = [make_sample(1_100_000 + n, seed=n, piece=100_000) for n in range(3)]
    samples += [make_sample(3000 + n, seed=n) for n in range(8)]
    files = [tmp_path / f"file-{n}" for n in range(len(samples))]
    for path, sample in zip(files, samples, strict=True):
        path.write_bytes(sample.data)
    with Store.open(layout) as store:  # makes the folders, so that all runs are alike
        for found in store.blobs.ingest_many(files):
            store.blobs.remove(found.content)
    kept, done = [], []  # several threads read: where the row comes is not the same in each run
    for changes in [9, 16, 31, 41, 46, 50, 54, 57, 58, 60, 62, 64, 66, 69, 40, 1000]:
        done.append(ingest_until(layout, files, changes))
        with Store.open(layout) as store:
            for content in store.blobs.every():
                assert store.blobs.verify(content) == []
            for content in store.partials.list():
                assert store.partials.remove(content)
            assert leftovers(layout) == []
            rows = {layout.blob(content) for content in store.blobs.every()}
            assert set(layout.blobs.rglob("*-*")) == rows
            kept.append(len(rows))
            assert kept[-1] in (0, 11)
    assert kept == sorted(kept)
    assert (kept[0], kept[-1]) == (0, 11)
    assert (done[0], done[-1]) == (False, True)
