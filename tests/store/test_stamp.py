"""How a file that was changed behind our back gives itself away."""

import os

import pytest

from p2phub.store.stamp import Stamp, stamp_now


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"0123456789")
    return path


def stamp(path):
    return Stamp.of(path.stat())


def test_a_file_that_nobody_touched_is_the_same(path):
    before = stamp(path)
    path.read_bytes()
    assert stamp(path) == before


def test_bytes_written_with_the_old_times_set_back_are_seen(path):
    before, times = stamp(path), path.stat()
    path.write_bytes(b"012345678X")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    after = stamp(path)
    assert after.mtime_ns == before.mtime_ns
    assert after != before


def test_another_file_under_the_same_name_is_seen(path, tmp_path):
    before, times = stamp(path), path.stat()
    (tmp_path / "other").write_bytes(b"0123456789")
    os.utime(tmp_path / "other", ns=(times.st_atime_ns, times.st_mtime_ns))
    (tmp_path / "other").rename(path)
    assert stamp(path) != before


@pytest.mark.parametrize("number", [0, 1, 2**63 - 1, 2**63, 2**64 - 1])
def test_a_number_with_all_64_bits_survives_sqlite(number):
    before = Stamp(number, number, 5, 1, 2)
    assert all(-(2**63) <= value < 2**63 for value in before.row)
    assert Stamp.from_row(*before.row, 5) == before


def test_a_changed_file_is_still_that_file_and_another_with_its_name_is_not(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"one")
    before = stamp_now(path)
    path.write_bytes(b"other")
    after = stamp_now(path)
    assert after != before
    assert after.is_file_of(before)
    (tmp_path / "new").write_bytes(b"one")
    (tmp_path / "new").rename(path)
    assert not stamp_now(path).is_file_of(before)


def test_a_link_has_a_stamp_of_its_own_and_nothing_has_none(tmp_path):
    (tmp_path / "file").write_bytes(b"one")
    (tmp_path / "link").symlink_to("file")
    assert not stamp_now(tmp_path / "link").is_file_of(stamp_now(tmp_path / "file"))
    assert stamp_now(tmp_path / "gone") is None
