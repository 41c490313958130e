"""Thousands of blobs looked at together: as careful as with each of them alone."""

import os

import pytest

from p2phub.errors import DamagedBlobError, NotFoundError
from p2phub.store.index import Index
from p2phub.testing.samples import make_sample

from .conftest import bring

FILES = [make_sample(10 + number, seed=number) for number in range(20)]
CONTENTS = [sample.content for sample in FILES]
BIG = make_sample(1_100_000, seed="big", piece=400_000)


@pytest.fixture
def full(store):
    """A store with all of them."""
    for sample in [*FILES, BIG]:
        bring(store, sample)
    return store


def change(path, data):
    """Write to a blob as root may."""
    path.chmod(0o644)
    path.write_bytes(data)


def touch(path):
    os.utime(path, ns=(1, 1))


def whole(opener, size):
    reader = opener()
    buffer = memoryview(bytearray(size + 1))
    try:
        return bytes(buffer[: reader.read_into(0, buffer)])
    finally:
        reader.close()


class TestWhatIsRight:
    def test_everything_that_is_as_it_was(self, full):
        assert full.shelf.right([*CONTENTS, BIG.content]) == {*CONTENTS, BIG.content}

    def test_nothing_that_is_not_here(self, store):
        begun = store.partials.open(BIG.content, BIG.table)
        assert store.shelf.right([*CONTENTS, BIG.content]) == set()
        store.partials.close(begun)

    def test_a_changed_one_is_put_aside(self, full):
        change(full.blobs.path(CONTENTS[0]), bytes(CONTENTS[0].size))
        assert full.shelf.right(CONTENTS) == set(CONTENTS[1:])
        assert not full.blobs.known(CONTENTS[0])
        assert len(list(full.layout.quarantine.iterdir())) == 1

    def test_one_with_another_stamp_and_the_right_bytes_is_right(self, full):
        touch(full.blobs.path(CONTENTS[0]))
        assert full.shelf.right(CONTENTS) == set(CONTENTS)

    def test_a_link_in_its_place_is_not(self, full, tmp_path):
        path = full.blobs.path(CONTENTS[0])
        (tmp_path / "elsewhere").write_bytes(FILES[0].data)
        path.unlink()
        path.symlink_to(tmp_path / "elsewhere")
        assert full.shelf.right(CONTENTS) == set(CONTENTS[1:])

    def test_one_that_somebody_removed_is_forgotten(self, full):
        full.blobs.path(CONTENTS[0]).unlink()
        assert full.shelf.right(CONTENTS) == set(CONTENTS[1:])
        assert not full.blobs.known(CONTENTS[0])

    def test_one_whose_table_is_lost_is_not(self, full):
        with full.index.write() as statements:
            statements.run("blobs.drop_table", BIG.content.digest, BIG.content.size)
        assert full.shelf.right([BIG.content]) == set()

    def test_a_file_in_place_is_as_long_as_nobody_writes_to_it(self, store, tmp_path):
        path = tmp_path / "mine.txt"
        path.write_bytes(b"mine")
        content = store.blobs.ingest(path, in_place=True).content
        assert store.shelf.right([content]) == {content}
        path.write_bytes(b"more")
        assert store.shelf.right([content]) == set()

    def test_costs_one_query(self, full, monkeypatch):
        reads, read = [], Index.read
        monkeypatch.setattr(Index, "read", lambda self: reads.append(1) or read(self))
        full.shelf.right(CONTENTS)
        full.shelf.openers(CONTENTS)
        assert len(reads) == 2


class TestOpening:
    def test_all_that_is_here(self, full):
        openers = full.shelf.openers(CONTENTS)
        for sample, opener in zip(FILES, openers, strict=True):
            assert whole(opener, sample.content.size) == sample.data

    def test_nothing_that_is_not(self, store):
        bring(store, FILES[1])
        openers = store.shelf.openers(CONTENTS[:3])
        assert [opener is not None for opener in openers] == [False, True, False]

    def test_a_whole_file_that_is_not_committed_yet(self, store):
        begun = store.partials.open(CONTENTS[0], FILES[0].table)
        assert store.shelf.openers(CONTENTS[:1]) == [None]
        begun.accept(0, memoryview(FILES[0].data))
        (opener,) = store.shelf.openers(CONTENTS[:1])
        assert whole(opener, CONTENTS[0].size) == FILES[0].data
        store.partials.close(begun)

    def test_a_file_in_place_is_compared_after_each_read(self, store, tmp_path):
        path = tmp_path / "mine.txt"
        path.write_bytes(b"mine")
        content = store.blobs.ingest(path, in_place=True).content
        (opener,) = store.shelf.openers([content])
        assert whole(opener, 4) == b"mine"
        reader = opener()
        path.write_bytes(b"more")
        with pytest.raises(DamagedBlobError):
            reader.read_into(0, memoryview(bytearray(4)))
        reader.close()

    def test_one_that_was_changed_meanwhile_is_owned_up_to(self, full):
        (opener,) = full.shelf.openers(CONTENTS[:1])
        change(full.blobs.path(CONTENTS[0]), bytes(CONTENTS[0].size))
        with pytest.raises(DamagedBlobError):
            opener()

    def test_one_that_was_removed_meanwhile_is_not_found(self, full):
        (opener,) = full.shelf.openers(CONTENTS[:1])
        full.blobs.path(CONTENTS[0]).unlink()
        with pytest.raises(NotFoundError):
            opener()

    def test_one_that_was_touched_meanwhile_is_given_out(self, full):
        (opener,) = full.shelf.openers(CONTENTS[:1])
        touch(full.blobs.path(CONTENTS[0]))
        assert whole(opener, CONTENTS[0].size) == FILES[0].data

    def test_one_that_somebody_removed_is_not_offered(self, full):
        full.blobs.path(CONTENTS[0]).unlink()
        assert full.shelf.openers(CONTENTS[:1]) == [None]
        assert not full.blobs.known(CONTENTS[0])
