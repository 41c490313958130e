"""Parts of files are verified when they are read, whole files or not."""

import os

import pytest

from p2phub.errors import DamagedBlobError, NotFoundError
from p2phub.formats.limits import MAX_PIECE
from p2phub.store.excerpt import read_excerpt
from p2phub.testing.samples import make_sample

from .conftest import bring
from .test_blobs import flip, rot

BIG = make_sample(1_200_000, seed="big", piece=100_000)
SMALL = make_sample(5_000, seed="small")
RANGES = [(150_000, 150_010), (99_990, 300_010), (0, 3), (7, 7)]


def excerpt(store, sample, ranges=RANGES):
    return read_excerpt(store.blobs, store.partials, sample.content, ranges)


def bytes_of(sample, ranges=RANGES):
    return b"".join(sample.data[start:stop] for start, stop in ranges)


def begin(store, *indexes):
    partial = store.partials.open(BIG.content, BIG.table, part=0)
    for index in indexes:
        partial.accept(index, memoryview(BIG.piece(index)))
    return partial


def test_ranges_of_a_whole_file_come_one_after_another(store):
    bring(store, BIG)
    bring(store, SMALL)
    assert excerpt(store, BIG) == bytes_of(BIG)
    ends = [(4_999, 5_000), (0, 2)]
    assert excerpt(store, SMALL, ends) == bytes_of(SMALL, ends)


def test_ranges_of_what_is_here_of_a_file(store, reopen):
    store.partials.close(begin(store, 0, 1, 2, 3))
    assert excerpt(store, BIG) == bytes_of(BIG)
    assert excerpt(reopen(), BIG) == bytes_of(BIG)


@pytest.mark.parametrize("indexes", [(), (0, 1, 3), (0, 1, 2)])
def test_a_piece_that_is_not_here_is_said_to_be_missing(store, indexes):
    partial = begin(store, *indexes)
    with pytest.raises(NotFoundError):
        excerpt(store, BIG)
    store.partials.close(partial)
    with pytest.raises(NotFoundError):
        excerpt(store, BIG)


def test_a_blob_that_rotted_unseen_is_found_out_by_who_reads_a_part_of_it(store):
    bring(store, BIG)
    rot(store, BIG.content, 250_000)
    assert excerpt(store, BIG, [(0, 100_000)]) == BIG.data[:100_000]
    with pytest.raises(DamagedBlobError):
        excerpt(store, BIG)
    assert not store.blobs.has(BIG.content)
    assert (store.layout.quarantine / str(BIG.content)).exists()


def test_a_piece_of_a_partial_that_rotted_unseen_is_wanted_again(store):
    partial = begin(store, 0, 1, 2, 3)
    flip(partial.data, 250_000)
    with pytest.raises(DamagedBlobError):
        excerpt(store, BIG)
    assert [partial.have(n) for n in range(5)] == [True, True, False, True, False]
    partial.accept(2, memoryview(BIG.piece(2)))
    assert excerpt(store, BIG) == bytes_of(BIG)


def test_a_partial_that_somebody_cut_short_gives_no_wrong_byte(store):
    partial = begin(store, 0, 1, 2, 3)
    os.truncate(partial.data, 120_000)
    with pytest.raises(DamagedBlobError):
        excerpt(store, BIG)
    assert not partial.have(1)


def test_many_small_ranges_hash_a_piece_once(store, monkeypatch):
    bring(store, BIG)
    checked = []
    check = type(BIG.table).check
    monkeypatch.setattr(
        type(BIG.table), "check", lambda *given: checked.append(given[1]) or check(*given)
    )
    ranges = [(n, n + 2) for n in range(0, 300_000, 100)]
    assert excerpt(store, BIG, ranges) == bytes_of(BIG, ranges)
    assert checked == [0, 1, 2]
    assert BIG.table.length(0) < MAX_PIECE
