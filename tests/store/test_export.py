"""Copies that people may change, and that are right or not there."""

import os
import signal
import stat
import subprocess
import sys

import pytest

from p2phub.errors import DamagedBlobError, NoSpaceError, NotFoundError, UnsafePathError
from p2phub.store.disk import Disk
from p2phub.store.export import export, sweep
from p2phub.testing.disks import FullDisk
from p2phub.testing.samples import make_sample

from .conftest import bring
from .test_blobs import flip, rot

CONFIG, WEIGHTS, EMPTY = (make_sample(n, seed=n) for n in (10, 1_100_000, 0))
FILES = [
    (("config.json",), CONFIG.content),
    (("weights", "model.safetensors"), WEIGHTS.content),
    (("empty",), EMPTY.content),
]


@pytest.fixture
def filled(store):
    for sample in (CONFIG, WEIGHTS, EMPTY):
        bring(store, sample)
    return store


def test_every_file_is_a_writable_copy_of_its_own(filled, tmp_path):
    seen = []
    filled.export(FILES, tmp_path / "out", seen.append)
    model = tmp_path / "out" / "weights" / "model.safetensors"
    assert model.read_bytes() == WEIGHTS.data
    assert (tmp_path / "out" / "empty").read_bytes() == b""
    assert sum(seen) == 1_100_010
    assert stat.S_IMODE(model.stat().st_mode) & 0o600 == 0o600
    model.write_bytes(b"mine now")
    os.close(filled.blobs.open_verified(WEIGHTS.content))


def test_what_was_there_is_replaced_and_other_files_stay(filled, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "config.json").write_text("old")
    (out / "notes.txt").write_text("mine")
    filled.export(FILES, out)
    assert (out / "config.json").read_bytes() == CONFIG.data
    assert (out / "notes.txt").read_text() == "mine"
    assert sorted(path.name for path in out.iterdir()) == [
        "config.json",
        "empty",
        "notes.txt",
        "weights",
    ]


def test_a_link_in_the_place_of_a_file_is_replaced_and_not_written_through(filled, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "precious").write_text("data")
    (tmp_path / "out" / "config.json").symlink_to(tmp_path / "precious")
    filled.export(FILES, tmp_path / "out")
    assert (tmp_path / "precious").read_text() == "data"
    assert not (tmp_path / "out" / "config.json").is_symlink()


@pytest.mark.parametrize("damage", [flip, None], ids=["changed", "rotted unseen"])
def test_a_damaged_blob_is_not_handed_out(filled, tmp_path, damage):
    if damage:
        damage(filled.blobs.path(WEIGHTS.content), 600_000)
    else:
        rot(filled, WEIGHTS.content, 600_000)
    with pytest.raises(DamagedBlobError):
        filled.export(FILES[1:], tmp_path / "out")
    assert list((tmp_path / "out" / "weights").iterdir()) == []
    assert not filled.blobs.has(WEIGHTS.content)


def test_a_full_disk_leaves_no_half_file(filled, tmp_path):
    out = tmp_path / "out"
    failed = 0
    for at in range(12):
        try:
            export(filled.blobs, FullDisk(at), FILES[1:2], out)
        except NoSpaceError:
            failed += 1
            assert [path for path in out.rglob("*") if path.is_file()] == []
    assert failed > 3


def test_a_path_that_leaves_the_folder_is_refused(filled, tmp_path):
    with pytest.raises(UnsafePathError):
        filled.export([(("..", "evil"), CONFIG.content)], tmp_path / "out")
    assert not (tmp_path / "evil").exists()


def test_what_is_not_here_is_not_found(store, tmp_path):
    with pytest.raises(NotFoundError):
        store.export(FILES, tmp_path / "out")


def test_a_clone_is_taken_where_the_disk_can(filled, tmp_path):
    class Cloning(Disk):
        def clone(self, source, target):
            os.sendfile(target, source, 0, os.fstat(source).st_size)
            return True

        def write(self, fd, data, offset, path):
            raise AssertionError("a clone needs no copy")

    export(filled.blobs, Cloning(), FILES, tmp_path / "out")
    assert (tmp_path / "out" / "config.json").read_bytes() == CONFIG.data


PATHS = [path for path, _ in FILES]
KILLED = """
import os, signal, sys
from pathlib import Path
from p2phub.formats.ids import ContentId
from p2phub.store.disk import Disk
from p2phub.store.export import export
from p2phub.store.layout import Layout
from p2phub.store.store import Store

class Dying(Disk):
    def sync(self, fd, path):
        os.kill(os.getpid(), signal.SIGKILL)

with Store.open(Layout.of(Path(sys.argv[1]))) as store:
    files = [(("config.json",), ContentId.parse(sys.argv[2]))]
    export(store.blobs, Dying(), files, Path(sys.argv[3]))
"""


def leftovers(folder):
    return list(folder.rglob(".p2phub-*"))


def test_what_a_killed_copy_left_is_swept_by_the_next(filled, tmp_path):
    out = tmp_path / "out"
    home = filled.layout.home
    filled.close()
    words = [sys.executable, "-c", KILLED, str(home), str(CONFIG.content), str(out)]
    assert subprocess.run(words, check=False).returncode == -signal.SIGKILL
    assert len(leftovers(out)) == 1
    sweep(Disk(), PATHS, out)
    assert leftovers(out) == []


def test_what_another_process_is_writing_now_is_not_swept(filled, tmp_path):
    out = tmp_path / "out"
    seen = []

    class Watched(Disk):
        def sync(self, fd, path):
            sweep(Disk(), PATHS, out)  # as another process would: its own open file
            seen.append(path.exists())
            super().sync(fd, path)

    export(filled.blobs, Watched(), FILES, out)
    assert seen == [True] * 3
    assert (out / "config.json").read_bytes() == CONFIG.data
    assert leftovers(out) == []


def test_a_copy_that_was_swept_before_it_was_locked_begins_anew(filled, tmp_path):
    class Late(Disk):
        swept = 0

        def create(self, path, mode):
            fd = super().create(path, mode)
            if not self.swept:
                self.swept = 1
                path.unlink()
            return fd

    export(filled.blobs, Late(), FILES[:1], tmp_path / "out")
    assert (tmp_path / "out" / "config.json").read_bytes() == CONFIG.data


def test_nothing_but_our_own_leftovers_is_swept(tmp_path):
    out = tmp_path / "out"
    (out / "weights").mkdir(parents=True)
    named = [".p2phub-12-zz", ".p2phub-notes", "p2phub-12-0123456789abcdef", "config.json"]
    for name in named:
        (out / name).write_text("mine")
    (out / ".p2phub-1-0123456789abcdef").symlink_to(out / "config.json")
    (out / ".p2phub-2-0123456789abcdef").mkdir()
    os.mkfifo(out / ".p2phub-3-0123456789abcdef")
    ours = out / "weights" / ".p2phub-4-0123456789abcdef"
    ours.write_text("half")
    before = set(out.rglob("*"))
    sweep(Disk(), PATHS, out)
    sweep(Disk(), PATHS, tmp_path / "nowhere")
    sweep(Disk(), [("config.json", "x")], out)
    assert before - set(out.rglob("*")) == {ours}
