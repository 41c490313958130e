"""What is here already is not fetched again, and is verified all the same."""

import os

import pytest

from p2phub.formats.digest import blake3
from p2phub.formats.pieces import PieceTable, Run
from p2phub.testing.samples import Sample, make_sample

from .conftest import bring, held
from .test_blobs import flip, rot

OLD = make_sample(2_000_000, seed="old", piece=100_000)


def made_of(*pieces):
    data = b"".join(pieces)
    table = PieceTable.build([len(piece) for piece in pieces], map(blake3, pieces))
    return Sample(table, data)


def link(store, sample, progress=None):
    partial = store.partials.open(sample.content, sample.table)
    linked = store.link_pieces(partial, progress or (lambda count: None))
    return partial, linked


NEW = made_of(OLD.piece(7), os.urandom(100_000), *(OLD.piece(n) for n in range(12)), OLD.piece(7))


def test_pieces_in_another_order_come_from_the_blob_that_has_them(store):
    bring(store, OLD)
    seen = []
    partial, linked = link(store, NEW, seen.append)
    assert linked == sum(seen) == 1_400_000
    assert partial.missing() == [Run(1, 1)]
    partial.accept(1, memoryview(NEW.piece(1)))
    partial.commit()
    assert held(store, NEW.content) == NEW.data


def test_pieces_come_from_several_blobs(store):
    other = make_sample(1_500_000, seed="other", piece=100_000)
    bring(store, OLD)
    bring(store, other)
    both = made_of(*(sample.piece(n) for n in range(7) for sample in (OLD, other)))
    partial, linked = link(store, both)
    assert linked == 1_400_000
    assert partial.complete
    partial.commit()
    assert held(store, both.content) == both.data


def test_nothing_here_links_nothing(store):
    partial, linked = link(store, NEW)
    assert linked == partial.count_done == 0


def test_what_the_partial_has_already_is_not_read_again(store):
    bring(store, OLD)
    partial = store.partials.open(NEW.content, NEW.table)
    partial.accept(0, memoryview(NEW.piece(0)))
    assert store.link_pieces(partial) == 1_300_000
    assert store.link_pieces(partial) == 0


def test_a_small_file_is_not_looked_for_among_pieces(store):
    bring(store, OLD)
    small = make_sample(5_000)
    assert link(store, small)[1] == 0


def test_a_blob_that_changed_gives_nothing_and_is_found_out(store):
    bring(store, OLD)
    flip(store.blobs.path(OLD.content), 0)
    assert link(store, NEW)[1] == 0
    assert not store.blobs.has(OLD.content)


def test_a_piece_that_rotted_unseen_is_not_taken_over(store):
    bring(store, OLD)
    rot(store, OLD.content, 350_000)
    partial, _ = link(store, NEW)
    assert not partial.have(5)  # piece 3 of the old file
    for index in range(NEW.table.count):
        if partial.have(index):
            assert partial.read(NEW.table.offset(index), NEW.table.length(index)) == NEW.piece(
                index
            )


@pytest.mark.parametrize("count", [1, 2])
def test_a_blob_that_went_away_meanwhile_is_no_error(store, count):
    bring(store, OLD)
    store.blobs.path(OLD.content).unlink()
    assert link(store, NEW)[1] == 0
