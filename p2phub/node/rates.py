"""The pace of both directions: what `[swarm]` says for this hour."""

from collections.abc import Callable
from datetime import datetime

import trio

from p2phub.config import SwarmSettings
from p2phub.network.throttle import Throttle
from p2phub.timetable import Rates, rates_at


class Paces:
    """`up` and `down` of one node, for everybody who sends or fetches."""

    def __init__(
        self, swarm: SwarmSettings, *, wall_clock: Callable[[], datetime] = datetime.now
    ) -> None:
        self._schedule, self._wall_clock = swarm.schedule, wall_clock
        self._usual = Rates(swarm.up, swarm.down, swarm.up_per_peer, swarm.down_per_peer)
        self.in_force = rates_at(wall_clock(), self._usual, self._schedule)
        """The rates that hold now."""
        self.up = Throttle(self.in_force.up, self.in_force.up_per_peer)
        self.down = Throttle(self.in_force.down, self.in_force.down_per_peer)

    async def obey_schedule(self) -> None:
        """Look at the clock on the wall once a minute, for ever."""
        while True:
            now = self._wall_clock()
            rates = rates_at(now, self._usual, self._schedule)
            if rates != self.in_force:
                self.up.set(rates.up, rates.up_per_peer)
                self.down.set(rates.down, rates.down_per_peer)
                self.in_force = rates
            await trio.sleep(60 - now.second)
