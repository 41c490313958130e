"""What is made aside is seen by nobody, and swept when whoever made it is gone."""

import errno
import fcntl
import os
import subprocess
import sys

import pytest

from p2phub.errors import NoSpaceError
from p2phub.store import aside
from p2phub.store.aside import aside_in, file_lock
from p2phub.store.disk import Disk
from p2phub.testing.disks import FullDisk

LEAVING = """
import os, signal, sys
from pathlib import Path
from p2phub.store.aside import aside_in
from p2phub.store.disk import Disk
with aside_in(Path(sys.argv[1]), Disk()) as folder:
    (folder / "half").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_folder_is_gone_with_what_is_left_in_it(tmp_path):
    with aside_in(tmp_path, Disk()) as folder:
        assert folder.parent == tmp_path
        (folder / "a" / "b").mkdir(parents=True)
    assert not list(tmp_path.iterdir())


def test_an_error_in_it_leaves_nothing_and_is_told(tmp_path):
    def fail():
        with aside_in(tmp_path, Disk()) as folder:
            (folder / "half").touch()
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        fail()
    assert not list(tmp_path.iterdir())


def test_what_a_killed_process_left_is_swept_and_what_others_use_is_not(tmp_path):
    subprocess.run([sys.executable, "-c", LEAVING, str(tmp_path)], check=False)
    (left,) = tmp_path.iterdir()
    with aside_in(tmp_path, Disk()) as mine:
        assert not left.exists()
        with aside_in(tmp_path, Disk()) as other:
            assert mine.exists()
            assert other != mine


def test_links_and_files_of_such_a_name_are_not_followed(tmp_path):
    (tmp_path / "theirs").mkdir()
    (tmp_path / ".p2phub-link").symlink_to(tmp_path / "theirs")
    (tmp_path / ".p2phub-file").touch()
    with aside_in(tmp_path, Disk()):
        pass
    assert (tmp_path / "theirs").exists()
    assert (tmp_path / ".p2phub-link").is_symlink()
    assert (tmp_path / ".p2phub-file").exists()


def test_a_disk_without_locks_is_worked_on_all_the_same(tmp_path, monkeypatch):
    def no_locks(fd, how):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with aside_in(tmp_path, Disk()) as one, aside_in(tmp_path, Disk()):
        assert one.exists()
    with file_lock(tmp_path / "a.lock", Disk()):
        pass


def test_a_full_disk_is_told(tmp_path):
    with pytest.raises(NoSpaceError), aside_in(tmp_path, FullDisk(0)):
        pass
    with pytest.raises(NoSpaceError), file_lock(tmp_path / "locks" / "a.lock", FullDisk(0)):
        pass


class TestFileLock:
    def test_is_held_while_the_block_lasts_and_the_file_stays(self, tmp_path):
        path = tmp_path / "locks" / "a.lock"
        for _ in range(2):
            with file_lock(path, Disk()), path.open() as other, pytest.raises(BlockingIOError):
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with path.open() as other:
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def test_of_somebody_who_keeps_it_is_not_waited_for_long(self, tmp_path, monkeypatch):
        monkeypatch.setattr(aside, "PATIENCE", 0.02)
        path = tmp_path / "a.lock"
        with path.open("w") as theirs:
            fcntl.flock(theirs, fcntl.LOCK_EX)
            with file_lock(path, Disk()):
                pass

    def test_that_is_a_link_or_a_folder_is_done_without(self, tmp_path):
        (tmp_path / "b.lock").mkdir()
        (tmp_path / "a.lock").symlink_to(tmp_path / "elsewhere")
        for name in ("a.lock", "b.lock"):
            with file_lock(tmp_path / name, Disk()):
                pass
        assert not (tmp_path / "elsewhere").exists()
