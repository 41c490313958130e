"""Reading a person's file once, and keeping what was hashed."""

import hashlib
import mmap
import os
import threading

import pytest

from p2phub.errors import FileChangedError, NoSpaceError, RefusedError, UsageError
from p2phub.formats.digest import blake3, git_blob_sha1, sha256
from p2phub.formats.limits import MAX_PIECE
from p2phub.formats.pieces import PieceTable
from p2phub.formats.planner import PiecePlanner
from p2phub.store import ingest as module
from p2phub.store import pipeline
from p2phub.store.disk import Disk
from p2phub.store.ingest import MAX_GIT, ingest
from p2phub.store.pipeline import Buffers
from p2phub.testing.disks import FullDisk
from p2phub.testing.files import make_safetensors, random_bytes

WEIGHTS = make_safetensors({f"t{n}": ("F32", (256, 300)) for n in range(9)}, seed=1)
NOISE = random_bytes("noise", 3_000_000)
FILES = {
    "empty": b"",
    "one byte": b"x",
    "just one piece": random_bytes("a", 1 << 20),
    "just more than one": random_bytes("b", (1 << 20) + 1),
    "weights": WEIGHTS,
    "noise": NOISE,
    "zeros": bytes(2_500_000),
}


@pytest.fixture(params=FILES)
def data(request):
    return FILES[request.param]


@pytest.fixture(params=[1 << 16, (1 << 20) + 7, 8 << 20], ids=["64K", "odd", "8M"])
def block(request, monkeypatch):
    monkeypatch.setattr(pipeline, "BLOCK", request.param)


def planned(data):
    """The table as the planner has it when it sees all at once."""
    planner = PiecePlanner(len(data))
    lengths = planner.feed(data) + planner.finish()
    digests, offset = [], 0
    for length in lengths:
        digests.append(blake3(data[offset : offset + length]))
        offset += length
    return PieceTable.build(lengths, digests)


@pytest.mark.usefixtures("block")
def test_a_file_is_what_its_bytes_are_in_blocks_of_any_size(tmp_path, data):
    (tmp_path / "source").write_bytes(data)
    seen = []
    found = ingest(tmp_path / "source", tmp_path / "copy", Disk(), seen.append)
    assert (tmp_path / "copy").read_bytes() == data
    assert found.sha256 == hashlib.sha256(data).digest()
    assert found.git_sha1 == git_blob_sha1(data)
    assert found.content.size == found.bytes_hashed == len(data) == sum(seen)
    if len(data) > 1 << 20:
        assert found.table == planned(data)
        assert found.content == found.table.content_id
    else:
        assert found.content.digest == sha256(data)


@pytest.mark.parametrize("threads", [False, True])
@pytest.mark.parametrize("block", [10_000, 777_777, 1 << 20])
def test_a_file_is_what_its_bytes_are_in_one_thread_or_two(
    tmp_path, data, monkeypatch, block, threads
):
    monkeypatch.setattr(pipeline, "BLOCK", block)
    monkeypatch.setattr(module, "TWO_THREADS_FROM", 0)
    (tmp_path / "source").write_bytes(data)
    found = ingest(tmp_path / "source", None, Disk(), threads=threads)
    assert found.sha256 == hashlib.sha256(data).digest()
    assert found.git_sha1 == git_blob_sha1(data)
    if len(data) > 1 << 20:
        assert found.table == planned(data)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_a_large_file_has_no_git_digest(tmp_path):
    for size, has in ((MAX_GIT, True), (MAX_GIT + 1, False)):
        (tmp_path / "source").write_bytes(bytes(size))
        found = ingest(tmp_path / "source", tmp_path / f"copy-{size}", Disk())
        assert (found.git_sha1 is not None) == has


def test_a_link_is_followed_to_its_file(tmp_path):
    (tmp_path / "blob").write_bytes(b"data")
    (tmp_path / "source").symlink_to("blob")
    assert ingest(tmp_path / "source", tmp_path / "copy", Disk()).sha256 == sha256(b"data")


def test_what_is_no_plain_file_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "folder"):
        with pytest.raises(UsageError, match=name):
            ingest(tmp_path / name, tmp_path / "copy", Disk())
    assert not (tmp_path / "copy").exists()


class Meddling(Disk):
    """Does something to the source while the copy is written."""

    def __init__(self, meddle):
        self._meddle = meddle

    def write(self, fd, data, offset, path):
        super().write(fd, data, offset, path)
        if self._meddle is not None:
            meddle, self._meddle = self._meddle, None
            meddle()


def rewrite(path):
    times = path.stat()
    path.write_bytes(bytes(path.stat().st_size))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def replace(path):
    path.with_name("other").write_bytes(path.read_bytes())
    path.with_name("other").rename(path)


@pytest.mark.parametrize(
    "meddle",
    [
        lambda path: os.truncate(path, 5),
        lambda path: os.truncate(path, 5_000_000),
        lambda path: path.unlink(),
        rewrite,
        replace,
    ],
    ids=["shortened", "grown", "removed", "rewritten with its old times", "replaced"],
)
def test_a_file_that_changes_while_it_is_read_is_named(tmp_path, meddle, monkeypatch):
    monkeypatch.setattr(pipeline, "BLOCK", 1 << 20)
    source = tmp_path / "model.safetensors"
    source.write_bytes(NOISE)
    with pytest.raises(FileChangedError, match=r"model\.safetensors changed") as caught:
        ingest(source, tmp_path / "copy", Meddling(lambda: meddle(source)))
    assert caught.value.exit == 1
    assert caught.value.remedy


def test_a_file_that_was_removed_before_it_was_read_has_changed_since_it_was_listed(tmp_path):
    with pytest.raises(FileChangedError, match="gone"):
        ingest(tmp_path / "gone", tmp_path / "copy", Disk())


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read_is_refused(tmp_path):
    (tmp_path / "source").write_bytes(b"x")
    (tmp_path / "source").chmod(0)
    with pytest.raises(RefusedError, match="source"):
        ingest(tmp_path / "source", tmp_path / "copy", Disk())


def test_a_full_disk_ends_it_and_leaves_no_thread(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "TWO_THREADS_FROM", 0)
    (tmp_path / "source").write_bytes(NOISE)
    before = threading.active_count()
    with pytest.raises(NoSpaceError, match="copy"):
        ingest(tmp_path / "source", tmp_path / "copy", FullDisk(3))
    assert threading.active_count() == before


def test_memory_does_not_grow_with_the_file_nor_with_the_number_of_files(tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "BLOCK", 1 << 18)
    monkeypatch.setattr(module, "TWO_THREADS_FROM", 0)
    made = []
    real = mmap.mmap
    monkeypatch.setattr(mmap, "mmap", lambda *given: made.append(given) or real(*given))
    (tmp_path / "source").write_bytes(NOISE)
    buffers = Buffers()
    for number in range(3):
        found = ingest(
            tmp_path / "source", tmp_path / f"copy-{number}", Disk(), lambda count: None, buffers
        )
        assert found.sha256 == sha256(NOISE)
    assert made == [(-1, (1 << 18) + MAX_PIECE)] * pipeline.AHEAD


def test_a_clone_is_hashed_and_not_written_again(tmp_path):
    class Cloning(Disk):
        def clone(self, source, target):
            os.sendfile(target, source, 0, os.fstat(source).st_size)
            return True

        def write(self, fd, data, offset, path):
            raise AssertionError("a clone needs no copy")

    (tmp_path / "source").write_bytes(NOISE)
    found = ingest(tmp_path / "source", tmp_path / "copy", Cloning())
    assert found.sha256 == sha256(NOISE)


def test_what_is_hashed_is_our_copy_and_not_the_source(tmp_path):
    class WrongClone(Disk):
        """The source has changed by the time it was cloned, and nothing else shows it."""

        def clone(self, source, target):
            os.pwrite(target, b"other", 0)
            return True

    (tmp_path / "source").write_bytes(b"bytes")
    found = ingest(tmp_path / "source", tmp_path / "copy", WrongClone())
    assert found.sha256 == sha256((tmp_path / "copy").read_bytes()) == sha256(b"other")
