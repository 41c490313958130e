"""What is remembered of losses is forgotten in time, and counted in a row only."""

import pytest

from p2phub.errors import BusyError, EngineError
from p2phub.inference.pool_entry import CALM, LONGEST_REST, Losses

BROKE = EngineError("it broke")


def refused(losses, now, key="x"):
    """For how long it rests still; 0: it does not."""
    try:
        losses.require_peace(key, "lab/x", now)
    except BusyError as error:
        return error.retry_after
    return 0


def test_a_first_loss_is_no_reason_to_rest():
    losses = Losses()
    losses.note("x", BROKE, 0.0, lived=1.0)
    assert refused(losses, 0.0) == 0


def test_rest_doubles_up_to_its_limit_and_is_of_one_engine_alone():
    losses, rests = Losses(), []
    for _ in range(9):
        losses.note("x", BROKE, 100.0, lived=1.0)
        rests.append(refused(losses, 100.0))
    assert rests == [0, 1, 2, 4, 8, 16, 32, LONGEST_REST, LONGEST_REST]
    assert refused(losses, 100.0 + LONGEST_REST) == 0
    assert refused(losses, 100.0, key="y") == 0


@pytest.mark.parametrize(("now", "lived"), [(1.0, CALM), (2 * CALM + 1, 1.0)])
def test_a_long_life_or_a_long_time_ago_begins_anew(now, lived):
    losses = Losses()
    for _ in range(5):
        losses.note("x", BROKE, 0.0, lived=1.0)
    losses.note("x", BROKE, now, lived=lived)
    assert refused(losses, now) == 0
