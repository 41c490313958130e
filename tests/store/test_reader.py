"""Serving from blobs and from files on their way."""

import os

import pytest

from p2phub.errors import DamagedBlobError, NotFoundError
from p2phub.store.reader import BlobReader, PartialReader
from p2phub.testing.samples import make_sample

from .conftest import bring

BIG = make_sample(1_200_000, seed="big", piece=100_000)


def read(reader, offset, length):
    buffer = bytearray(length)
    count = reader.read_into(offset, memoryview(buffer))
    return bytes(buffer[:count])


@pytest.fixture
def blob(store):
    bring(store, BIG)
    fd = store.blobs.open_verified(BIG.content)
    reader = BlobReader(fd, store.blobs.path(BIG.content))
    yield reader
    reader.close()


@pytest.fixture
def partial(store):
    partial = store.partials.open(BIG.content, BIG.table)
    for index in (2, 3, 11):
        partial.accept(index, memoryview(BIG.piece(index)))
    return partial


def test_a_blob_gives_any_range_and_ends_where_the_file_ends(blob):
    assert read(blob, 99_000, 2_000) == BIG.data[99_000:101_000]
    assert read(blob, 1_199_990, 100) == BIG.data[-10:]
    assert read(blob, 1_200_000, 10) == b""


def test_closing_twice_closes_nobody_elses_file(blob):
    blob.close()
    other = os.open("/dev/null", os.O_RDONLY)
    blob.close()
    os.fstat(other)
    os.close(other)


def test_a_disk_that_cannot_be_read_is_our_damage_and_not_the_peers(blob, monkeypatch):
    def failing(fd, buffers, offset):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "preadv", failing)
    with pytest.raises(DamagedBlobError):
        read(blob, 0, 10)


def test_only_verified_bytes_of_a_partial_are_served(partial):
    reader = PartialReader(partial)
    assert read(reader, 250_000, 100_000) == BIG.data[250_000:350_000]
    assert read(reader, 1_199_990, 100) == BIG.data[-10:]
    for offset, length in ((199_999, 2), (399_999, 2), (0, 1), (1_200_001, 1), (-5, 2)):
        with pytest.raises(NotFoundError):
            read(reader, offset, length)
    reader.close()


def test_a_transfer_goes_on_when_its_file_is_committed_and_removed_meanwhile(store, partial):
    reader = PartialReader(partial)
    for index in range(12):
        partial.accept(index, memoryview(BIG.piece(index)))
    partial.commit()
    assert read(reader, 0, 1_200_000) == BIG.data
    store.blobs.remove(BIG.content)
    assert read(reader, 500_000, 10) == BIG.data[500_000:500_010]
    reader.close()


def test_a_partial_that_became_a_blob_before_it_was_opened_is_not_found(store, partial):
    for index in range(12):
        partial.accept(index, memoryview(BIG.piece(index)))
    partial.commit()
    with pytest.raises(NotFoundError):
        PartialReader(partial)
