"""A file that was read before is known again, unless anything about it speaks against that."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from p2phub.formats.ids import ContentId
from p2phub.formats.pieces import PieceTable
from p2phub.store.sources import Remembered, Sources, sample
from p2phub.store.stamp import Stamp

PATH = Path("/models/mine/a.bin")
STAMP = Stamp(device=2**64 - 1, inode=7, size=5, mtime_ns=1_000_000_001, ctime_ns=2)
KNOWN = Remembered(ContentId(5, bytes(32)), bytes(32), bytes(20))


@pytest.fixture
def sources(store):
    sources = Sources(store.index)
    sources.remember([(PATH, STAMP, KNOWN)])
    return sources


def test_what_a_file_held_is_known_by_its_path_and_stamp(sources):
    assert sources.recall(PATH, STAMP) == KNOWN


@pytest.mark.parametrize("field", ["device", "inode", "size", "mtime_ns", "ctime_ns"])
def test_another_stamp_is_another_file(sources, field):
    assert sources.recall(PATH, replace(STAMP, **{field: 3})) is None


def test_another_path_is_another_file(sources):
    assert sources.recall(PATH.with_name("b.bin"), STAMP) is None


def test_the_newest_is_remembered(sources):
    later = Remembered(ContentId(5, bytes(31) + b"1"), bytes(32), None)
    sources.remember([(PATH, replace(STAMP, ctime_ns=3), later)])
    assert sources.recall(PATH, STAMP) is None
    assert sources.recall(PATH, replace(STAMP, ctime_ns=3)) == later


def test_a_file_system_that_counts_whole_seconds_is_not_believed(sources):
    coarse = replace(STAMP, mtime_ns=1_000_000_000, ctime_ns=2_000_000_000)
    sources.remember([(PATH, coarse, KNOWN)])
    assert sources.recall(PATH, coarse) is None


@pytest.mark.parametrize(("pieces", "looked_at"), [(2, 1), (8, 1), (9, 2), (64, 8), (5000, 8)])
def test_few_pieces_are_looked_at_and_they_are_spread(pieces, looked_at):
    table = PieceTable.build([1 << 20] * pieces, [bytes(32)] * pieces)
    chosen = sample(table)
    assert len(chosen) == looked_at
    assert chosen == sample(table)
    gaps = [after - before for before, after in pairwise(chosen)]
    assert all(gap >= pieces // looked_at - 1 for gap in gaps)


def test_a_file_of_one_piece_is_not_read_again():
    assert sample(PieceTable.for_small(ContentId(5, bytes(32)))) == []
