"""Blobs that are files of a person: used where they lie, never touched, never believed unseen."""

import contextlib
import os
import stat
import threading

import pytest

from p2phub.errors import (
    DamagedBlobError,
    FileChangedError,
    NoSpaceError,
    NotFoundError,
    P2PHubError,
    RefusedError,
    UsageError,
)
from p2phub.formats.ids import PublisherId, RepoId
from p2phub.store import ingest, intake
from p2phub.store.disk import Disk
from p2phub.store.layout import Layout
from p2phub.store.reader import BlobReader
from p2phub.store.stamp import Stamp
from p2phub.store.store import Store
from p2phub.testing.disks import CountingDisk, FullDisk, PowerCut, PowerCutError
from p2phub.testing.files import random_bytes
from p2phub.testing.samples import make_sample

from .conftest import bring, held, leftovers

SIZE = 1_300_000
REPO = RepoId(PublisherId(bytes(32)), "model")
COMMIT = "0" * 40


@pytest.fixture
def file(tmp_path):
    file = tmp_path / "model" / "big.bin"
    file.parent.mkdir()
    file.write_bytes(random_bytes("big", SIZE))
    return file


@pytest.fixture
def placed(store, file):
    return store.blobs.ingest(file, in_place=True).content


def looked_at(file):
    """What a look at a file tells of it, but for the time it was last read."""
    found = file.lstat()
    return found.st_mode, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def seen(file):
    """All that can be seen of a file, but for that time."""
    return file.read_bytes(), looked_at(file)


def stored_bytes(layout):
    return sum(path.lstat().st_blocks * 512 for path in layout.blobs.rglob("*"))


def test_a_file_in_place_is_a_blob_and_no_second_copy(store, file, placed, layout):
    assert held(store, placed) == file.read_bytes()
    assert store.blobs.place(placed) == file
    assert stored_bytes(layout) < SIZE // 100
    assert store.blobs.totals() == (1, 0)
    assert leftovers(layout) == []
    assert store.blobs.sha256(placed) is not None


def test_it_is_there_after_a_restart(reopen, file):
    content = reopen().blobs.ingest(file, in_place=True).content
    assert held(reopen(), content) == file.read_bytes()
    assert held(reopen(read_only=True), content) == file.read_bytes()


def test_its_pieces_are_found_by_others(store, placed, file):
    table = store.blobs.table(placed)
    assert table.digest(0) in store.blobs.find_pieces([table.digest(0)])


def test_a_quota_does_not_count_what_lies_elsewhere(reopen, file):
    store = reopen(quota=SIZE // 2)
    store.blobs.ingest(file, in_place=True)
    assert store.blobs.total_bytes() == 0


def test_nothing_that_happens_to_the_blob_happens_to_the_file(store, file, placed):
    before = seen(file)
    store.snapshots.present(REPO, COMMIT, [(("big.bin",), placed)])
    held(store, placed)
    store.blobs.verify(placed)
    store.snapshots.remove(REPO, COMMIT)
    assert store.blobs.remove(placed)
    assert not store.blobs.known(placed)
    assert not os.path.lexists(store.blobs.path(placed))
    assert seen(file) == before


def grow(file):
    with file.open("ab") as out:
        out.write(b"more")


def cut(file):
    os.truncate(file, SIZE - 1)


def empty(file):
    os.truncate(file, 0)


def edit(file):
    with file.open("r+b") as out:
        out.seek(SIZE // 2)
        out.write(b"changed")


def edit_and_set_the_time_back(file):
    times = file.stat()
    edit(file)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))


def replace(file):
    other = file.with_name("other")
    other.write_bytes(random_bytes("other", SIZE))
    other.rename(file)


def replace_by_a_link(file):
    other = file.with_name("other")
    other.write_bytes(random_bytes("other", SIZE))
    file.unlink()
    file.symlink_to(other)


def replace_by_a_folder(file):
    file.unlink()
    file.mkdir()


def replace_by_a_pipe(file):
    file.unlink()
    os.mkfifo(file)


CHANGES = [grow, cut, empty, edit, edit_and_set_the_time_back, replace]
OTHER_KINDS = [replace_by_a_link, replace_by_a_folder, replace_by_a_pipe]


@pytest.mark.parametrize("change", [*CHANGES, *OTHER_KINDS])
def test_a_file_that_was_changed_is_named_and_not_given_out(store, file, placed, layout, change):
    change(file)
    before = looked_at(file)
    with pytest.raises(DamagedBlobError, match=r"big\.bin"):
        store.blobs.open_verified(placed)
    assert not store.blobs.has(placed)
    assert not os.path.lexists(store.blobs.path(placed))
    assert list(layout.quarantine.iterdir()) == []
    assert looked_at(file) == before


@pytest.mark.parametrize("change", CHANGES)
def test_an_examined_file_that_was_changed_is_not_touched(store, file, placed, change, layout):
    change(file)
    before = seen(file)
    assert store.blobs.examine(placed).bad_pieces
    assert not store.blobs.known(placed)
    assert list(layout.quarantine.iterdir()) == []
    assert seen(file) == before


@pytest.mark.parametrize("change", CHANGES)
def test_a_reader_gives_nothing_out_that_was_changed_meanwhile(store, file, placed, change):
    if change is replace:
        pytest.skip("the open file is still the old one")
    reader = BlobReader(store.blobs.open_verified(placed), file, store.blobs.stamp(placed))
    buffer = memoryview(bytearray(1000))
    assert reader.read_into(0, buffer) == 1000
    change(file)
    with pytest.raises(DamagedBlobError, match=r"big\.bin changed"):
        reader.read_into(SIZE // 2, buffer)
    reader.close()


def test_a_file_that_only_got_another_mode_or_name_beside_is_still_used(store, file, placed):
    file.chmod(0o400)
    os.link(file, file.with_name("twin"))
    assert held(store, placed) == file.read_bytes()
    assert file.stat().st_mode & 0o777 == 0o400
    assert store.blobs.stamp(placed) == Stamp.of(file.stat())


def test_of_two_hard_links_one_may_go(store, file):
    twin = file.with_name("twin")
    os.link(file, twin)
    first, second = store.blobs.ingest_many([file, twin], in_place=True)
    assert first.content == second.content
    twin.unlink()
    assert held(store, first.content) == file.read_bytes()


@pytest.mark.parametrize("whole_folder", [False, True])
def test_a_file_that_vanished_is_not_here_any_more_and_can_come_from_elsewhere(
    store, file, placed, whole_folder
):
    data = file.read_bytes()
    file.unlink()
    if whole_folder:
        file.parent.rmdir()
        file.parent.touch()
    with pytest.raises(DamagedBlobError, match=r"big\.bin.*not here any more"):
        store.blobs.open_verified(placed)
    assert not store.blobs.has(placed)
    with pytest.raises(NotFoundError):
        store.blobs.open_verified(placed)
    sample = make_sample(SIZE, seed="big")
    assert sample.data == data
    bring(store, sample)
    assert held(store, sample.content) == data
    assert store.blobs.place(sample.content) is None


def test_a_program_that_writes_through_a_snapshot_is_noticed(store, file, placed):
    folder = store.snapshots.present(REPO, COMMIT, [(("big.bin",), placed)])
    assert (folder / "big.bin").read_bytes() == file.read_bytes()
    assert store.snapshots.check(REPO, COMMIT, [(("big.bin",), placed)]).wrong == ()
    with (folder / "big.bin").open("wb") as out:  # as `save_pretrained` does
        out.write(random_bytes("saved", SIZE))
    (wrong,) = store.snapshots.check(REPO, COMMIT, [(("big.bin",), placed)]).wrong
    assert str(file) in wrong.reason
    assert file.read_bytes() == random_bytes("saved", SIZE)


@pytest.mark.parametrize("damage", ["gone", "elsewhere", "a file"])
def test_the_link_that_snapshots_follow_is_mended(store, file, placed, damage, tmp_path):
    link = store.blobs.path(placed)
    link.unlink()
    if damage == "elsewhere":
        link.symlink_to(tmp_path)
    elif damage == "a file":
        link.write_bytes(b"what is this")
    assert held(store, placed) == file.read_bytes()
    assert link.readlink() == file


def test_a_copy_that_is_asked_for_later_takes_the_place_of_the_file(store, file, placed, layout):
    before = seen(file)
    again = store.blobs.ingest(file)
    assert (again.content, again.bytes_hashed) == (placed, SIZE)
    assert store.blobs.place(placed) is None
    assert store.blobs.totals() == (1, SIZE)
    assert seen(file) == before
    file.unlink()
    assert held(store, placed) == before[0]
    assert stat.S_IMODE(store.blobs.path(placed).lstat().st_mode) == 0o444
    assert leftovers(layout) == []


def test_what_is_a_copy_already_stays_one(store, file):
    content = store.blobs.ingest(file).content
    assert store.blobs.ingest(file, in_place=True).content == content
    assert store.blobs.place(content) is None


def test_a_link_is_followed_once_and_for_all(store, file, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(file)
    content = store.blobs.ingest(link, in_place=True).content
    link.unlink()
    assert store.blobs.place(content) == file
    assert held(store, content) == file.read_bytes()


def test_a_file_of_the_store_itself_is_not_taken_in_place(store, layout):
    stray = layout.store / "stray"
    stray.write_bytes(b"stray")
    with pytest.raises(UsageError, match="in the store"):
        store.blobs.ingest(stray, in_place=True)
    assert store.blobs.totals()[0] == 0


def test_a_blob_of_the_store_stays_what_it_is(store, file):
    content = store.blobs.ingest(file).content
    path = store.blobs.path(content)
    assert store.blobs.ingest(path, in_place=True).content == content
    assert path.is_file()
    assert not path.is_symlink()
    assert store.blobs.place(content) is None


def test_a_file_that_may_not_be_read_is_refused(store, file):
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    file.chmod(0)
    with pytest.raises(RefusedError, match=r"big\.bin"):
        store.blobs.ingest(file, in_place=True)


def test_files_of_a_folder_that_nobody_may_write_to(store, file):
    file.chmod(0o444)
    file.parent.chmod(0o555)
    content = store.blobs.ingest(file, in_place=True).content
    assert held(store, content) == file.read_bytes()
    file.parent.chmod(0o755)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("in_place", [False, True])
def test_a_file_that_changes_while_it_is_read(store, file, change, in_place, monkeypatch, layout):
    changed = []

    def meddling(*given):
        if not changed:
            changed.append(change(file))
        return read_into(*given)

    read_into = ingest.read_into
    monkeypatch.setattr(ingest, "read_into", meddling)
    with pytest.raises(FileChangedError, match=r"big\.bin"):
        store.blobs.ingest(file, in_place=in_place)
    assert store.blobs.totals() == (0, 0)
    assert leftovers(layout) == []


def test_one_bad_file_among_many_leaves_none_of_them_behind(store, tmp_path, monkeypatch, layout):
    monkeypatch.setattr(intake, "BATCH_FILES", 2)
    files = [tmp_path / f"f{number}" for number in range(9)]
    for number, path in enumerate(files[:-1]):
        path.write_bytes(random_bytes(number, 1000))
    with pytest.raises(FileChangedError):
        store.blobs.ingest_many(files, in_place=True)
    assert store.blobs.totals() == (0, 0)
    assert [path for path in layout.blobs.rglob("*") if not path.is_dir()] == []
    assert all(path.exists() for path in files[:-1])


@pytest.mark.parametrize("fault", [FullDisk, PowerCut])
def test_a_full_disk_or_a_power_cut_at_any_point_loses_no_file(
    tmp_path, file, layout, fault, remake
):
    before = seen(file)
    counting = CountingDisk()
    with Store.open(remake("count"), disk=counting) as store:
        first = len(counting.changes)
        store.blobs.remove(store.blobs.ingest(file, in_place=True).content)
    assert len(counting.changes) - first >= 3
    for at in range(first, len(counting.changes)):
        layout = remake(at)
        store = Store.open(layout, disk=fault(at))
        with contextlib.suppress(NoSpaceError, PowerCutError):
            store.blobs.remove(store.blobs.ingest(file, in_place=True).content)
        store.close()
        with Store.open(layout) as store:
            for content in store.blobs.every():
                assert held(store, content) == before[0]
            assert leftovers(layout) == []
            content = store.blobs.ingest(file, in_place=True).content
            assert held(store, content) == before[0]
        assert seen(file) == before


@pytest.fixture
def remake(tmp_path):
    def fresh(name):
        return Layout.of(tmp_path / f"home-{name}")

    return fresh


@pytest.mark.parametrize("change", CHANGES)
def test_what_a_file_held_before_it_was_published_again_is_here_no_more(
    store, file, placed, change
):
    change(file)
    again = store.blobs.ingest(file, in_place=True).content
    assert not store.blobs.has(placed)
    assert not os.path.lexists(store.blobs.path(placed))
    assert store.blobs.every() == [again]
    assert held(store, again) == file.read_bytes()


# ------------------------------------------------------------ a second publish


@pytest.mark.parametrize("in_place", [False, True])
def test_an_unchanged_file_is_not_read_again(store, file, in_place):
    first = store.blobs.ingest(file, in_place=in_place)
    again = store.blobs.ingest(file, in_place=in_place)
    assert (again.content, again.sha256, again.git_sha1) == (
        first.content,
        first.sha256,
        first.git_sha1,
    )
    assert again.table == first.table
    assert first.bytes_hashed == SIZE
    assert 0 < again.bytes_hashed < SIZE
    assert store.blobs.ingest(file, in_place=in_place, rehash=True).bytes_hashed == SIZE


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_file_is_read_again(store, file, change, in_place):
    first = store.blobs.ingest(file, in_place=in_place)
    change(file)
    again = store.blobs.ingest(file, in_place=in_place)
    assert again.content != first.content
    assert again.bytes_hashed == file.stat().st_size
    assert held(store, again.content) == file.read_bytes()


def test_a_sample_finds_what_the_stamp_does_not_show(store, file, monkeypatch):
    first = store.blobs.ingest(file)
    found = Stamp.of(file.stat())
    edit(file)
    with file.open("r+b") as out:
        out.write(b"changed")
    monkeypatch.setattr(Stamp, "of", classmethod(lambda kind, status: found))
    monkeypatch.setattr(intake, "sample", lambda table: range(table.count))
    assert store.blobs.ingest(file).content != first.content


def test_a_known_file_whose_blob_is_gone_or_damaged_is_read_again(store, file):
    content = store.blobs.ingest(file).content
    store.blobs.path(content).unlink()
    assert store.blobs.ingest(file).bytes_hashed == SIZE
    path = store.blobs.path(content)
    path.chmod(0o600)
    edit(path)
    assert store.blobs.ingest(file).bytes_hashed == SIZE
    assert held(store, content) == file.read_bytes()
    store.blobs.remove(content)
    assert store.blobs.ingest(file).bytes_hashed == SIZE


def test_many_files_are_read_side_by_side_and_answered_in_order(store, tmp_path, monkeypatch):
    monkeypatch.setattr(intake, "_cores", lambda: 3)
    monkeypatch.setattr(intake, "LANES_FROM", 1000)
    files = [tmp_path / f"f{number}" for number in range(40)]
    for number, path in enumerate(files):
        path.write_bytes(random_bytes(number, 2000 + 100 * (number % 7)))
    threads = set()

    def watched(*given, **more):
        threads.add(threading.get_ident())
        return read(*given, **more)

    read = intake.ingest
    monkeypatch.setattr(intake, "ingest", watched)
    found = store.blobs.ingest_many(files)
    assert [held(store, each.content) for each in found] == [path.read_bytes() for path in files]
    assert 1 < len(threads) <= 3


def test_a_fault_in_one_lane_ends_all_and_leaves_no_copy(store, tmp_path, monkeypatch, layout):
    monkeypatch.setattr(intake, "_cores", lambda: 3)
    monkeypatch.setattr(intake, "LANES_FROM", 1000)
    files = [tmp_path / f"f{number}" for number in range(40)]
    for path in files:
        path.write_bytes(random_bytes(path.name, 2000))
    files[20].unlink()
    with pytest.raises(P2PHubError):
        store.blobs.ingest_many(files)
    assert store.blobs.totals() == (0, 0)
    assert leftovers(layout) == []


def test_the_disk_is_never_told_to_change_a_file_of_a_person(reopen, file):
    counting = CountingDisk()
    store = reopen(disk=counting)
    content = store.blobs.ingest(file, in_place=True).content
    edit(file)
    with pytest.raises(DamagedBlobError):
        store.blobs.open_verified(content)
    store.blobs.ingest(file, in_place=True)
    store.blobs.remove(store.blobs.ingest(file).content)
    assert isinstance(counting, Disk)
    assert not any(str(file) in str(change) for change in counting.changes)
