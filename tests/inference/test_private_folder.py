"""What a worker that was killed left behind is removed, and nothing that is in use."""

import os
import signal
import subprocess
import sys

import pytest

from p2phub.inference.private_folder import PrivateFolder, remove_abandoned

KILLED = """
import sys, time
from pathlib import Path
from p2phub.inference.private_folder import PrivateFolder
made = PrivateFolder(Path(sys.argv[1]))
made.write(("a", "b.json"), b"{}")
print(made.path, flush=True)
time.sleep(60)
"""


def test_it_is_for_its_user_alone(tmp_path):
    made = PrivateFolder(tmp_path)
    made.write(("a", "b.json"), b"{}")
    assert made.path.stat().st_mode & 0o777 == 0o700
    assert (made.path / "a" / "b.json").stat().st_mode & 0o777 == 0o600
    made.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_never_written_over(tmp_path):
    made = PrivateFolder(tmp_path)
    made.write(("a",), b"first")
    with pytest.raises(FileExistsError):
        made.write(("a",), b"second")
    (made.path / "b").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        made.write(("b",), b"through a link")
    made.remove()
    assert not (tmp_path / "elsewhere").exists()


def test_one_that_is_in_use_stays(tmp_path):
    first, second = PrivateFolder(tmp_path), PrivateFolder(tmp_path)
    assert first.path.is_dir()
    first.remove()
    assert second.path.is_dir()
    second.remove()


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path):
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        left = process.stdout.readline().strip()
        remove_abandoned(tmp_path)
        assert os.path.exists(left)
        process.send_signal(signal.SIGKILL)
    assert os.path.exists(left)
    made = PrivateFolder(tmp_path)
    assert list(tmp_path.iterdir()) == [made.path]
    made.remove()


def test_a_link_with_such_a_name_is_not_followed(tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "place").mkdir()
    (tmp_path / "place" / "p2phub-model-x").symlink_to(tmp_path / "precious")
    remove_abandoned(tmp_path / "place")
    assert (tmp_path / "precious").is_dir()
