"""What was written counts when the medium has given it back, and not before."""

import errno
import os
import random
import threading
from contextlib import closing
from pathlib import Path

import pytest

from p2phub.airgap import written
from p2phub.airgap.written import Written
from p2phub.errors import NoSpaceError, P2PHubError, WrongBytesError
from p2phub.store.disk import Disk, disk_errors

WINDOW, BLOCK = 1 << 16, 1 << 14
DATA = random.Random(1).randbytes(5 * WINDOW + 1000)


@pytest.fixture
def small(monkeypatch):
    """Windows of a few pages."""
    monkeypatch.setattr(written, "WINDOW", WINDOW)
    monkeypatch.setattr(written, "BLOCK", BLOCK)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.pack"


def opened(path, disk=None, start=0):
    disk = disk or Disk()
    return closing(Written(path, disk, disk.create(path), start))


def write(path, disk=None, data=DATA, start=0, part=10_000, progress=lambda count: None):
    with opened(path, disk, start) as made:
        for at in range(0, len(data), part):
            made.append(memoryview(data)[at : at + part], progress)
        made.finish(progress)


@pytest.mark.parametrize("start", [0, 17, WINDOW - 1, WINDOW + 4096])
@pytest.mark.parametrize("part", [999, BLOCK // 4, WINDOW, WINDOW + 1, len(DATA)])
def test_bytes_are_where_they_belong_however_they_come(small, path, start, part):
    write(path, start=start, part=part)
    assert path.read_bytes()[start:] == DATA


def test_small_things_between_large_ones_keep_their_order(small, path):
    parts = [DATA[:5], DATA[5:BLOCK], DATA[BLOCK : BLOCK + 7], DATA[BLOCK + 7 :]]
    with opened(path) as made:
        for part in parts:
            made.append(part)
        made.finish()
    assert path.read_bytes() == DATA


@pytest.mark.parametrize("at", [0, WINDOW - 1, WINDOW, 3 * WINDOW + 5, len(DATA) - 1])
def test_one_other_bit_anywhere_is_found_out(small, path, monkeypatch, at):
    honest = os.preadv

    def rotten(fd, buffers, offset):
        count = honest(fd, buffers, offset)
        if 0 <= at - offset < count:
            buffers[0][at - offset] ^= 1
        return count

    monkeypatch.setattr(os, "preadv", rotten)
    with pytest.raises(WrongBytesError, match="does not hold"):
        write(path)


class SmallerThanItSays(Disk):
    """What goes beyond its end is there, and where it begins again too."""

    def write(self, fd, data, offset, path):
        super().write(fd, data, offset, path)
        if offset >= 3 * WINDOW:
            super().write(fd, data, offset - 3 * WINDOW, path)


def test_a_stick_that_is_smaller_than_it_says_is_found_out(small, path):
    """Each window could be read back when it had just been written."""
    with pytest.raises(WrongBytesError):
        write(path, SmallerThanItSays(), part=BLOCK)


def test_bytes_are_read_from_the_medium_and_not_from_memory(path):
    def from_the_disk():
        told = Path("/proc/self/io").read_text().splitlines()
        return int(next(line for line in told if line.startswith("read_bytes:")).split()[1])

    size = 3 << 20
    probe = path.with_name("probe")
    probe.write_bytes(bytes(size))
    fd = os.open(probe, os.O_RDONLY)
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    before = from_the_disk()
    os.pread(fd, size, 0)
    os.close(fd)
    if from_the_disk() - before < size:
        pytest.skip("the file system of the test keeps its files in memory")
    before = from_the_disk()
    write(path, data=os.urandom(size), start=123)
    assert from_the_disk() - before >= size


def test_who_writes_is_told_of_every_byte_that_came_back_in_its_own_thread(small, path):
    told, threads = [], set()

    def progress(count):
        told.append(count)
        threads.add(threading.current_thread())

    write(path, progress=progress)
    assert sum(told) == len(DATA)
    assert threads == {threading.current_thread()}


class EndedError(Exception):
    """By who waits."""


def test_who_waits_for_a_slow_medium_may_end_it_and_nothing_goes_on(small, path):
    may_go_on = threading.Event()

    class Slow(Disk):
        def write_out(self, fd, offset, length, path):
            may_go_on.wait(30)

    def progress(count):
        if len(waited) == 3:
            may_go_on.set()  # who ends it waits for what the system is doing
            raise EndedError
        waited.append(count)

    waited = []
    with pytest.raises(EndedError), opened(path, Slow()) as made:
        made.append(DATA, progress)
    assert not [each for each in threading.enumerate() if each.name.startswith("read back")]


class FailsBehind(Disk):
    """The system took the bytes, and cannot write them out."""

    code = errno.EIO

    def write_out(self, fd, offset, length, path):
        with disk_errors(path):
            raise OSError(self.code, os.strerror(self.code))


class FullBehind(FailsBehind):
    code = errno.ENOSPC


@pytest.mark.parametrize(
    ("disk", "error"), [(FailsBehind, P2PHubError), (FullBehind, NoSpaceError)]
)
def test_what_cannot_be_written_out_ends_it(small, path, disk, error):
    with pytest.raises(error):
        write(path, disk())


def test_nothing_is_written_and_nothing_is_wrong(path):
    write(path, data=b"")
    assert path.read_bytes() == b""
