"""The pace of both directions: what `[swarm]` says for this hour."""

from collections.abc import Callable
from datetime import datetime

import trio

from p2phub.config import SwarmSettings
from p2phub.formats.limits import MAX_PIECE
from p2phub.network.throttle import Throttle
from p2phub.timetable import Rates, rates_at

_AT_ONCE, _AT_ONCE_OF_ONE = 16, 8
"""Pieces that may be on their way side by side, from everybody and from one peer."""


class Paces:
    """`up` and `down` of one node, for everybody who sends or fetches."""

    def __init__(
        self, swarm: SwarmSettings, *, wall_clock: Callable[[], datetime] = datetime.now
    ) -> None:
        self._schedule, self._wall_clock = swarm.schedule, wall_clock
        self._usual = Rates(swarm.up, swarm.down, swarm.up_per_peer, swarm.down_per_peer)
        self.in_force = rates_at(wall_clock(), self._usual, self._schedule)
        """The rates that hold now."""
        self._held = 0
        self.up = Throttle(self.in_force.up, self.in_force.up_per_peer)
        self.down = Throttle(self.in_force.down, self.in_force.down_per_peer)

    def patience(self, usual: float) -> float:
        """Seconds without a piece that make a source slow: `usual`, or more where our own rates
        hold it back.

        >>> round(Paces(SwarmSettings(down=1 << 20)).patience(1.0))
        16
        """
        rates = self.in_force
        waits = ((_AT_ONCE, rates.down), (_AT_ONCE_OF_ONE, rates.down_per_peer))
        return max([usual, *(pieces * MAX_PIECE / rate for pieces, rate in waits if rate)])

    def hold_up_to(self, rate: int) -> None:
        """Send no more than `rate` bytes a second from now on, whatever is set; 0: as is set."""
        self._held = rate
        self._send()

    def _send(self) -> None:
        rates = (self.in_force.up, self._held)
        self.up.set(min(filter(None, rates), default=0), self.in_force.up_per_peer)

    async def obey_schedule(self) -> None:
        """Look at the clock on the wall once a minute, for ever."""
        while True:
            now = self._wall_clock()
            rates = rates_at(now, self._usual, self._schedule)
            if rates != self.in_force:
                self.in_force = rates
                self._send()
                self.down.set(rates.down, rates.down_per_peer)
            await trio.sleep(60 - now.second)
