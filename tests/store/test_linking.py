"""What is here already is not fetched again, and is verified all the same."""

import os

import pytest

from p2phub.errors import NoSpaceError
from p2phub.formats.digest import blake3
from p2phub.formats.pieces import PieceTable, Run
from p2phub.store.disk import Disk
from p2phub.store.linking import Strand, strands_of
from p2phub.store.statements import query as QUERY
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


def test_a_rotten_blob_is_found_out_and_another_one_has_the_piece(store):
    twin = made_of(*(OLD.piece(n) for n in range(20)), os.urandom(5))
    bring(store, OLD)
    bring(store, twin)  # the newer one is read first
    rot(store, twin.content, 350_000)
    partial, linked = link(store, NEW)
    assert linked == 1_400_000
    assert partial.missing() == [Run(1, 1)]
    assert not store.blobs.has(twin.content)
    assert (store.layout.quarantine / str(twin.content)).exists()
    assert store.blobs.has(OLD.content)


def test_an_index_that_lies_about_a_good_blob_costs_a_piece_and_not_the_blob(store):
    bring(store, OLD)
    with store.index._writer as database:
        database.execute(
            "UPDATE pieces SET offset = offset + 7 WHERE digest = ?", [OLD.table.digest(3)]
        )
    partial, _ = link(store, NEW)
    assert not partial.have(5)
    assert store.blobs.has(OLD.content)


def test_another_file_on_its_way_gives_what_it_has(store):
    other = store.partials.open(OLD.content, OLD.table)
    for index in (2, 7):
        other.accept(index, memoryview(OLD.piece(index)))
    partial, linked = link(store, NEW)
    assert linked == 400_000
    assert [partial.have(n) for n in (0, 4, 9, 14)] == [True] * 4  # pieces 7, 2, 7, 7
    store.partials.close(other)


def test_a_file_that_an_earlier_process_began_gives_what_is_right_of_it(reopen):
    store = reopen()
    other = store.partials.open(OLD.content, OLD.table)
    for index in (2, 7):
        other.accept(index, memoryview(OLD.piece(index)))
    data = other.data
    store.partials.close(other)
    store = reopen()
    flip(data, OLD.table.offset(7))
    partial, linked = link(store, NEW)
    assert linked == 100_000
    assert partial.have(4)
    assert store.partials.get(OLD.content) is None


def test_a_piece_of_another_partial_that_rots_meanwhile_is_lost_there_too(store):
    other = store.partials.open(OLD.content, OLD.table)
    other.accept(2, memoryview(OLD.piece(2)))
    flip(other.data, OLD.table.offset(2))
    assert link(store, NEW)[1] == 0
    assert not other.have(2)


def test_what_the_file_has_in_another_place_is_repeated_there(store):
    partial = store.partials.open(NEW.content, NEW.table)
    partial.accept(0, memoryview(NEW.piece(0)))
    assert store.link_pieces(partial, wanted=[Run(1, 11)]) == 100_000
    assert partial.ranges() == ((0, 100_000), (900_000, 1_000_000))


def test_a_repeated_piece_that_rotted_meanwhile_is_lost_in_both_places(store):
    partial = store.partials.open(NEW.content, NEW.table)
    partial.accept(0, memoryview(NEW.piece(0)))
    flip(partial.data, 50)
    assert store.link_pieces(partial) == 0
    assert partial.missing() == [Run(0, 15)]


def test_a_table_with_one_digest_for_two_lengths_loses_no_piece(store):
    digest = blake3(OLD.piece(0))
    table = PieceTable.build([100_000, 100_001, 900_000], [digest, digest, bytes(32)])
    partial = store.partials.open(table.content_id, table)
    partial.accept(0, memoryview(OLD.piece(0)))
    assert store.link_pieces(partial) == 0
    assert partial.have(0)


def test_only_what_is_wanted_is_copied(store):
    bring(store, OLD)
    partial = store.partials.open(NEW.content, NEW.table)
    assert store.link_pieces(partial, wanted=[Run(1, 2), Run(5, 1)]) == 200_000
    assert partial.ranges() == ((200_000, 300_000), (500_000, 600_000))


def test_the_disk_writes_a_copy_while_the_next_pieces_are_read(store, monkeypatch):
    begun = []
    bring(store, OLD)
    monkeypatch.setattr("p2phub.store.partial.EARLY", 500_000)
    monkeypatch.setattr(store.disk, "begin_writing", begun.append)
    pieces = [OLD.piece(n) for n in range(1, 20)]
    new = made_of(pieces[0][:99_999], *pieces, pieces[0])
    assert link(store, new)[1] == 2_000_000
    assert len(begun) == 4


def test_many_pieces_take_few_queries(store, monkeypatch):
    pieces = [bytes([n % 251, n // 251]) * 1_000 for n in range(3_000)]
    old, new = made_of(*pieces), made_of(b"first", *pieces)
    bring(store, old)
    queries = []
    monkeypatch.setattr(
        "p2phub.store.index.query", lambda name: queries.append(name) or QUERY(name)
    )
    assert link(store, new)[1] == 6_000_000
    assert queries.count("blobs.find_pieces") == 3


def test_pieces_that_lie_side_by_side_are_one_strand():
    old, other = make_sample(1_500_000, piece=100_000).table, make_sample(1_300_000, seed=1).table
    new = PieceTable.build(
        [100_000] * 13, [old.digest(n) for n in (3, 4, 5, 9, 10, 0, 1, 2, 3, 4, 5, 6, 7)]
    )
    places = {old.digest(n): [(old.content_id, old.offset(n), 100_000)] for n in range(15)}
    places[old.digest(4)].insert(0, (other.content_id, 77, 100_000))
    places[old.digest(10)] = [(old.content_id, old.offset(10), 5)]  # of another length
    found = strands_of(new, [0, 1, 2, 3, 4, 6, 7, 8], places)
    assert found == {
        old.content_id: [
            Strand(300_000, 0, 3, 600_000),
            Strand(900_000, 3, 1, 1_000_000),
            Strand(100_000, 6, 3, 400_000),
        ]
    }
    assert list(strands_of(new, [1], places, without=[old.content_id])) == [other.content_id]


# ---------------------------------------------------------------- sharing blocks

KIB = 1 << 10
BLOCK = 4 * KIB
EVEN = make_sample(8 << 20, seed="even", piece=256 * KIB)


class SharingDisk(Disk):
    """Copies where a file system that shares blocks would share, and is as strict."""

    def __init__(self):
        self.shared = []
        self.written = []

    def write(self, fd, data, offset, path):
        if path.name == "data":
            self.written.append((offset, len(data)))
        super().write(fd, data, offset, path)

    def clone_range(self, source, start, length, target, at, path):
        assert start % BLOCK == length % BLOCK == at % BLOCK == 0
        assert length > 0
        self.shared.append((start, length, at))
        assert os.pwrite(target, os.pread(source, length, start), at) == length
        return True


@pytest.fixture
def sharing(reopen, monkeypatch):
    monkeypatch.setattr(os, "fstatvfs", lambda fd: type("Found", (), {"f_bsize": BLOCK}))
    return reopen(disk=SharingDisk())


def changed(first, *, lengthen=0):
    """Another first piece, and the rest of EVEN moved by `lengthen` bytes."""
    head = os.urandom(256 * KIB + lengthen)
    return made_of(head, *(EVEN.piece(n) for n in range(first, EVEN.table.count)))


def test_aligned_pieces_share_blocks_and_are_verified_where_they_lie(sharing):
    bring(sharing, EVEN)
    new = changed(1)
    partial, linked = link(sharing, new)
    rest = (8 << 20) - 256 * KIB
    assert sharing.disk.shared == [(256 * KIB, rest, 256 * KIB)]
    assert linked == rest
    partial.accept(0, memoryview(new.piece(0)))
    partial.commit()
    assert held(sharing, new.content) == new.data


def test_pieces_that_only_touch_shared_blocks_are_copied(sharing):
    bring(sharing, EVEN)
    new = made_of(EVEN.piece(0), os.urandom(1), *(EVEN.piece(n) for n in range(4, 32)))
    odd = made_of(os.urandom(BLOCK - 1), new.piece(1), *(EVEN.piece(n) for n in range(4, 32)))
    partial, linked = link(sharing, odd)
    assert linked == 28 * 256 * KIB
    partial, linked = link(sharing, new)  # one byte off: nothing is aligned
    assert partial.missing() == [Run(1, 1)]
    cut = [EVEN.data[:300_000], EVEN.data[300_000 : 1 << 20], os.urandom(KIB)]
    cut = made_of(cut[0], cut[1], *(EVEN.piece(n) for n in range(4, 32)), cut[2])
    assert link(sharing, cut)[0].missing() == [Run(0, 2), Run(30, 1)]


@pytest.mark.parametrize("kept", [range(19), range(1, 20), range(1, 19)], ids=str)
def test_of_pieces_that_begin_and_end_inside_blocks_only_the_edges_are_copied(sharing, kept):
    bring(sharing, OLD)  # pieces of 100,000 bytes: no bound is a block's
    new = made_of(*(OLD.piece(n) if n in kept else os.urandom(100_000) for n in range(20)))
    sharing.disk.written.clear()
    partial, linked = link(sharing, new)
    assert linked == 100_000 * len(kept)
    assert [partial.have(n) for n in range(20)] == [n in kept for n in range(20)]
    start, stop = kept[0] * 100_000, (kept[-1] + 1) * 100_000
    low, high = -(-start // BLOCK) * BLOCK, stop // BLOCK * BLOCK
    assert sharing.disk.shared == [(low, high - low, low)]
    edges = [(start, low - start), (high, stop - high)]
    assert sharing.disk.written == [edge for edge in edges if edge[1]]
    assert sharing.blobs.has(OLD.content)


def test_an_edge_that_rotted_unseen_does_not_count(sharing):
    bring(sharing, OLD)
    rot(sharing, OLD.content, 100_001)  # before the first whole block of what is kept
    new = made_of(os.urandom(100_000), *(OLD.piece(n) for n in range(1, 20)))
    partial, _ = link(sharing, new)
    assert sharing.disk.shared
    assert not partial.have(1)
    assert not sharing.blobs.has(OLD.content)


def test_a_blob_that_rotted_unseen_is_not_shared(sharing):
    bring(sharing, EVEN)
    rot(sharing, EVEN.content, 3 << 20)
    partial, _ = link(sharing, changed(1))
    assert not partial.have(12)
    assert not sharing.blobs.has(EVEN.content)


def test_what_shares_blocks_needs_no_room(sharing, monkeypatch):
    bring(sharing, EVEN)
    new = changed(1)
    room = 400 * KIB  # for the first piece, which comes from elsewhere
    monkeypatch.setattr(sharing.disk, "free_bytes", lambda folder: room)
    partial = sharing.partials.open(new.content, new.table, part=0)
    assert sharing.link_pieces(partial) == (8 << 20) - 256 * KIB
    same = made_of(*(EVEN.piece(n) for n in range(2, 32)))
    partial = sharing.partials.open(same.content, same.table, part=0)
    room = 200 * KIB  # less than was promised to the first
    assert sharing.link_pieces(partial) == same.table.size
    more = changed(2)
    partial = sharing.partials.open(more.content, more.table, part=0)
    with pytest.raises(NoSpaceError):
        sharing.link_pieces(partial)


def test_what_cannot_share_blocks_is_not_begun_without_room(store, monkeypatch):
    bring(store, EVEN)
    new = changed(1)
    monkeypatch.setattr(store.disk, "free_bytes", lambda folder: 7 << 20)
    partial = store.partials.open(new.content, new.table, part=0)
    with pytest.raises(NoSpaceError):
        store.link_pieces(partial)
    assert partial.count_done == 0
    store.partials.close(partial)


def test_blocks_never_come_over_a_piece_that_is_there(sharing):
    bring(sharing, EVEN)
    new = changed(1)
    partial = sharing.partials.open(new.content, new.table)
    partial.accept(5, memoryview(new.piece(5)))
    with sharing.blobs.opened(EVEN.content) as fd:
        assert not partial.share(4, 3, fd, EVEN.table.offset(4))
    assert sharing.disk.shared == []


def test_where_blocks_cannot_be_shared_everything_is_copied(store):
    bring(store, EVEN)
    _, linked = link(store, changed(1))
    assert linked == (8 << 20) - 256 * KIB
