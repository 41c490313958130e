import pytest

from p2phub.formats.pieces import Run
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
