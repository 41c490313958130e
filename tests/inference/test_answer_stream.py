"""What was put is taken in order, by whoever waits, and given up without a trace."""

import pytest
import trio
import trio.testing

from p2phub.errors import EngineError
from p2phub.inference.answer_stream import AnswerStream


async def test_what_was_put_is_taken_in_order_and_an_error_is_raised_in_its_turn():
    stream = AnswerStream()
    for item in (1, 2, EngineError("gone")):
        stream.put(item)
    assert [await stream.take(), await stream.take()] == [1, 2]
    with pytest.raises(EngineError, match="gone"):
        await stream.take()


async def test_who_waits_is_woken_and_who_was_cancelled_takes_nothing(autojump_clock):
    stream, taken = AnswerStream(), []

    async def take():
        taken.append(await stream.take())

    with trio.move_on_after(1) as scope:
        await stream.take()
    assert scope.cancelled_caught
    async with trio.open_nursery() as nursery:
        nursery.start_soon(take)
        await trio.testing.wait_all_tasks_blocked()
        stream.put("a")
        stream.put("b")
    assert taken == ["a"]
    assert await stream.take() == "b"


async def test_a_cancelled_task_takes_nothing_even_if_something_is_there():
    stream = AnswerStream()
    stream.put("a")
    with trio.CancelScope() as scope:
        scope.cancel()
        await stream.take()
    assert await stream.take() == "a"
