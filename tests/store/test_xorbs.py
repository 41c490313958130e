"""Xorbs of clients become the files that a shard names, and leave nothing else."""

import hashlib
import os

import pytest

from p2phub.errors import MalformedError, NotFoundError, UsageError
from p2phub.formats.xet import Segment, XetFile
from p2phub.store.layout import Layout
from p2phub.store.store import Store
from p2phub.store.xorbs import IDLE, Xorbs
from p2phub.testing.files import random_bytes
from tests.formats.test_xet import packed

SESSION, NAME = "a" * 32, "b" * 64


@pytest.fixture
def store(tmp_path):
    with Store.open(Layout.of(tmp_path)) as store:
        yield store


def left(store):
    """What lies in the folder for what has no name yet."""
    return sorted(path.name for path in store.layout.temp.rglob("*"))


def xorb(store, data, *, session=SESSION, name=NAME):
    made = store.xorbs.begin(session, name, len(data))
    try:
        made.write(data)
        return store.xorbs.keep(session, made)
    finally:
        store.xorbs.end(made)


class TestXorbs:
    def test_make_the_files_that_a_shard_names(self, store):
        parts = [random_bytes(n, 70_000 + n) for n in range(5)]
        assert xorb(store, b"".join(packed(part, n % 3) for n, part in enumerate(parts)))
        kept = store.xorbs.make(SESSION, XetFile((Segment(NAME, 3, 5, 1), Segment(NAME, 0, 2, 1))))
        data = b"".join(parts[3:5] + parts[0:2])
        assert kept.sha256 == hashlib.sha256(data).digest()
        assert store.blobs.path(kept.content).read_bytes() == data

    def test_come_twice_without_harm(self, store):
        data = packed(b"hello", 0)
        assert [xorb(store, data), xorb(store, data)] == [True, False]
        assert len(left(store)) == 2  # the folder and one xorb

    @pytest.mark.parametrize(
        "segment", [Segment("c" * 64, 0, 1, 1), Segment(NAME, 0, 2, 1), Segment(NAME, 9, 10, 1)]
    )
    def test_that_did_not_come_make_nothing(self, store, segment):
        xorb(store, packed(b"hello", 0))
        with pytest.raises(NotFoundError):
            store.xorbs.make(SESSION, XetFile((segment,)))
        with pytest.raises(NotFoundError):  # nor for another upload
            store.xorbs.make("d" * 32, XetFile((Segment(NAME, 0, 1, 1),)))

    @pytest.mark.parametrize("data", [b"rubbish!", packed(b"hello", 0)[:-1]])
    def test_that_are_none_leave_nothing(self, store, data):
        with pytest.raises(MalformedError):
            xorb(store, data)
        assert len(left(store)) == 1

    @pytest.mark.parametrize("name", ["../x", "", "G" * 64])
    def test_have_no_names_that_lead_elsewhere(self, store, name):
        with pytest.raises(UsageError):
            store.xorbs.begin(SESSION, name, 1)
        with pytest.raises(UsageError):
            store.xorbs.begin(name, NAME, 1)

    def test_that_nobody_goes_on_with_are_dropped(self, store):
        now = [0.0]
        xorbs = Xorbs(store.layout, store.disk, store.space, store.uploads, lambda: now[0])
        made = xorbs.begin(SESSION, NAME, 100)
        made.write(packed(b"hello", 0))
        xorbs.keep(SESSION, made)
        xorbs.end(made)
        now[0] = IDLE + 1
        with pytest.raises(NotFoundError):
            xorbs.make(SESSION, XetFile((Segment(NAME, 0, 1, 1),)))
        assert left(store) == []
        assert not os.listdir(store.layout.temp)
