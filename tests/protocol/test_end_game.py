import pytest

from p2phub.formats.pieces import Run
from p2phub.protocol.end_game import end_to_give, is_sooner, seconds_left
from p2phub.protocol.piece_set import PieceSet
from p2phub.protocol.piece_sizes import PieceSizes
from p2phub.protocol.source_state import SourceState

SIZES = PieceSizes([1000] * 100)


def busy(rate: float, at: int = 0, stop: int = 10) -> SourceState:
    """A source of `rate` bytes a second that is at piece `at` of a run since second 10."""
    state = SourceState(held=None, cursor=0)
    state.rate.begin(0.0)
    state.rate.add(int(10 * rate), 10.0)
    state.begin(Run(0, stop), 10.0)
    state.asked[0].at, state.asked[0].since = at, 10.0
    return state


def idle(rate: float, held: PieceSet | None = None) -> SourceState:
    state = SourceState(held=held, cursor=0)
    if rate:
        state.rate.begin(0.0)
        state.rate.add(int(10 * rate), 10.0)
    return state


@pytest.mark.parametrize(("ours", "given"), [(1000, (5, 10)), (9000, (1, 10)), (100, None)])
def test_a_run_is_cut_in_proportion_to_the_speeds(ours, given):
    slow = busy(1000)
    assert end_to_give(slow.asked[0], slow, idle(ours), SIZES) == given


def test_of_a_source_of_unknown_speed_half_is_given():
    slow = busy(1000)
    assert end_to_give(slow.asked[0], slow, idle(0), SIZES) == (5, 10)


def test_only_what_the_other_one_has_is_given():
    slow, held = busy(1000), PieceSet([(2, 4), (6, 8)])
    assert end_to_give(slow.asked[0], slow, idle(1000, held), SIZES) == (6, 8)
    assert end_to_give(slow.asked[0], slow, idle(1000, PieceSet([(0, 2)])), SIZES) is None


def test_how_long_a_run_will_take_still():
    slow = busy(1000, at=4)
    assert seconds_left(slow.asked[0], slow, SIZES, 10) == pytest.approx(6)
    assert seconds_left(slow.asked[0], slow, SIZES, 20) == pytest.approx(10)  # silent for so long
    done = busy(1000, at=10)
    assert seconds_left(done.asked[0], done, SIZES, 20) == 0


def test_a_last_piece_is_asked_for_twice_only_if_that_is_much_sooner():
    slow = busy(100, at=9)
    assert is_sooner(slow.asked[0], 10.0, idle(1000), slow, SIZES)
    assert not is_sooner(slow.asked[0], 10.0, idle(150), slow, SIZES)
    assert not is_sooner(slow.asked[0], 10.0, idle(1000, PieceSet([(0, 9)])), slow, SIZES)
