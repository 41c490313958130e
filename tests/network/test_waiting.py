"""Waiting in virtual time: limits that are our errors, streams that end, one error out of many."""

import pytest
import trio

from p2phub.errors import RemoteError, TooSlowError, WrongBytesError
from p2phub.network.waiting import FAREWELL, ended, one_error, time_limit
from p2phub.testing.streams import MemoryStream, stream_pair


class HangingReset(MemoryStream):
    """A stream whose reset never ends, as on a connection that is dead."""

    def __init__(self):
        one, _ = stream_pair()
        super().__init__(one._sending, one._receiving)

    async def reset(self):
        await trio.sleep_forever()


class TestTimeLimit:
    async def test_that_is_reached_is_our_error_with_the_sentence(self, autojump_clock):
        with pytest.raises(TooSlowError, match="bob sleeps"), time_limit(3, "bob sleeps"):
            await trio.sleep_forever()
        assert trio.current_time() == 3

    async def test_that_is_not_reached_changes_nothing(self, autojump_clock):
        with time_limit(3, "bob sleeps"):
            await trio.sleep(2)

    async def test_lets_other_errors_through(self, autojump_clock):
        with pytest.raises(RemoteError, match="gone"), time_limit(3, "bob sleeps"):
            raise RemoteError("gone")

    async def test_of_somebody_else_is_not_taken_for_ours(self, autojump_clock):
        with trio.move_on_after(1) as outer:
            with time_limit(3, "bob sleeps"):
                await trio.sleep_forever()
        assert outer.cancelled_caught


class TestEnded:
    async def test_a_good_block_closes_the_stream(self):
        stream, other = stream_pair()
        async with ended(stream):
            await stream.write(b"all")
        assert stream.is_closed
        assert not stream.is_reset
        assert await other.read(10) == b"all"

    async def test_a_failed_block_resets_it(self):
        stream, other = stream_pair()
        with pytest.raises(RemoteError, match="no"):
            async with ended(stream):
                raise RemoteError("no")
        assert stream.is_reset
        with pytest.raises(RemoteError):
            await other.read(10)

    async def test_a_cancelled_block_resets_it_all_the_same(self, autojump_clock):
        stream, _ = stream_pair()
        with trio.move_on_after(1):
            async with ended(stream):
                await trio.sleep_forever()
        assert stream.is_reset

    async def test_a_reset_that_hangs_is_given_up(self, autojump_clock):
        with pytest.raises(RemoteError, match="no"):
            async with ended(HangingReset()):
                raise RemoteError("no")
        assert trio.current_time() == FAREWELL

    async def test_a_reset_that_hangs_holds_no_cancellation_up(self, autojump_clock):
        with trio.move_on_after(1) as scope:
            async with ended(HangingReset()):
                await trio.sleep_forever()
        assert scope.cancelled_caught
        assert trio.current_time() == 1 + FAREWELL


class TestOneError:
    async def test_comes_out_of_a_nursery_as_itself(self):
        with pytest.raises(WrongBytesError, match="piece 3"):
            async with one_error(), trio.open_nursery():
                raise WrongBytesError("piece 3")

    @pytest.mark.parametrize("others", [0, 2])
    async def test_does_not_outlive_a_cancellation(self, autojump_clock, others):
        async def fails_as_it_is_stopped():
            try:
                await trio.sleep_forever()
            finally:
                raise RemoteError("cut in the middle")

        with trio.move_on_after(1) as scope:
            async with one_error(), trio.open_nursery() as nursery:
                nursery.start_soon(fails_as_it_is_stopped)
                for _ in range(others):
                    nursery.start_soon(trio.sleep_forever)
        assert scope.cancelled_caught

    async def test_bugs_are_not_hidden(self):
        with pytest.raises(ExceptionGroup) as caught:
            async with one_error(), trio.open_nursery():
                raise KeyError("a bug")
        assert caught.group_contains(KeyError)
