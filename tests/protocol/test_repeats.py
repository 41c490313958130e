"""Bytes that a file has twice come over the wire once."""

import pytest

from p2phub.formats.digest import blake3
from p2phub.formats.pieces import PieceTable, Run
from p2phub.protocol.repeats import LEAST, without_repeats

MIB = 1 << 20


def table_of(words, sizes=None):
    lengths = [MIB] * len(words) if sizes is None else [sizes[word] for word in words]
    return PieceTable.build(lengths, [blake3(word.encode()) for word in words])


@pytest.mark.parametrize(
    ("words", "runs", "left"),
    [
        ("abcd", [(0, 4)], [(0, 4)]),
        ("abab", [(0, 4)], [(0, 2)]),
        ("aaaa", [(0, 4)], [(0, 1)]),
        ("abac", [(0, 4)], [(0, 2), (3, 1)]),
        ("abac", [(2, 2)], [(2, 2)]),  # the first place is not missing: it is no concern of ours
        ("abcab", [(0, 1), (2, 3)], [(0, 1), (2, 1), (4, 1)]),
        ("abaab", [(0, 2), (2, 3)], [(0, 2)]),
        ("ab", [], []),
    ],
)
def test_a_digest_is_asked_for_once(words, runs, left):
    found = without_repeats(table_of(words), [Run(*run) for run in runs])
    assert found == [Run(*run) for run in left]


def test_a_few_bytes_do_not_cut_a_run_in_two():
    sizes = {"a": LEAST - 1, "b": MIB, "c": MIB, "z": LEAST // 2}
    assert without_repeats(table_of("abac", sizes), [Run(0, 4)]) == [Run(0, 4)]
    both = without_repeats(table_of("abacz", sizes | {"z": LEAST}), [Run(0, 5)])
    assert both == [Run(0, 5)]
    side_by_side = table_of("azbazc", sizes)  # together they are worth it
    assert without_repeats(side_by_side, [Run(0, 6)]) == [Run(0, 3), Run(5, 1)]


def test_a_table_that_gives_one_digest_two_lengths_leaves_nothing_out():
    digest = blake3(b"x")
    table = PieceTable.build([MIB, MIB - 1, MIB], [digest, digest, digest])
    assert without_repeats(table, [Run(0, 3)]) == [Run(0, 2)]


def test_a_million_repeats_take_no_time_that_grows_with_their_square():
    table = PieceTable.build([LEAST] * 200_000, [bytes(32), blake3(b"a")] * 100_000)
    assert without_repeats(table, [Run(0, table.count)]) == [Run(0, 2)]
    alternating = PieceTable.build(
        [LEAST] * 100_000,
        [bytes(32) if n % 2 else n.to_bytes(32, "big") for n in range(2, 100_002)],
    )
    assert len(without_repeats(alternating, [Run(0, alternating.count)])) == 49_999
