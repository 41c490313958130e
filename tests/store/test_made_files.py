"""Files that this node makes itself: blobs like any other, and nothing stays of what fails."""

import pytest

from p2phub.errors import NoSpaceError
from p2phub.formats.digest import git_blob_sha1, sha256
from p2phub.store.made_files import keep_made
from p2phub.testing.files import random_bytes
from p2phub.testing.publishers import fake_file


def keep(store, data):
    return keep_made(data, store.layout, store.disk, store.blobs)


@pytest.mark.parametrize("size", [0, 5, 1 << 20, (1 << 20) + 1, 3 << 20])
def test_it_is_cut_and_hashed_as_any_file_that_is_published(store, size):
    data = random_bytes("made", size)
    found, file = keep(store, data), fake_file("model.sig", data)
    assert (found.content, found.sha256) == (file.entry.content, sha256(data))
    assert found.git_sha1 == git_blob_sha1(data)
    assert store.blobs.path(found.content).read_bytes() == data
    assert store.blobs.verify(found.content) == []
    assert not list(store.layout.temp.iterdir())


def test_the_same_bytes_twice_are_one_blob(store):
    first, second = keep(store, b"signed"), keep(store, b"signed")
    assert first.content == second.content
    assert store.blobs.totals()[0] == 1
    assert not list(store.layout.temp.iterdir())


def test_a_full_disk_leaves_nothing(store, monkeypatch):
    def full(fd, data, offset, path):
        raise NoSpaceError("the disk is full")

    monkeypatch.setattr(store.disk, "write", full)
    with pytest.raises(NoSpaceError):
        keep(store, b"signed")
    assert store.blobs.totals()[0] == 0
    assert not list(store.layout.temp.iterdir())
