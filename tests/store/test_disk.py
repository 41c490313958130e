"""What the system says about a disk becomes a sentence a person can act on."""

import ctypes
import errno
import os
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest

from p2phub.errors import NoSpaceError, P2PHubError, QuotaError, RefusedError
from p2phub.store import disk
from p2phub.store.disk import UNTOLD, Disk, disk_errors, read_into

DISK = Disk()


@pytest.mark.parametrize(
    ("code", "ours", "exit"),
    [
        (errno.ENOSPC, NoSpaceError, 5),
        (errno.EFBIG, NoSpaceError, 5),
        (errno.EDQUOT, QuotaError, 5),
        (errno.EROFS, RefusedError, 7),
        (errno.EACCES, RefusedError, 7),
        (errno.EPERM, RefusedError, 7),
        (errno.EIO, P2PHubError, 1),
        (errno.EMFILE, P2PHubError, 1),
    ],
)
def test_an_error_of_the_system_names_the_path_and_a_remedy(code, ours, exit):
    with pytest.raises(P2PHubError) as caught, disk_errors(Path("/somewhere/model")):
        raise OSError(code, os.strerror(code))
    assert type(caught.value) is ours
    assert caught.value.exit == exit
    assert "/somewhere/model" in caught.value.message
    assert caught.value.remedy


def test_every_other_error_of_the_system_is_ours_too():
    for code in errno.errorcode:
        with pytest.raises(P2PHubError), disk_errors(Path("/x")):
            raise OSError(code, os.strerror(code))


def test_a_bug_is_not_taken_for_a_disk_error():
    with pytest.raises(ZeroDivisionError), disk_errors(Path("/x")):
        _ = 1 / 0


def test_a_write_that_the_system_takes_in_parts_is_still_whole(tmp_path, monkeypatch):
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: real(fd, data[:3], offset))
    fd = DISK.create(tmp_path / "f")
    DISK.write(fd, b"0123456789", 2, tmp_path / "f")
    os.close(fd)
    assert (tmp_path / "f").read_bytes() == b"\0\0" + b"0123456789"


def test_a_read_that_the_system_gives_in_parts_is_still_whole(tmp_path, monkeypatch):
    (tmp_path / "f").write_bytes(b"0123456789")
    real = os.preadv
    monkeypatch.setattr(
        os, "preadv", lambda fd, buffers, offset: real(fd, [buffers[0][:3]], offset)
    )
    buffer = bytearray(20)
    fd = os.open(tmp_path / "f", os.O_RDONLY)
    assert read_into(fd, memoryview(buffer), 1, tmp_path / "f") == 9
    os.close(fd)
    assert buffer[:9] == b"123456789"


def test_a_new_file_is_private_and_never_an_old_one(tmp_path):
    os.close(DISK.create(tmp_path / "f"))
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o600
    with pytest.raises(P2PHubError, match="exists"):
        DISK.create(tmp_path / "f")


def test_a_link_in_the_place_of_a_file_is_not_followed(tmp_path):
    (tmp_path / "precious").write_bytes(b"data")
    (tmp_path / "f").symlink_to(tmp_path / "precious")
    with pytest.raises(P2PHubError):
        DISK.open_file(tmp_path / "f")


def test_renaming_to_a_new_name_overwrites_nothing(tmp_path):
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    assert not DISK.rename_new(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_text() == "b"
    assert DISK.rename_new(tmp_path / "a", tmp_path / "c")
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP])
def test_a_stick_without_hard_links_takes_a_new_file_all_the_same(tmp_path, monkeypatch, code):
    def no_links(source, target):
        if Path(target).exists():
            raise FileExistsError(errno.EEXIST, "File exists")
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", no_links)
    (tmp_path / "a").write_text("a")
    assert DISK.rename_new(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_text() == "a"


def test_a_sealed_folder_can_be_removed_and_what_its_links_mean_stays(tmp_path):
    (tmp_path / "precious").write_text("data")
    folder = tmp_path / "snapshot" / "deep"
    folder.mkdir(parents=True)
    (folder / "link").symlink_to(tmp_path / "precious")
    folder.chmod(0o555)
    folder.parent.chmod(0o555)
    DISK.remove_tree(tmp_path / "snapshot")
    assert not (tmp_path / "snapshot").exists()
    assert (tmp_path / "precious").read_text() == "data"


def test_what_is_gone_already_can_be_removed(tmp_path):
    DISK.remove(tmp_path / "nothing")
    DISK.remove_tree(tmp_path / "nothing")


def test_a_whole_file_system_can_be_synced(tmp_path):
    DISK.sync_all(tmp_path)
    with pytest.raises(P2PHubError):
        DISK.sync_all(tmp_path / "nothing")


def test_removing_a_tree_that_is_a_link_or_a_file_removes_that_and_nothing_behind_it(tmp_path):
    (tmp_path / "outside").mkdir(mode=0o705)
    (tmp_path / "outside" / "precious").touch()
    (tmp_path / "link").symlink_to("outside")
    (tmp_path / "file").touch()
    for name in ("link", "file"):
        DISK.remove_tree(tmp_path / name)
        assert not os.path.lexists(tmp_path / name)
    assert (tmp_path / "outside" / "precious").exists()
    assert (tmp_path / "outside").stat().st_mode & 0o777 == 0o705


def test_a_system_that_cannot_begin_to_write_is_no_error(tmp_path, monkeypatch):
    fd = DISK.create(tmp_path / "file")
    DISK.write(fd, b"x" * 10_000, 0, tmp_path / "file")
    DISK.begin_writing(fd)
    monkeypatch.setattr(disk, "_libc", object)
    DISK.begin_writing(fd)
    os.close(fd)


def test_bytes_that_are_to_come_have_their_blocks(tmp_path):
    path = tmp_path / "file"
    fd = DISK.create(path)
    DISK.resize(fd, 4 << 20, path)
    can = DISK.allocate(fd, 1 << 20, 2 << 20, path)
    found = os.fstat(fd)
    if not can:
        os.close(fd)
        pytest.skip("this file system gives no blocks beforehand")
    assert (found.st_size, found.st_blocks * 512) == (4 << 20, 2 << 20)
    assert os.pread(fd, 4 << 20, 0) == bytes(4 << 20)
    os.close(fd)


def test_a_system_that_cannot_give_blocks_beforehand_is_no_error(tmp_path, monkeypatch):
    ours, theirs = os.pipe()
    assert not DISK.allocate(theirs, 0, 1 << 20, tmp_path / "pipe")
    os.close(ours)
    os.close(theirs)
    fd = DISK.create(tmp_path / "file")
    assert not DISK.allocate(fd, 0, 1 << 60, tmp_path / "file")  # there is no such room
    monkeypatch.setattr(disk, "_libc", object)
    assert not DISK.allocate(fd, 0, 1 << 20, tmp_path / "file")
    os.close(fd)


def test_a_file_system_that_tells_no_sizes_is_not_taken_for_a_full_one(tmp_path, monkeypatch):
    told = os.statvfs(tmp_path)
    nothing = os.statvfs_result((1024, 1024, 0, 0, 0, *tuple(told)[5:]))
    monkeypatch.setattr(os, "statvfs", lambda path: nothing)
    assert DISK.free_bytes(tmp_path) == UNTOLD


@pytest.mark.parametrize("code", [None, errno.ENOSYS])
def test_a_system_that_cannot_write_out_a_part_writes_out_all(tmp_path, monkeypatch, code):
    path, all_of = tmp_path / "file", []
    fd = DISK.create(path)
    DISK.write(fd, b"x" * 10_000, 0, path)
    monkeypatch.setattr(os, "fdatasync", all_of.append)
    DISK.write_out(fd, 0, 10_000, path)
    assert all_of == []
    monkeypatch.setattr(disk, "_libc", lambda: failing("sync_file_range", code))
    DISK.write_out(fd, 0, 10_000, path)
    assert all_of == [fd]
    os.close(fd)


def test_what_cannot_be_written_out_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(disk, "_libc", lambda: failing("sync_file_range", errno.ENOSPC))
    with pytest.raises(NoSpaceError):
        DISK.write_out(0, 0, 1, tmp_path)


def failing(call, code):
    """A libc whose call fails with this code, or that has no such call."""

    def fail(*_):
        ctypes.set_errno(code)
        return -1

    return SimpleNamespace(**({call: fail} if code else {}))
