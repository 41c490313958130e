import random

import pytest

from p2phub.protocol.piece_set import PieceSet


def as_set(pieces: PieceSet) -> set[int]:
    return {index for first, stop in pieces.stretches() for index in range(first, stop)}


@pytest.mark.parametrize("seed", range(20))
def test_it_says_the_same_as_a_plain_set_whatever_is_done_to_it(seed):
    chance = random.Random(seed)
    pieces, plain = PieceSet(), set()
    for _ in range(200):
        first = chance.randrange(60)
        stop = first + chance.randrange(-1, 12)
        if chance.random() < 0.6:
            pieces.add(first, stop)
            plain |= set(range(first, stop))
        else:
            pieces.remove(first, stop)
            plain -= set(range(first, stop))
        assert as_set(pieces) == plain
        assert bool(pieces) == bool(plain)
        assert all((index in pieces) == (index in plain) for index in range(75))
        bounds = list(pieces.bounds())
        assert bounds == sorted(set(bounds))
        cut = {index for part in pieces.stretches(first, first + 9) for index in range(*part)}
        assert cut == {index for index in plain if first <= index < first + 9}


@pytest.mark.parametrize("seed", range(10))
def test_what_two_sets_have_in_common(seed):
    chance = random.Random(seed)
    one, other = (
        PieceSet((first, first + chance.randrange(9)) for first in chance.sample(range(90), 12))
        for _ in range(2)
    )
    common = {index for first, stop in one.common(other) for index in range(first, stop)}
    assert common == as_set(one) & as_set(other)


def test_where_a_stretch_ends():
    pieces = PieceSet([(3, 7), (7, 9), (20, 21)])
    assert [pieces.end_of(index) for index in (2, 3, 8, 9, 20)] == [2, 9, 9, 9, 21]
    assert pieces == PieceSet([(20, 21), (3, 9)])
    assert pieces != PieceSet([(3, 9)])
