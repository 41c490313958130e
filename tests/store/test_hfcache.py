"""A cache of Hugging Face's tools that our store filled: exact, without a copy, never half."""

import errno
import fcntl
import json
import os
import shutil
import threading
from pathlib import Path

import pytest

from p2phub.errors import (
    DamagedBlobError,
    NoSpaceError,
    P2PHubError,
    RefusedError,
    WrongBytesError,
)
from p2phub.formats.digest import git_blob_sha1, sha256
from p2phub.formats.huggingface import etag_of
from p2phub.formats.manifest import FileEntry
from p2phub.store import aside
from p2phub.store.disk import disk_errors
from p2phub.store.hfcache import CachedRelease, HuggingFaceCache
from p2phub.testing.disks import CountingDisk, FullDisk, PowerCut, PowerCutError
from p2phub.testing.samples import make_sample

from .conftest import bring, held
from .test_blobs import flip

CONFIG, WEIGHTS, EMPTY, OTHER = (make_sample(n, seed=n) for n in (10, 1_100_000, 0, 20))
COMMIT, NEXT = "c" * 40, "d" * 40


def entry(path, sample, *, plain=True):
    git = git_blob_sha1(sample.data) if plain else None
    parts = tuple(path.split("/"))
    return FileEntry(parts, len(sample.data), sha256(sample.data), sample.content, git)


FILES = (
    entry("config.json", CONFIG),
    entry("onnx/deep/model.bin", WEIGHTS, plain=False),
    entry("__init__.py", EMPTY),
)


class CloningDisk(CountingDisk):
    """A disk that shares blocks; here they are copied, which looks the same."""

    def clone(self, source, target):
        os.pwrite(target, os.pread(source, os.fstat(source).st_size, 0), 0)
        return True


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "hub"


@pytest.fixture
def filled(store):
    for sample in (CONFIG, WEIGHTS, EMPTY, OTHER):
        bring(store, sample)
    return store


def release(wanted=FILES, *, files=None, commit=COMMIT, ref="main", kind="model", repo="lab/x"):
    return CachedRelease(kind, repo, commit, ref, files or wanted, wanted)


def write(store, folder, what=None, disk=None):
    return HuggingFaceCache(folder, store.blobs, disk or store.disk).write(what or release())


def told(folder, **where):
    """What the real client finds: the files of a snapshot, and the warnings of a scan."""
    utils = pytest.importorskip("huggingface_hub.utils")
    found = utils.scan_cache_dir(folder)
    assert not found.warnings
    assert not found.incomplete_files
    return {
        (repo.repo_type, repo.repo_id, each.commit_hash, *sorted(each.refs)): sorted(
            str(file.file_path.relative_to(each.snapshot_path)) for file in each.files
        )
        for repo in found.repos
        for each in repo.revisions
    }


class TestWriting:
    def test_gives_what_the_real_client_reads(self, filled, folder):
        snapshot = write(filled, folder)
        assert snapshot == folder / "models--lab--x" / "snapshots" / COMMIT
        assert told(folder) == {
            ("model", "lab/x", COMMIT, "main"): [
                "__init__.py",
                "config.json",
                "onnx/deep/model.bin",
            ]
        }
        link = snapshot / "onnx" / "deep" / "model.bin"
        assert os.readlink(link) == f"../../../../blobs/{sha256(WEIGHTS.data).hex()}"
        assert link.read_bytes() == WEIGHTS.data
        assert (folder / "models--lab--x" / "refs" / "main").read_text() == COMMIT
        assert (folder / "CACHEDIR.TAG").read_text().startswith("Signature: 8a477f597d28d17278")

    def test_copies_no_byte_where_blocks_cannot_be_shared(self, filled, folder):
        write(filled, folder)
        for file in FILES:
            blob = folder / "models--lab--x" / "blobs" / etag_of(file)
            assert blob.is_symlink() == (file.size > 0)
            if file.size:
                assert os.readlink(blob) == str(filled.blobs.path(file.content))

    def test_makes_files_of_their_own_where_blocks_are_shared(self, filled, folder):
        write(filled, folder, disk=CloningDisk())
        blob = folder / "models--lab--x" / "blobs" / etag_of(FILES[1])
        assert not blob.is_symlink()
        blob.write_bytes(b"mine now")
        assert held(filled, WEIGHTS.content) == WEIGHTS.data

    def test_lists_all_files_of_the_commit_also_those_that_were_not_wanted(self, filled, folder):
        tree = pytest.importorskip("huggingface_hub._tree_cache")
        write(filled, folder, release(FILES[:1], files=FILES))
        found = tree.read_tree_cache(str(folder / "models--lab--x"), COMMIT)
        assert sorted(found) == sorted("/".join(file.path) for file in FILES)
        assert found["onnx/deep/model.bin"].lfs_sha256 == sha256(WEIGHTS.data).hex()

    @pytest.mark.parametrize(("kind", "start"), [("dataset", "datasets"), ("space", "spaces")])
    def test_tells_kinds_apart(self, filled, folder, kind, start):
        write(filled, folder, release(kind=kind))
        assert (folder / f"{start}--lab--x").is_dir()
        assert [found[0] for found in told(folder)] == [kind]

    def test_names_no_ref_for_a_release_that_was_asked_for_by_its_commit(self, filled, folder):
        write(filled, folder, release(ref=None))
        assert not (folder / "models--lab--x" / "refs").exists()

    def test_moves_the_ref_and_keeps_the_commit_before(self, filled, folder):
        write(filled, folder)
        write(filled, folder, release((entry("config.json", OTHER),), commit=NEXT))
        assert told(folder) == {
            ("model", "lab/x", COMMIT): ["__init__.py", "config.json", "onnx/deep/model.bin"],
            ("model", "lab/x", NEXT, "main"): ["config.json"],
        }

    def test_takes_refs_with_slashes(self, filled, folder):
        write(filled, folder, release(ref="refs/pr/1"))
        assert [key[-1] for key in told(folder)] == ["refs/pr/1"]

    def test_a_second_time_changes_nothing(self, filled, folder):
        write(filled, folder)
        before = {path: path.lstat() for path in folder.rglob("*")}
        write(filled, folder)
        after = {path: path.lstat() for path in folder.rglob("*")}
        for path in before:
            kept = (before[path].st_ino, before[path].st_mtime_ns)
            if not path.is_dir() or path.is_symlink():
                assert (after[path].st_ino, after[path].st_mtime_ns) == kept, path
        assert before.keys() == after.keys()


class LinklessDisk(CountingDisk):
    """As exFAT is."""

    def link(self, target, path):
        self._about_to("link", path)
        with disk_errors(path):
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))


def test_a_disk_without_links_is_named_as_what_it_is_and_gets_nothing(filled, folder):
    with pytest.raises(RefusedError) as caught:
        write(filled, folder, disk=LinklessDisk())
    assert "symbolic links" in caught.value.message
    assert "--to" in caught.value.remedy
    assert not list((folder / "models--lab--x" / "snapshots").iterdir())


class TestWhatIsThere:
    def test_corrupt_blobs_of_another_program_are_replaced(self, filled, folder):
        blobs = folder / "models--lab--x" / "blobs"
        blobs.mkdir(parents=True)
        (blobs / etag_of(FILES[1])).write_bytes(b"half of it")
        assert (write(filled, folder) / "onnx/deep/model.bin").read_bytes() == WEIGHTS.data

    @pytest.mark.parametrize("disk", [CountingDisk, CloningDisk])
    def test_right_blobs_of_another_program_outlive_ours(self, filled, folder, disk):
        blobs = folder / "models--lab--x" / "blobs"
        blobs.mkdir(parents=True)
        for file, sample in zip(FILES, (CONFIG, WEIGHTS, EMPTY), strict=True):
            (blobs / etag_of(file)).write_bytes(sample.data)
        snapshot = write(filled, folder, disk=disk())
        for sample in (CONFIG, WEIGHTS, EMPTY):
            filled.blobs.remove(sample.content)  # p2phub rm
        assert (snapshot / "config.json").read_bytes() == CONFIG.data
        assert (snapshot / "onnx/deep/model.bin").read_bytes() == WEIGHTS.data

    def test_a_pipe_among_the_blobs_is_not_waited_for(self, filled, folder):
        blobs = folder / "models--lab--x" / "blobs"
        blobs.mkdir(parents=True)
        os.mkfifo(blobs / etag_of(FILES[1]))
        assert (write(filled, folder) / "onnx/deep/model.bin").read_bytes() == WEIGHTS.data

    def test_a_partial_snapshot_is_completed_and_a_wrong_entry_mended(self, filled, folder):
        snapshot = folder / "models--lab--x" / "snapshots" / COMMIT
        (snapshot / "onnx").mkdir(parents=True)
        (snapshot / "notes.txt").write_text("mine")
        (snapshot / "config.json").write_text("edited")
        (snapshot / "onnx" / "deep").symlink_to("/tmp")
        write(filled, folder)
        assert (snapshot / "config.json").read_bytes() == CONFIG.data
        assert (snapshot / "onnx/deep/model.bin").read_bytes() == WEIGHTS.data
        assert not (snapshot / "onnx" / "deep").is_symlink()
        assert (snapshot / "notes.txt").read_text() == "mine"

    def test_a_mark_that_there_is_no_such_file_goes_when_there_is_one(self, filled, folder):
        marks = folder / "models--lab--x" / ".no_exist" / COMMIT
        marks.mkdir(parents=True)
        (marks / "config.json").touch()
        (marks / "adapter_config.json").touch()
        write(filled, folder)
        assert [mark.name for mark in marks.iterdir()] == ["adapter_config.json"]

    def test_a_blob_that_is_our_file_in_place_stays_as_it_is(self, store, folder):
        blobs = folder / "models--lab--x" / "blobs"
        blobs.mkdir(parents=True)
        theirs = blobs / etag_of(FILES[1])
        theirs.write_bytes(WEIGHTS.data)
        found = store.blobs.ingest(theirs, in_place=True)
        file = FileEntry(("model.bin",), theirs.stat().st_size, found.sha256, found.content)
        snapshot = write(store, folder, release((file,)))
        assert not theirs.is_symlink()
        assert (snapshot / "model.bin").read_bytes() == WEIGHTS.data
        assert held(store, found.content) == WEIGHTS.data

    def test_a_file_in_place_elsewhere_is_linked_to_and_not_cloned(self, store, folder, tmp_path):
        theirs = tmp_path / "model.bin"
        theirs.write_bytes(WEIGHTS.data)
        found = store.blobs.ingest(theirs, in_place=True)
        file = FileEntry(("model.bin",), theirs.stat().st_size, found.sha256, found.content)
        snapshot = write(store, folder, release((file,)), disk=CloningDisk())
        assert (snapshot / "model.bin").resolve() == theirs
        assert theirs.read_bytes() == WEIGHTS.data

    def test_somebody_who_holds_the_lock_of_a_blob_is_not_waited_for_long(
        self, filled, folder, monkeypatch
    ):
        monkeypatch.setattr(aside, "PATIENCE", 0.02)
        locks = folder / ".locks" / "models--lab--x"
        locks.mkdir(parents=True)
        with (locks / f"{etag_of(FILES[0])}.lock").open("w") as theirs:
            fcntl.flock(theirs, fcntl.LOCK_EX)
            assert (write(filled, folder) / "config.json").read_bytes() == CONFIG.data


class TestOurBlobs:
    def test_survive_the_removal_of_whatever_is_in_the_cache(self, filled, folder):
        write(filled, folder)
        shutil.rmtree(folder)
        for sample in (CONFIG, WEIGHTS, EMPTY):
            assert held(filled, sample.content) == sample.data

    def test_that_were_written_through_a_link_are_found_out_and_never_used(self, filled, folder):
        snapshot = write(filled, folder)
        flip((snapshot / "onnx/deep/model.bin").resolve())  # as root can
        with pytest.raises(DamagedBlobError):
            held(filled, WEIGHTS.content)
        assert not filled.blobs.has(WEIGHTS.content)
        bring(filled, WEIGHTS)
        write(filled, folder)
        assert (snapshot / "onnx/deep/model.bin").read_bytes() == WEIGHTS.data

    def test_that_are_damaged_get_no_name_in_the_cache(self, filled, folder):
        flip(filled.blobs.path(WEIGHTS.content))
        with pytest.raises(DamagedBlobError):
            write(filled, folder)
        assert not (folder / "models--lab--x" / "refs").exists()
        assert not (folder / "models--lab--x" / "snapshots" / COMMIT).exists()


class TestSigners:
    def test_who_name_a_wrong_git_digest_are_found_out(self, filled, folder):
        lie = FileEntry(("a",), 10, sha256(CONFIG.data), CONFIG.content, git_blob_sha1(b"else"))
        with pytest.raises(WrongBytesError, match="a does not have the digest"):
            write(filled, folder, release((lie,)))
        assert not list((folder / "models--lab--x" / "blobs").iterdir())

    def test_who_name_a_wrong_sha256_are_found_out(self, filled, folder):
        lie = FileEntry(("w",), WEIGHTS.content.size, sha256(b"else"), WEIGHTS.content)
        with pytest.raises(WrongBytesError, match="w does not have the digest"):
            write(filled, folder, release((lie,)))
        assert not (folder / "models--lab--x" / "refs").exists()


def visible(folder: Path) -> set[str]:
    """Refs and snapshots: what programs look at."""
    repo = folder / "models--lab--x"
    return {
        str(path.relative_to(repo))
        for place in ("refs", "snapshots")
        for path in (repo / place).rglob("*")
        if not path.is_dir()
    }


WHOLE = {f"snapshots/{COMMIT}/{'/'.join(file.path)}" for file in FILES}


class TestFaults:
    @pytest.mark.parametrize("disk", [PowerCut, FullDisk])
    def test_at_any_change_leave_all_of_a_snapshot_or_nothing(self, filled, folder, disk):
        counting = CountingDisk()
        write(filled, folder, disk=counting)
        shutil.rmtree(folder)
        for at in range(len(counting.changes)):
            try:
                write(filled, folder, disk=disk(at))
            except (PowerCutError, NoSpaceError):
                assert visible(folder) in (set(), WHOLE, WHOLE | {"refs/main"}), at
            write(filled, folder)
            assert visible(folder) == WHOLE | {"refs/main"}
            names = {path.name for path in (folder / "models--lab--x").iterdir()}
            assert names == {"blobs", "refs", "snapshots", "trees"}
            shutil.rmtree(folder)

    def test_a_full_disk_leaves_nothing_aside(self, filled, folder):
        disk = FullDisk(9)
        with pytest.raises(NoSpaceError):
            write(filled, folder, disk=disk)
        assert not [path for path in folder.rglob(".p2phub-*") if path.exists()]

    def test_ten_writers_at_once_end_in_one_whole_cache(self, filled, folder):
        errors: list[P2PHubError] = []

        def work():
            try:
                write(filled, folder)
            except P2PHubError as error:
                errors.append(error)

        threads = [threading.Thread(target=work) for _ in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not errors
        assert visible(folder) == WHOLE | {"refs/main"}
        assert len(told(folder)) == 1
        assert not list(folder.rglob(".p2phub-*"))


def test_the_list_of_files_is_json_as_the_real_client_writes_it(filled, folder):
    write(filled, folder)
    text = (folder / "models--lab--x" / "trees" / f"{COMMIT}.json").read_text()
    assert text == json.dumps(json.loads(text), indent=1)
