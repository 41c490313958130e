"""Files of others: every stretch of them, and nothing that is no file."""

import hashlib
import os

import blake3
import pytest

from p2phub.errors import NotFoundError, UsageError
from p2phub.formats.digest import git_blob_sha1
from p2phub.store import digests
from p2phub.store.digests import digests_of, git_blob_sha1_of, opened_plain, read_small

DATA = bytes(range(256)) * 41


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(DATA)
    return path


def read(path, ends, algorithm="sha256"):
    with opened_plain(path) as fd:
        return digests_of(fd, ends, algorithm, path)


def sha256(data):
    return hashlib.sha256(data).digest()


@pytest.mark.parametrize(
    ("algorithm", "made"),
    [("sha256", hashlib.sha256), ("blake2b", hashlib.blake2b), ("blake3", blake3.blake3)],
)
@pytest.mark.parametrize("block", [1 << 20, 1000, len(DATA), 1])
def test_the_whole_file_in_blocks_of_any_size(file, monkeypatch, algorithm, made, block):
    monkeypatch.setattr(digests, "READ_BLOCK", block)
    found = read(file, [None], algorithm)
    assert found.digests == (made(DATA).digest(),)
    assert found.size == len(DATA)


@pytest.mark.parametrize("block", [1 << 20, 64, 7])
def test_stretches_follow_each_other(file, monkeypatch, block):
    monkeypatch.setattr(digests, "READ_BLOCK", block)
    found = read(file, [100, 5000, len(DATA)])
    assert found.digests == (sha256(DATA[:100]), sha256(DATA[100:5000]), sha256(DATA[5000:]))


def test_what_lies_behind_the_last_stretch_shows_in_the_size(file):
    assert read(file, [100]).size == len(DATA)


def test_a_file_that_is_too_short_has_other_digests(file):
    found = read(file, [len(DATA) + 5, len(DATA) + 9])
    assert found.digests == (sha256(DATA), sha256(b""))
    assert found.size == len(DATA)


def test_an_empty_file_has_a_digest(tmp_path):
    (tmp_path / "empty").touch()
    assert read(tmp_path / "empty", [None]).digests == (sha256(b""),)


def test_progress_counts_every_byte(file):
    counted = []
    with opened_plain(file) as fd:
        digests_of(fd, [100, None], "sha256", file, counted.append)
    assert sum(counted) == len(DATA)


def test_a_link_is_followed_and_a_missing_file_is_missing(file, tmp_path):
    (tmp_path / "link").symlink_to(file)
    (tmp_path / "broken").symlink_to("nothing")
    assert read(tmp_path / "link", [None]).digests == (sha256(DATA),)
    for name in ("broken", "missing", "file/below"):
        with pytest.raises(NotFoundError), opened_plain(tmp_path / name):
            pass


def test_a_pipe_and_a_folder_are_no_files(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(UsageError, match="no plain file"), opened_plain(path):
            pass


def test_a_small_file_is_read_up_to_its_limit_and_not_beyond(file):
    with opened_plain(file) as fd:
        assert read_small(fd, len(DATA), file) == DATA
        assert read_small(fd, len(DATA) - 1, file) is None


@pytest.mark.parametrize("block", [1 << 20, 1000, 1])
def test_the_id_that_git_gives_a_file_in_blocks_of_any_size(file, monkeypatch, block):
    monkeypatch.setattr(digests, "READ_BLOCK", block)
    seen = []
    with opened_plain(file) as fd:
        assert git_blob_sha1_of(fd, file, seen.append) == git_blob_sha1(DATA)
    assert sum(seen) == len(DATA)
