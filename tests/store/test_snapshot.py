"""Folders of links: what people and programs see, and what may have been done to them."""

import os
import stat

import pytest

from p2phub.errors import NoSpaceError, UnsafePathError
from p2phub.formats.ids import PublisherId, RepoId
from p2phub.testing.disks import CountingDisk, FullDisk, PowerCut, PowerCutError
from p2phub.testing.samples import make_sample

from .conftest import bring, held
from .test_blobs import flip

REPO = RepoId(PublisherId(b"p" * 32), "minilm")
COMMIT = "ab" * 20
CONFIG, WEIGHTS, DEEP = (make_sample(n, seed=n) for n in (10, 1_100_000, 30))
FILES = [
    (("config.json",), CONFIG.content),
    (("model.safetensors",), WEIGHTS.content),
    (("onnx", "int8", "model.onnx"), DEEP.content),
    (("copy of config.json",), CONFIG.content),
]


@pytest.fixture
def filled(store):
    for sample in (CONFIG, WEIGHTS, DEEP):
        bring(store, sample)
    return store


@pytest.fixture
def folder(filled):
    return filled.snapshots.present(REPO, COMMIT, FILES)


def check(store, files=FILES):
    return store.snapshots.check(REPO, COMMIT, files)


def everything(folder):
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()
    )


def test_every_file_can_be_read_at_its_path(folder):
    assert (folder / "config.json").read_bytes() == CONFIG.data
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS.data
    assert (folder / "onnx" / "int8" / "model.onnx").read_bytes() == DEEP.data
    assert len(everything(folder)) == 4


def test_the_folder_lies_under_its_publisher_name_and_commit(filled, folder, layout):
    assert folder == layout.snapshots / str(REPO.publisher) / "minilm" / COMMIT
    assert folder == filled.snapshots.path(REPO, COMMIT)


def test_links_are_relative_so_that_a_store_can_be_moved(filled, folder, layout, tmp_path):
    assert all(not os.readlink(folder / name).startswith("/") for name in everything(folder))
    filled.close()
    moved = tmp_path / "elsewhere"
    layout.store.rename(moved)
    again = moved / folder.relative_to(layout.store)
    assert (again / "onnx" / "int8" / "model.onnx").read_bytes() == DEEP.data


def test_the_folders_are_closed_for_writing(folder):
    for place in (folder, folder / "onnx", folder / "onnx" / "int8"):
        assert stat.S_IMODE(place.stat().st_mode) == 0o555


def test_presenting_twice_changes_nothing(filled, folder):
    before = (folder / "config.json").lstat().st_ino
    assert filled.snapshots.present(REPO, COMMIT, FILES) == folder
    assert (folder / "config.json").lstat().st_ino == before


def test_more_files_of_a_release_join_those_that_are_there(filled):
    folder = filled.snapshots.present(REPO, COMMIT, FILES[:1])
    assert everything(folder) == ["config.json"]
    filled.snapshots.present(REPO, COMMIT, FILES[2:])
    assert everything(folder) == ["config.json", "copy of config.json", "onnx/int8/model.onnx"]
    assert check(filled).wrong == ()
    assert check(filled).absent == (("model.safetensors",),)
    assert stat.S_IMODE((folder / "onnx").stat().st_mode) == 0o555


@pytest.mark.parametrize("path", [("..", "evil"), ("/etc/passwd",), ("a", "..", "b"), ()])
def test_a_path_that_leaves_the_folder_is_refused_here_too(filled, layout, path):
    with pytest.raises(UnsafePathError):
        filled.snapshots.present(REPO, COMMIT, [(path, CONFIG.content)])
    assert list(layout.snapshots.iterdir()) == []


class TestCheck:
    def test_finds_nothing_wrong_with_what_was_just_made(self, filled, folder):
        found = check(filled)
        assert set(found.present) == {path for path, _ in FILES}
        assert (found.absent, found.wrong) == ((), ())

    def test_of_a_folder_that_is_not_there_finds_all_absent(self, filled):
        assert check(filled).absent == tuple(path for path, _ in FILES)

    def test_finds_a_file_that_save_pretrained_wrote_through_a_link(self, filled, folder):
        flip(folder / "model.safetensors", 500_000)
        found = check(filled)
        assert [wrong.path for wrong in found.wrong] == [("model.safetensors",)]
        assert "does not match" in found.wrong[0].reason

    @pytest.mark.parametrize("name", ["modeling_evil.py", "onnx/evil.py"])
    def test_finds_a_file_that_is_not_of_the_release(self, filled, folder, name):
        (folder / name).parent.chmod(0o755)
        (folder / name).write_text("import os")
        (wrong,) = check(filled).wrong
        assert "/".join(wrong.path) == name
        assert "not a file of this release" in wrong.reason

    def test_finds_a_file_in_the_place_of_a_link(self, filled, folder):
        folder.chmod(0o755)
        (folder / "config.json").unlink()
        (folder / "config.json").write_bytes(CONFIG.data)
        assert [wrong.path for wrong in check(filled).wrong] == [("config.json",)]

    def test_finds_a_link_that_leads_to_another_blob(self, filled, folder):
        folder.chmod(0o755)
        (folder / "config.json").unlink()
        (folder / "config.json").symlink_to(os.readlink(folder / "model.safetensors"))
        assert [wrong.path for wrong in check(filled).wrong] == [("config.json",)]

    def test_finds_a_folder_that_became_a_link_out_of_the_store(self, filled, folder, tmp_path):
        outside = tmp_path / "outside"
        (folder / "onnx").rename(outside)
        folder.chmod(0o755)
        (folder / "onnx").symlink_to(outside)
        found = check(filled)
        assert [wrong.path for wrong in found.wrong] == [("onnx",)]
        assert found.absent == (("onnx", "int8", "model.onnx"),)

    def test_finds_a_blob_that_is_gone(self, filled, folder):
        filled.blobs.remove(DEEP.content)
        assert [wrong.path for wrong in check(filled).wrong] == [("onnx", "int8", "model.onnx")]

    def test_reads_no_blob_that_nobody_touched(self, filled, folder, monkeypatch):
        def never(*args, **options):
            raise AssertionError("read")

        monkeypatch.setattr("p2phub.store.blobs.bad_pieces", never)
        assert check(filled).wrong == ()

    def test_works_on_a_store_that_is_open_for_reading(self, filled, folder, reopen):
        assert check(reopen(read_only=True)).wrong == ()


class TestMending:
    def test_presenting_again_puts_right_what_was_changed(self, filled, folder, tmp_path):
        folder.chmod(0o755)
        (folder / "config.json").unlink()
        (folder / "config.json").write_text("changed")
        (folder / "onnx").rename(tmp_path / "outside")
        (folder / "onnx").symlink_to(tmp_path / "outside")
        filled.snapshots.present(REPO, COMMIT, FILES)
        assert check(filled).wrong == ()
        assert check(filled).absent == ()
        assert everything(tmp_path / "outside") == ["int8/model.onnx"]

    @pytest.mark.parametrize("what", ["link", "file"])
    def test_what_a_person_put_in_the_place_of_the_folder_is_not_built_into(
        self, filled, folder, tmp_path, what
    ):
        mine = tmp_path / "mine"
        mine.mkdir()
        (mine / "config.json").write_text("precious")
        folder.rename(tmp_path / "away")
        folder.symlink_to(mine) if what == "link" else folder.write_text("stray")
        filled.snapshots.present(REPO, COMMIT, FILES)
        assert (mine / "config.json").read_text() == "precious"
        assert everything(mine) == ["config.json"]
        assert check(filled).wrong == check(filled).absent == ()

    def test_saving_a_changed_model_into_it_loses_the_blobs_it_wrote_to_and_no_other(
        self, filled, folder
    ):
        (folder / "config.json").chmod(0o644)  # as root, who needs no right to write
        for name in ("config.json", "generation_config.json"):
            folder.chmod(0o755)
            with (folder / name).open("wb") as file:
                file.write(b"changed")
        found = check(filled)
        assert {wrong.path for wrong in found.wrong} == {
            ("config.json",),
            ("copy of config.json",),
            ("generation_config.json",),
        }
        assert not filled.blobs.has(CONFIG.content)
        bring(filled, CONFIG)
        filled.snapshots.present(REPO, COMMIT, FILES)
        assert (folder / "config.json").read_bytes() == CONFIG.data
        assert [wrong.path for wrong in check(filled).wrong] == [("generation_config.json",)]
        assert held(filled, WEIGHTS.content) == WEIGHTS.data

    def test_removing_leaves_the_blobs_and_no_empty_folder(self, filled, folder, layout):
        filled.snapshots.remove(REPO, COMMIT)
        assert list(layout.snapshots.iterdir()) == []
        assert filled.blobs.has(WEIGHTS.content)
        filled.snapshots.remove(REPO, COMMIT)

    def test_removing_one_commit_leaves_the_others(self, filled, folder):
        other = filled.snapshots.present(REPO, "cd" * 20, FILES)
        filled.snapshots.remove(REPO, COMMIT)
        assert other.is_dir()
        assert not folder.exists()


def test_a_power_cut_or_a_full_disk_shows_nobody_half_a_folder(reopen, layout):
    counting = CountingDisk()
    store = reopen(disk=counting)
    for sample in (CONFIG, WEIGHTS, DEEP):
        bring(store, sample)
    first = len(counting.changes)
    store.snapshots.present(REPO, COMMIT, FILES)
    length = len(counting.changes) - first
    store.snapshots.remove(REPO, COMMIT)
    for at in range(length):
        for kind, error in ((PowerCut, PowerCutError), (FullDisk, NoSpaceError)):
            quiet = CountingDisk()
            reopen(disk=quiet)
            store = reopen(disk=kind(len(quiet.changes) + at))
            try:
                folder = store.snapshots.present(REPO, COMMIT, FILES)
            except error:
                folder = store.snapshots.path(REPO, COMMIT)
            store = reopen()
            assert not folder.exists() or len(everything(folder)) == 4
            store.snapshots.present(REPO, COMMIT, FILES)
            assert check(store).wrong == check(store).absent == ()
            assert list(layout.temp.iterdir()) == []
            store.snapshots.remove(REPO, COMMIT)
