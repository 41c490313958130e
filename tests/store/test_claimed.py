"""Files of other programs: used where they lie if they are what they say, else named and left."""

import os

import pytest

from p2phub.errors import DamagedBlobError, NoSpaceError
from p2phub.formats.digest import git_blob_sha1, sha256
from p2phub.formats.huggingface_cache import Etag
from p2phub.store import claimed, ingest
from p2phub.store.claimed import Claim
from p2phub.store.stamp import stamp_now
from p2phub.testing.disks import FullDisk
from p2phub.testing.samples import make_sample

from .conftest import held
from .test_blobs import flip

LARGE, SMALL = make_sample(1_300_000, seed=3), make_sample(200, seed=4)


@pytest.fixture
def put(tmp_path):
    """Writes a file under the name that is right, or that is said to be."""

    def write(data, algorithm="sha256", named=None):
        named = data if named is None else named
        digest = sha256(named) if algorithm == "sha256" else git_blob_sha1(named)
        path = tmp_path / "cache" / digest.hex()
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        return Claim(path, Etag(algorithm, digest))

    return write


def files_of(layout):
    return [path for path in layout.blobs.rglob("*") if path.is_file() and not path.is_symlink()]


@pytest.mark.parametrize("algorithm", ["sha256", "git"])
@pytest.mark.parametrize("sample", [LARGE, SMALL])
def test_a_file_that_is_what_it_says_becomes_a_blob_where_it_lies(
    store, layout, put, algorithm, sample
):
    claim, seen = put(sample.data, algorithm), []
    (weighed,) = store.claims.take([claim], seen.append)
    assert (weighed.wrong, weighed.known) == ("", False)
    assert held(store, weighed.found.content) == sample.data
    assert store.blobs.place(weighed.found.content) == claim.path
    assert store.blobs.by_sha256(sha256(sample.data)) == [weighed.found.content]
    assert sum(seen) == len(sample.data)
    assert not files_of(layout)


@pytest.mark.parametrize("algorithm", ["sha256", "git"])
@pytest.mark.parametrize("data", [LARGE.data[:-1] + b"!", LARGE.data[:-1], b""])
def test_a_file_that_is_not_what_it_says_is_left_alone(store, put, algorithm, data):
    claim = put(data, algorithm, named=LARGE.data)
    before = stamp_now(claim.path)
    (weighed,) = store.claims.take([claim])
    assert weighed.found is None
    assert str(claim.etag) in weighed.wrong
    assert not store.blobs.every()
    assert stamp_now(claim.path) == before
    assert claim.path.read_bytes() == data


def test_a_bad_file_keeps_no_good_one_out(store, put):
    good, bad = put(LARGE.data), put(b"half", named=SMALL.data)
    found = store.claims.take([bad, good], lanes=2)
    assert [bool(each.wrong) for each in found] == [True, False]
    assert len(store.blobs.every()) == 1


def test_looking_only_keeps_nothing(store, put):
    (weighed,) = store.claims.take([put(LARGE.data)], keep=False)
    assert weighed.placed is not None
    assert not store.blobs.every()


def test_what_the_store_has_stays_its_own(store, put, tmp_path):
    (tmp_path / "published").write_bytes(LARGE.data)
    content = store.blobs.ingest(tmp_path / "published").content
    (weighed,) = store.claims.take([put(LARGE.data)])
    assert (weighed.known, weighed.placed) == (True, None)
    assert weighed.found.content == content
    assert store.blobs.place(content) is None


def test_the_same_bytes_twice_are_one_blob(store, put):
    found = store.claims.take([put(SMALL.data), put(SMALL.data, "git")])
    assert not any(each.wrong for each in found)
    assert len(store.blobs.every()) == 1


def test_a_file_that_did_not_change_is_not_read_again(store, put, monkeypatch):
    claim = put(LARGE.data)
    store.claims.take([claim])

    def read(*arguments):
        raise AssertionError("it was read")

    monkeypatch.setattr(claimed, "ingest", read)
    (weighed,) = store.claims.take([claim])
    assert weighed.known


def test_a_file_that_rotted_since_is_found_out(store, put):
    claim = put(LARGE.data)
    (before,) = store.claims.take([claim])
    flip(claim.path)
    (weighed,) = store.claims.take([claim])
    assert "is not what its name says" in weighed.wrong
    with pytest.raises(DamagedBlobError):
        store.blobs.open_verified(before.found.content)
    assert claim.path.exists()


def test_files_that_are_gone_or_no_files_are_named(store, put, tmp_path):
    gone = put(SMALL.data)
    gone.path.unlink()
    folder = Claim(tmp_path / "cache" / ("a" * 40), Etag("git", bytes(20)))
    folder.path.mkdir()
    pipe = Claim(tmp_path / "cache" / ("b" * 40), Etag("git", bytes(20)))
    os.mkfifo(pipe.path)
    assert all(each.wrong for each in store.claims.take([gone, folder, pipe]))


def test_a_large_file_with_a_git_digest_is_read_for_it(store, put, monkeypatch):
    monkeypatch.setattr(ingest, "MAX_GIT", 100)
    good, bad = put(LARGE.data, "git"), put(SMALL.data, "git", named=b"else")
    found = store.claims.take([good, bad])
    assert [bool(each.wrong) for each in found] == [False, True]


def test_a_full_disk_is_told_and_nothing_is_half_a_blob(layout, reopen, put):
    disk = FullDisk()
    store = reopen(disk=disk)
    disk.fail()
    with pytest.raises(NoSpaceError):
        store.claims.take([put(LARGE.data)])
    disk.mend()
    assert not store.blobs.every()
    (weighed,) = store.claims.take([put(LARGE.data)])
    assert held(store, weighed.found.content) == LARGE.data


def test_a_file_is_used_no_more_when_it_is_to_be_forgotten(store, put):
    one, other = put(LARGE.data), put(SMALL.data)
    (weighed, _) = store.claims.take([one, other])
    (forgotten,) = store.claims.forget([one.path])
    assert (forgotten.content, forgotten.sha256) == (
        weighed.found.content,
        sha256(LARGE.data),
    )
    assert len(store.blobs.every()) == 1
    assert store.blobs.by_sha256(sha256(LARGE.data)) == []
    assert one.path.read_bytes() == LARGE.data
    assert store.claims.forget([one.path]) == []
    (again,) = store.claims.take([one])  # and can be taken again
    assert held(store, again.found.content) == LARGE.data


def test_a_file_that_was_removed_later_is_forgotten(store, put):
    claim = put(LARGE.data)
    (weighed,) = store.claims.take([claim])
    claim.path.unlink()  # hf cache rm
    assert not store.blobs.has(weighed.found.content)
    assert not store.blobs.every()
