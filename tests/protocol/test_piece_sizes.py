import pytest

from p2phub.protocol.piece_sizes import PieceSizes

SIZES = PieceSizes([100, 100, 100, 50])


@pytest.mark.parametrize(
    ("span", "pieces"),
    [
        ((0, 350), (0, 4)),
        ((0, 349), (0, 3)),
        ((1, 350), (1, 4)),
        ((50, 150), (1, 1)),
        ((100, 200), (1, 2)),
        ((320, 330), (4, 4)),
        ((0, 1000), (0, 4)),
    ],
)
def test_only_pieces_that_lie_whole_in_a_range_are_in_it(span, pieces):
    assert SIZES.inside(*span) == pieces


def test_a_cut_has_one_piece_at_least_and_ends_at_the_limit():
    assert SIZES.cut(0, 4, 1) == 1
    assert SIZES.cut(0, 4, 101) == 2
    assert SIZES.cut(1, 3, 10_000) == 3


def test_a_file_without_pieces():
    empty = PieceSizes([])
    assert (empty.count, empty.of(0, 0), empty.inside(0, 0)) == (0, 0, (0, 0))
