import random

import pytest

from p2phub.formats.pieces import Run
from p2phub.protocol.piece_set import PieceSet
from p2phub.protocol.piece_sizes import PieceSizes
from p2phub.protocol.ports import Holding
from p2phub.protocol.source_state import (
    FIRST_BACK_OFF,
    MAX_FAILURES,
    MOST_BACK_OFF,
    Failure,
    SourceState,
)


def make_state() -> SourceState:
    return SourceState(held=None, cursor=0)


def test_pauses_double_from_fifty_milliseconds_on_and_end_somewhere():
    state, pauses = make_state(), []
    for _ in range(12):
        state.failed(Failure.GONE, now=100.0)
        pauses.append(state.not_before - 100)
    assert pauses[:4] == [pytest.approx(FIRST_BACK_OFF * 2**n) for n in range(4)]
    assert pauses[-1] == MOST_BACK_OFF


def test_a_piece_forgives_failures_and_no_lie():
    state = make_state()
    for _ in range(MAX_FAILURES):
        state.failed(Failure.GONE, 0.0)
    assert state.dropped
    state.brought(1000, 1.0)
    assert not state.dropped
    state.failed(Failure.LIED, 2.0)
    state.brought(1000, 3.0)
    state.forgive()
    assert state.dropped


def test_the_connections_of_a_source_share_what_it_brings():
    state = make_state()
    assert state.share() == 0
    state.begin(Run(0, 8), 0.0)
    state.begin(Run(8, 8), 0.0)
    state.brought(1000, 1.0)
    state.brought(1000, 1.0)
    assert state.share() == pytest.approx(state.rate.value / 2)
    assert state.share(more=1) == pytest.approx(state.rate.value / 3)


def test_which_run_a_piece_belongs_to():
    state = make_state()
    state.begin(Run(0, 8), 0.0)
    state.begin(Run(20, 8), 0.0)
    assert state.asked_for(21) is state.asked_as(Run(20, 8))
    assert state.asked_for(8) is None


class CountingSizes(PieceSizes):
    """Counts the byte ranges that were turned into pieces."""

    looked = 0

    def inside(self, start, end):
        self.looked += 1
        return super().inside(start, end)


def said(pieces: PieceSet) -> Holding:
    return Holding(False, tuple((first * 10, stop * 10) for first, stop in pieces.stretches()))


def test_what_a_source_said_before_is_not_gone_through_again():
    sizes, pieces = CountingSizes([10] * 10_000), PieceSet((at, at + 5) for at in range(0, 9000, 9))
    state = SourceState(PieceSet(), cursor=0)
    state.has(said(pieces), sizes)
    assert sizes.looked == 1000
    for at in range(9100, 9200, 10):
        pieces.add(at, at + 5)
        state.has_more(said(pieces), sizes, now=1.0)
    assert sizes.looked == 1010
    assert state.held == pieces
    assert state.is_growing(now=1.0)


@pytest.mark.parametrize("seed", range(20))
def test_whatever_a_source_says_it_has_that_and_nothing_else(seed):
    dice, sizes = random.Random(seed), PieceSizes([10] * 200)
    pieces, state = PieceSet(), SourceState(PieceSet(), cursor=0)
    state.has(said(pieces), sizes)
    for _ in range(60):
        first = dice.randrange(195)
        what = dice.random()
        if what < 0.8:
            pieces.add(first, first + dice.randrange(1, 6))
        elif what < 0.9:
            pieces.remove(first, first + dice.randrange(1, 6))
        else:
            pieces = PieceSet([(first, first + 5)])
        is_whole = dice.random() < 0.1
        state.has_more(Holding(complete=True) if is_whole else said(pieces), sizes, now=0.0)
        assert state.held == (None if is_whole else pieces)


def test_what_it_turned_out_to_lack_it_is_not_asked_for_because_it_got_something_else():
    sizes, state = PieceSizes([10] * 100), SourceState(PieceSet(), cursor=0)
    state.has(Holding(False, ((0, 500),)), sizes)
    state.held.remove(10, 20)
    state.has_more(Holding(False, ((0, 500), (600, 700))), sizes, now=0.0)
    assert 15 not in state.held
    assert 65 in state.held
