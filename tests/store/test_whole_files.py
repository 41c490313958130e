"""Files that come whole: nothing but the file that was signed becomes a blob, and nothing stays."""

import pytest

from p2phub.errors import QuotaError, WrongBytesError
from p2phub.store.blobs import READ_ONLY
from p2phub.testing.files import random_bytes
from p2phub.testing.publishers import fake_file

DATA = random_bytes("whole", (3 << 20) + 5)
FILE = fake_file("weights.bin", DATA)
CONTENT = FILE.entry.content


def bring(store, data=DATA, leave_out=()):
    """Let it arrive, the last step first, and keep it."""
    whole = store.whole_files.begin(CONTENT)
    try:
        for index in reversed(range(whole.steps.count)):
            start = whole.steps.offset(index)
            if index not in leave_out:
                whole.accept(index, memoryview(data)[start : start + whole.steps.length(index)])
        whole.keep()
    finally:
        store.whole_files.end(whole)


def test_is_planned_as_its_publisher_did_it(store):
    bring(store)
    path = store.blobs.path(CONTENT)
    assert path.read_bytes() == DATA
    assert path.stat().st_mode & 0o777 == READ_ONLY
    assert store.blobs.table(CONTENT) == FILE.table
    assert store.blobs.sha256(CONTENT) == FILE.entry.sha256
    assert store.blobs.verify(CONTENT) == []
    assert not list(store.layout.temp.iterdir())


@pytest.mark.parametrize("at", [0, len(DATA) // 2, len(DATA) - 1])
def test_one_wrong_bit_is_another_file(store, at):
    wrong = bytearray(DATA)
    wrong[at] ^= 1
    with pytest.raises(WrongBytesError):
        bring(store, bytes(wrong))
    assert not store.blobs.has(CONTENT)
    assert not list(store.layout.temp.iterdir())


@pytest.mark.parametrize("index", [0, 1, 3])
def test_what_did_not_come_is_missed(store, index):
    with pytest.raises(WrongBytesError):
        bring(store, leave_out=[index])
    assert not store.blobs.has(CONTENT)


def test_its_room_is_claimed_before_it_comes_and_given_back(reopen):
    store = reopen(quota=len(DATA))
    first = store.whole_files.begin(CONTENT)
    with pytest.raises(QuotaError):
        store.whole_files.begin(CONTENT)
    store.whole_files.end(first)
    bring(store)
    with pytest.raises(QuotaError):
        store.whole_files.begin(CONTENT)


def test_one_that_came_twice_at_once_is_there_once(store):
    first, second = store.whole_files.begin(CONTENT), store.whole_files.begin(CONTENT)
    for whole in (first, second):
        for index in range(whole.steps.count):
            start = whole.steps.offset(index)
            whole.accept(index, memoryview(DATA)[start : start + whole.steps.length(index)])
    first.keep()
    second.keep()
    for whole in (first, second):
        store.whole_files.end(whole)
    assert store.blobs.path(CONTENT).read_bytes() == DATA
    assert not list(store.layout.temp.iterdir())
