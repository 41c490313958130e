"""Files of a person's own: read as they were checked, written whole or not at all."""

import os
import stat

import pytest

from p2phub.errors import NoSpaceError, P2PHubError, RefusedError, UsageError
from p2phub.store.disk import Disk
from p2phub.store.private_file import read_key_file, read_private, write_again, write_new
from p2phub.testing.disks import CountingDisk, FullDisk, PowerCut, PowerCutError, ReadOnlyDisk

LIMIT = 20


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "secret"
    write_new(Disk(), path, b"words", "")
    return path


def test_what_was_written_is_read_and_is_for_its_owner_only(path):
    assert read_private(path, LIMIT) == b"words"
    assert read_key_file(path, LIMIT) == b"words"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert repr(read_private(path, LIMIT)) == "<5 secret bytes>"


@pytest.mark.parametrize("read", [read_private, read_key_file])
def test_what_is_not_there_is_none(tmp_path, read):
    assert read(tmp_path / "none", LIMIT) is None
    assert read(tmp_path / "nowhere" / "none", LIMIT) is None


@pytest.mark.parametrize("read", [read_private, read_key_file])
def test_a_file_of_the_greatest_length_is_read_and_a_longer_one_is_not(path, read):
    path.write_bytes(bytes(LIMIT))
    assert read(path, LIMIT) == bytes(LIMIT)
    path.write_bytes(bytes(LIMIT + 1))
    with pytest.raises(UsageError, match=f"larger than {LIMIT} bytes"):
        read(path, LIMIT)


@pytest.mark.parametrize("read", [read_private, read_key_file])
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_what_others_can_read_is_refused(path, read, mode):
    path.chmod(mode)
    with pytest.raises(RefusedError, match="other users"):
        read(path, LIMIT)


def test_a_link_to_a_passphrase_is_followed_and_its_target_is_checked(path, tmp_path):
    (tmp_path / "link").symlink_to(path)
    assert read_private(tmp_path / "link", LIMIT) == b"words"
    path.chmod(0o644)
    with pytest.raises(RefusedError, match="other users"):
        read_private(tmp_path / "link", LIMIT)


@pytest.mark.parametrize("read", [read_private, read_key_file])
def test_a_pipe_or_a_folder_is_no_secret(tmp_path, read):
    os.mkfifo(tmp_path / "pipe", 0o600)
    (tmp_path / "folder").mkdir(mode=0o700)
    for name in ("pipe", "folder"):
        with pytest.raises(UsageError, match="no plain file"):
            read(tmp_path / name, LIMIT)


@pytest.mark.parametrize("read", [read_private, read_key_file])
def test_what_is_swapped_after_it_was_opened_is_not_taken_for_what_has_its_name_now(
    path, tmp_path, read, monkeypatch
):
    """Others wrote the file that was opened; a good one stands there when its mode is asked."""
    path.chmod(0o666)
    (tmp_path / "good").touch(mode=0o600)

    def open_and_swap(name, *arguments, open=os.open, **options):
        fd = open(name, *arguments, **options)
        if str(name).endswith("secret"):
            (tmp_path / "good").replace(path)
        return fd

    monkeypatch.setattr(os, "open", open_and_swap)
    with pytest.raises(RefusedError, match="other users"):
        read(path, LIMIT)
    assert not (tmp_path / "good").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_we_may_not_read_is_refused(path):
    path.chmod(0o000)
    with pytest.raises(RefusedError):
        read_private(path, LIMIT)


def test_a_new_file_overwrites_nothing_and_leaves_nothing_aside(path):
    with pytest.raises(RefusedError, match="never overwritten") as caught:
        write_new(Disk(), path, b"other", "try this")
    assert caught.value.remedy == "try this"
    assert path.read_bytes() == b"words"
    assert os.listdir(path.parent) == [path.name]


def test_a_link_that_points_nowhere_is_not_written_through(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with pytest.raises(RefusedError, match="never overwritten"):
        write_new(Disk(), tmp_path / "link", b"words", "")
    assert not (tmp_path / "target").exists()


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(P2PHubError, match="nowhere"):
        write_new(Disk(), tmp_path / "nowhere" / "secret", b"words", "")


def test_a_name_is_given_after_the_bytes_are_safe_and_is_made_safe_too(tmp_path):
    for write, last in (
        (lambda disk, path: write_new(disk, path, b"words", ""), "rename_new"),
        (lambda disk, path: write_again(disk, path, b"words"), "rename"),
    ):
        disk = CountingDisk()
        write(disk, tmp_path / last)
        done = [action for action, _ in disk.changes if action != "remove"]
        assert done == ["create", "write", "sync", last, "sync_path"]
        assert disk.changes[-1] == ("sync_path", tmp_path)


def test_a_failing_disk_at_any_point_leaves_a_whole_new_file_or_none(tmp_path):
    for kind, error in (
        (PowerCut, PowerCutError),
        (FullDisk, NoSpaceError),
        (ReadOnlyDisk, RefusedError),
    ):
        for at in range(8):
            path = tmp_path / f"{kind.__name__}-{at}"
            try:
                write_new(kind(at), path, b"words", "")
            except error:
                assert not path.exists() or path.read_bytes() == b"words"
            else:
                assert path.read_bytes() == b"words"


def test_a_failing_disk_at_any_point_leaves_the_old_file_or_the_new_one(path):
    honest = CountingDisk()
    write_again(honest, path, b"words")
    for kind, error in ((PowerCut, PowerCutError), (FullDisk, NoSpaceError)):
        for at in range(len(honest.changes)):
            path.write_bytes(b"words")
            try:
                write_again(kind(at), path, b"other")
            except error:
                assert path.read_bytes() in (b"words", b"other")
            else:
                assert path.read_bytes() == b"other"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
