"""Quotas and full disks, told before the first byte is written."""

import os

import pytest

from p2phub.errors import NoSpaceError, QuotaError
from p2phub.store.disk import Disk
from p2phub.store.space import Space


class SmallDisk(Disk):
    free = 1000

    def free_bytes(self, folder):
        return self.free


@pytest.fixture
def used():
    return [0]


@pytest.fixture
def space(tmp_path, used):
    return Space(SmallDisk(), tmp_path, 500, lambda: used[0])


def test_what_does_not_fit_the_quota_is_refused_with_the_numbers(space, used):
    used[0] = 450
    with pytest.raises(QuotaError) as caught:
        space.claim("a", 51)
    assert caught.value.exit == 5
    assert "500" in caught.value.message
    assert "450" in caught.value.message
    space.claim("a", 50)


def test_two_pulls_at_once_do_not_both_get_the_last_bytes(space):
    space.claim("a", 300)
    with pytest.raises(QuotaError):
        space.claim("b", 300)
    space.release("a")
    space.claim("b", 300)


def test_the_same_file_is_not_counted_twice(space):
    space.claim("a", 300)
    space.claim("a", 300)
    space.release("a")
    space.claim("b", 500)


def test_a_claim_that_was_refused_takes_nothing(space):
    with pytest.raises(QuotaError):
        space.claim("a", 501)
    space.claim("b", 500)


def test_a_disk_that_is_too_small_is_said_to_be_so_before_the_transfer(tmp_path):
    space = Space(SmallDisk(), tmp_path, 0, lambda: 0)
    with pytest.raises(NoSpaceError, match="950 bytes to spare"):
        space.claim("a", 951)
    space.claim("a", 950)


def test_what_others_have_claimed_and_not_written_yet_is_not_free(tmp_path):
    disk = SmallDisk()
    disk.free = 100_000
    space = Space(disk, tmp_path, 0, lambda: 0)
    space.claim("a", 60_000, tmp_path / "a")
    with pytest.raises(NoSpaceError, match="35000 bytes to spare, 40000 are needed"):
        space.claim("b", 40_000, tmp_path / "b")
    space.release("a")
    space.claim("b", 40_000, tmp_path / "b")


def test_what_was_written_is_not_counted_twice(tmp_path):
    disk = SmallDisk()
    disk.free = 100_000
    space = Space(disk, tmp_path, 0, lambda: 0)
    space.claim("a", 60_000, tmp_path / "a")
    (tmp_path / "a").write_bytes(bytes(60_000))
    disk.free = 40_000
    space.claim("b", 38_000)


def test_what_lies_there_already_counts_even_if_it_is_too_much(space):
    space.found("old", 600)
    with pytest.raises(QuotaError):
        space.claim("new", 1)


def test_a_claim_for_a_while_ends_with_an_error_too(space):
    with pytest.raises(ZeroDivisionError), space.claimed(500):
        _ = 1 / 0
    space.claim("a", 500)


def test_what_needs_nothing_more_is_not_refused_on_a_disk_that_others_filled(tmp_path):
    disk = SmallDisk()
    space = Space(disk, tmp_path, 0, lambda: 0)
    space.claim("a", 900)
    disk.free = 100
    (tmp_path / "b").write_bytes(b"x" * 4096)
    os.sync()
    space.claim("b", 4096, tmp_path / "b")
    with pytest.raises(NoSpaceError):
        space.claim("c", 1)


def test_what_could_never_fit_is_refused_before_anything_comes(space, tmp_path, used):
    """What blobs that are here could share counts as room: it may cost nothing."""
    space.require(500)
    with pytest.raises(QuotaError):
        space.require(501)
    large = Space(SmallDisk(), tmp_path, 0, lambda: used[0])
    used[0] = 200
    large.claim("begun", 50)
    large.require(1250)
    with pytest.raises(NoSpaceError, match="1251 are needed"):
        large.require(1251)
    large.claim("a", 900)  # nothing was set aside
