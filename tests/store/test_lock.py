"""Two processes, one store."""

import os
import signal
import subprocess
import sys

import pytest

from p2phub.errors import StoreLockedError
from p2phub.store.disk import Disk
from p2phub.store.layout import Layout
from p2phub.store.lock import StoreLock
from p2phub.testing.disks import FullDisk

HOLDER = """
import sys
from pathlib import Path
from p2phub.store.disk import Disk
from p2phub.store.layout import Layout
from p2phub.store.lock import StoreLock
lock = StoreLock.acquire(Layout.of(Path(sys.argv[1])), Disk())
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def layout(tmp_path):
    layout = Layout.of(tmp_path / "home")
    layout.make(Disk())
    return layout


@pytest.fixture
def holder(layout):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(layout.home)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def test_a_second_process_is_told_who_holds_the_store_and_where_to_ask(layout, holder):
    layout.gateway.write_text("http://127.0.0.1:8642\n")
    with pytest.raises(StoreLockedError) as caught:
        StoreLock.acquire(layout, Disk())
    assert str(holder.pid) in caught.value.message
    assert "http://127.0.0.1:8642" in caught.value.message
    assert "http://127.0.0.1:8642" in caught.value.remedy
    assert caught.value.exit == 7


def test_a_holder_without_a_gateway_is_named_all_the_same(layout, holder):
    with pytest.raises(StoreLockedError, match=f"process {holder.pid}"):
        StoreLock.acquire(layout, Disk())


def test_a_killed_holder_leaves_no_lock_behind(layout, holder):
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    StoreLock.acquire(layout, Disk()).release()


def test_the_number_of_an_earlier_longer_pid_does_not_linger(layout):
    layout.lock.write_text("123456789012")
    lock = StoreLock.acquire(layout, Disk())
    assert layout.lock.read_text() == str(os.getpid())
    lock.release()


def test_a_refused_second_process_does_not_change_the_holders_number(layout, holder):
    with pytest.raises(StoreLockedError):
        StoreLock.acquire(layout, Disk())
    assert layout.lock.read_text() == str(holder.pid)


def test_a_full_disk_keeps_nobody_from_opening_the_store_to_empty_it(layout):
    StoreLock.acquire(layout, FullDisk(1)).release()


def test_releasing_twice_closes_nobody_elses_file(layout):
    lock = StoreLock.acquire(layout, Disk())
    lock.release()
    other = os.open(layout.lock, os.O_RDONLY)
    lock.release()
    os.fstat(other)
    os.close(other)
