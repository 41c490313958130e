"""A folder of images that our store filled: right bytes only, never through a link, never half."""

import os

import pytest

from p2phub.errors import NoSpaceError, P2PHubError, RefusedError, WrongBytesError
from p2phub.formats.digest import sha256
from p2phub.formats.manifest import FileEntry
from p2phub.store.images import image_folder
from p2phub.testing.disks import CountingDisk, FullDisk
from p2phub.testing.samples import make_sample

from .conftest import bring
from .test_hfcache import CloningDisk

SMALL, LARGE = make_sample(10, seed="small"), make_sample(1_100_000, seed="large")


def entry(sample, claimed=None):
    return FileEntry(("a.bin",), len(sample.data), claimed or sha256(sample.data), sample.content)


def blob(sample):
    return ("blobs", "sha256", sha256(sample.data).hex())


@pytest.fixture
def filled(store):
    for sample in (SMALL, LARGE):
        bring(store, sample)
    return store


def put(store, to, *samples, links=False, disk=None, last=b"index"):
    with image_folder(to, store.blobs, disk or store.disk) as folder:
        for sample in samples:
            folder.put_file(blob(sample), entry(sample), links=links)
        folder.put_bytes(("index.json",), last)


def files_in(to):
    return {path.relative_to(to).as_posix() for path in to.rglob("*") if not path.is_dir()}


@pytest.mark.parametrize("disk", [None, CloningDisk()])
def test_blobs_are_files_of_their_own(filled, tmp_path, disk):
    to = tmp_path / "out"
    put(filled, to, SMALL, LARGE, disk=disk)
    for sample in (SMALL, LARGE):
        there = to.joinpath(*blob(sample))
        assert (there.read_bytes(), there.is_symlink()) == (sample.data, False)
    assert files_in(to) == {"/".join(blob(SMALL)), "/".join(blob(LARGE)), "index.json"}


def test_links_lead_to_our_blobs_where_they_are_allowed(filled, tmp_path):
    to = tmp_path / "out"
    put(filled, to, LARGE, links=True)
    there = to.joinpath(*blob(LARGE))
    assert there.is_symlink()
    assert there.read_bytes() == LARGE.data


def test_a_folder_of_somebody_else_is_told(filled, tmp_path, monkeypatch):
    with image_folder(tmp_path / "out", filled.blobs, filled.disk) as folder:
        assert folder.is_own
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
        assert not folder.is_own


def test_where_blocks_are_shared_nothing_is_linked(filled, tmp_path):
    to = tmp_path / "out"
    put(filled, to, LARGE, links=True, disk=CloningDisk())
    assert not to.joinpath(*blob(LARGE)).is_symlink()
    assert files_in(to) == {"/".join(blob(LARGE)), "index.json"}


@pytest.mark.parametrize("links", [False, True])
def test_what_is_there_and_right_is_left_alone(filled, tmp_path, links):
    to, disk = tmp_path / "out", CountingDisk()
    put(filled, to, LARGE, links=links)
    before = os.lstat(to.joinpath(*blob(LARGE)))
    put(filled, to, LARGE, links=links, disk=disk)
    assert os.lstat(to.joinpath(*blob(LARGE))).st_ino == before.st_ino


@pytest.mark.parametrize("planted", ["other bytes", "link", "pipe"])
def test_what_is_wrong_is_replaced_and_not_written_through(filled, tmp_path, planted):
    to, victim = tmp_path / "out", tmp_path / "victim"
    victim.write_bytes(b"mine")
    there = to.joinpath(*blob(LARGE))
    there.parent.mkdir(parents=True)
    if planted == "link":
        there.symlink_to(victim)
    elif planted == "pipe":
        os.mkfifo(there)
    else:
        there.write_bytes(bytes(len(LARGE.data)))
    put(filled, to, LARGE)
    assert (there.read_bytes(), victim.read_bytes()) == (LARGE.data, b"mine")


@pytest.mark.parametrize("at", ["blobs", "blobs/sha256"])
@pytest.mark.parametrize("what", ["link", "file"])
def test_nothing_is_written_through_a_folder_that_is_none(filled, tmp_path, at, what):
    to, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (to / at).parent.mkdir(parents=True)
    if what == "link":
        (to / at).symlink_to(elsewhere)
    else:
        (to / at).write_bytes(b"")
    with pytest.raises(RefusedError, match="no folder"):
        put(filled, to, LARGE)
    assert not any(elsewhere.iterdir())
    assert not (to / "index.json").exists()


def test_an_index_that_is_a_link_is_replaced_and_not_read(filled, tmp_path):
    to, victim = tmp_path / "out", tmp_path / "victim"
    to.mkdir()
    victim.write_bytes(b"secret")
    (to / "index.json").symlink_to(victim)
    with image_folder(to, filled.blobs, filled.disk) as folder, pytest.raises(P2PHubError):
        folder.read(("index.json",), 100)
    put(filled, to)
    assert (to / "index.json").read_bytes() == b"index"
    assert victim.read_bytes() == b"secret"


@pytest.mark.parametrize("what", ["pipe", "folder", "long"])
def test_what_is_no_small_file_is_not_read(filled, tmp_path, what):
    to = tmp_path / "out"
    to.mkdir()
    if what == "pipe":
        os.mkfifo(to / "index.json")
    elif what == "folder":
        (to / "index.json").mkdir()
    else:
        (to / "index.json").write_bytes(bytes(101))
    with image_folder(to, filled.blobs, filled.disk) as folder:
        with pytest.raises(RefusedError):
            folder.read(("index.json",), 100)
        assert folder.read(("oci-layout",), 100) is None


def test_a_file_that_is_not_what_its_signer_called_it_goes_nowhere(filled, tmp_path):
    to = tmp_path / "out"
    with image_folder(to, filled.blobs, filled.disk) as folder, pytest.raises(WrongBytesError):
        folder.put_file(blob(LARGE), entry(LARGE, claimed=bytes(32)), links=False)
    assert not files_in(to)


def test_wherever_the_disk_is_full_the_index_names_nothing_that_is_not_there(filled, tmp_path):
    at = 0
    while True:
        to = tmp_path / f"at {at}"
        try:
            put(filled, to, SMALL, LARGE, disk=FullDisk(at))
        except NoSpaceError:
            assert not (to / "index.json").exists()
            for path in files_in(to) if to.exists() else ():
                assert sha256((to / path).read_bytes()).hex() == path.rpartition("/")[2]
            put(filled, to, SMALL, LARGE)
            at += 1
            continue
        break
    assert at > 6
