"""Files of which only the whole is known: nothing but what was named becomes a blob."""

import os

import pytest

from p2phub.errors import QuotaError, WrongBytesError
from p2phub.formats.digest import git_blob_sha1, sha256
from p2phub.formats.pieces import Run
from p2phub.store import incoming
from p2phub.store.incoming import WholeDigest
from p2phub.testing.files import random_bytes
from p2phub.testing.publishers import fake_file

DATA = random_bytes("incoming", (3 << 20) + 5)
WANTED = WholeDigest(sha256(DATA), len(DATA))
FILE = fake_file("weights.bin", DATA)
README = b"# hello\n"


def come(file, data, indexes):
    for index in indexes:
        start = file.steps.offset(index)
        file.accept(index, memoryview(data)[start : start + file.steps.length(index)])


def left(store):
    return sorted(path.name for path in store.layout.upstream.iterdir())


def test_the_whole_becomes_the_blob_that_its_publisher_would_have_made(store):
    file = store.incoming.begin(WANTED)
    come(file, DATA, [2, 0, 3, 1])
    assert file.keep().content == FILE.entry.content
    store.incoming.end(file)
    assert store.blobs.path(FILE.entry.content).read_bytes() == DATA
    assert store.blobs.sha256(FILE.entry.content) == WANTED.digest
    assert store.blobs.table(FILE.entry.content) == FILE.table
    assert left(store) == []


@pytest.mark.parametrize("data", [README, b"", bytes(1 << 20)])
@pytest.mark.parametrize("digest_of", [sha256, git_blob_sha1])
def test_a_small_file_is_known_by_either_digest(store, data, digest_of):
    file = store.incoming.begin(WholeDigest(digest_of(data), len(data)))
    come(file, data, range(file.steps.count))
    found = file.keep()
    store.incoming.end(file)
    assert (found.sha256, found.git_sha1) == (sha256(data), git_blob_sha1(data))
    assert store.blobs.has(found.content)
    assert left(store) == []


@pytest.mark.parametrize("at", [0, len(DATA) // 2, len(DATA) - 1])
def test_one_wrong_bit_leaves_nothing(store, at):
    wrong = bytearray(DATA)
    wrong[at] ^= 1
    file = store.incoming.begin(WANTED)
    come(file, bytes(wrong), range(4))
    with pytest.raises(WrongBytesError):
        file.keep()
    assert file.here() == 0
    come(file, DATA, range(4))  # from another source
    assert file.keep().sha256 == WANTED.digest
    store.incoming.end(file)


def test_a_step_that_did_not_come_is_missed(store):
    file = store.incoming.begin(WANTED)
    come(file, DATA, [0, 1, 3])
    with pytest.raises(WrongBytesError):
        file.keep()
    store.incoming.end(file)
    assert store.blobs.by_sha256(WANTED.digest) == []


def test_what_came_before_a_restart_is_not_fetched_again(store, reopen):
    file = store.incoming.begin(WANTED)
    assert list(file.missing()) == [Run(0, 4)]
    assert not file.resumed
    come(file, DATA, [1])
    store.incoming.end(file)
    store = reopen()
    file = store.incoming.begin(WANTED)
    assert file.resumed
    assert list(file.missing()) == [Run(0, 1), Run(2, 2)]
    come(file, DATA, [0, 2, 3])
    file.keep()
    store.incoming.end(file)
    assert store.blobs.has(FILE.entry.content)


def test_marks_that_a_power_cut_left_without_their_bytes_are_found_out(store, reopen):
    file = store.incoming.begin(WANTED)
    come(file, DATA, range(4))
    path = file.path
    store.incoming.end(file)
    with path.open("r+b") as data:
        data.seek(1 << 20)
        data.write(bytes(1 << 20))
    store = reopen()
    file = store.incoming.begin(WANTED)
    assert list(file.missing()) == []
    with pytest.raises(WrongBytesError):
        file.keep()
    assert list(file.missing()) == [Run(0, 4)]
    store.incoming.end(file)


def test_one_that_was_checked_when_its_process_ended_is_kept_by_the_next(store, reopen):
    file = store.incoming.begin(WANTED)
    come(file, DATA, range(4))
    file.checked()
    store.incoming.end(file)
    store = reopen()
    file = store.incoming.begin(WANTED)
    assert file.here() == len(DATA)
    assert file.keep().content == FILE.entry.content
    store.incoming.end(file)


def test_runs_are_no_longer_than_a_request(store, monkeypatch):
    monkeypatch.setattr(incoming, "RUN", 3)
    file = store.incoming.begin(WANTED)
    assert list(file.missing()) == [Run(0, 3), Run(3, 1)]
    store.incoming.end(file, drop=True)
    assert left(store) == []


def test_what_is_private_is_no_blob_and_does_not_outlive_the_process(store, reopen):
    file = store.incoming.begin(WANTED, private=True)
    come(file, DATA, range(4))
    file.checked()
    assert file.path.stat().st_mode & 0o777 == 0o600
    fd = file.open()
    assert os.pread(fd, len(DATA), 0) == DATA
    os.close(fd)
    store.incoming.end(file)
    assert store.blobs.by_sha256(WANTED.digest) == []
    assert len(left(store)) == 2
    assert left(reopen()) == []


def test_a_private_file_and_a_public_one_share_nothing(store):
    private, public = store.incoming.begin(WANTED, private=True), store.incoming.begin(WANTED)
    come(private, DATA, [0])
    assert (private.here(), public.here()) == (1 << 20, 0)
    store.incoming.end(private, drop=True)
    store.incoming.end(public, drop=True)


def test_its_room_is_claimed_before_it_comes_and_what_came_counts(store, reopen):
    store = reopen(quota=len(DATA))
    file = store.incoming.begin(WANTED)
    with pytest.raises(QuotaError):
        store.incoming.begin(WholeDigest(bytes(32), 5))
    come(file, DATA, [0, 1])
    store.incoming.end(file)
    for again in (store, None):
        again = again or reopen(quota=len(DATA))
        with pytest.raises(QuotaError):
            again.incoming.begin(WholeDigest(bytes(32), 2 << 20))
    assert again.incoming.drop_unused(before=2**40) >= 2 << 20
    again.incoming.end(again.incoming.begin(WholeDigest(bytes(32), 2 << 20)), drop=True)


def test_a_link_in_its_place_is_not_followed(store, tmp_path):
    target = tmp_path / "secret"
    target.write_bytes(b"mine")
    (store.layout.upstream / str(WANTED)).symlink_to(target)
    with pytest.raises(Exception, match="upstream"):
        store.incoming.begin(WANTED)
    assert target.read_bytes() == b"mine"
