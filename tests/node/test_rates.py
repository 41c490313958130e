"""The rates of the hour reach whoever sends and fetches."""

from datetime import datetime, timedelta

import trio

from p2phub.config import SwarmSettings
from p2phub.node.rates import Paces
from p2phub.timetable import Rates, Window


async def test_a_schedule_is_obeyed_to_the_minute_and_told(autojump_clock):
    start = datetime(2026, 11, 23, 7, 58, 30)
    schedule = (Window.parse("daily 08:00-09:00 up=1MB down_per_peer=2MB"),)
    swarm = SwarmSettings(up=50_000, down=60_000, schedule=schedule)
    began = trio.current_time()

    def wall_clock():
        return start + timedelta(seconds=trio.current_time() - began)

    paces = Paces(swarm, wall_clock=wall_clock)
    up, down = paces.up, paces.down
    async with trio.open_nursery() as nursery:
        nursery.start_soon(paces.obey_schedule)
        await trio.sleep(89)
        assert (up.rate, up.per_peer, down.rate, down.per_peer) == (50_000, 0, 60_000, 0)
        await trio.sleep(2)
        assert (up.rate, up.per_peer, down.rate) == (1_000_000, 0, 60_000)
        assert (down.per_peer, paces.in_force.up) == (2_000_000, 1_000_000)
        await trio.sleep(3600)
        assert paces.in_force == Rates(up=50_000, down=60_000)
        nursery.cancel_scope.cancel()


def test_more_patience_is_needed_where_our_own_rates_are_low():
    assert Paces(SwarmSettings()).patience(1.0) == 1.0
    assert Paces(SwarmSettings(down=60_000_000)).patience(1.0) == 1.0
    assert 50 < Paces(SwarmSettings(down=300_000)).patience(1.0) < 60
    assert 20 < Paces(SwarmSettings(down_per_peer=300_000)).patience(1.0) < 30
