"""Seeding yields to inference: uploads are slowed while models answer and the machine is pressed.

Pressure is measured, never supposed: the share of the time in which some task of this machine
waited for the processor or for the disk (`/proc/pressure`), and how much slower pieces of answers
come than they did when nothing else went on. Without inference nothing is slowed, and without
pressure nothing is either.

Rules it keeps:
 * under pressure the rate of all uploads is halved every `STEP` seconds, down to `LEAST`; without
   it is doubled, until it is not held back any more;
 * within `STEP` seconds after the last answer the rate is what node.toml says;
 * hashing in the background waits for idle moments, a piece at a time (`Pressure.wait_a_moment`).

>>> slower(8 << 20), faster(LEAST, 1 << 20) == 2 * LEAST, faster(1 << 20, 1 << 20)
(4194304, True, 0)
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

from p2phub.node.pressure import Pressure
from p2phub.node.rates import Paces
from p2phub.node.traffic import Meter

STEP: Final = 0.5  # seconds
LEAST: Final = 64 * 1024
"""Bytes a second that all peers together are sent whatever the pressure: nobody gives us up."""
STALLED: Final = 0.1
"""The share of the time, lost by some task that waited, from which on the machine is pressed."""
SLOWED: Final = 1.1
"""How much slower than alone answers may come."""
_FOLDER: Final = Path("/proc/pressure")


@dataclass(frozen=True, slots=True)
class Stalls:
    """Seconds in which some task waited, since this machine was started."""

    processor: float = 0.0
    disk: float = 0.0


def read_stalls(folder: Path = _FOLDER) -> Stalls:
    """What the kernel counts; zeros where it does not."""
    return Stalls(_total(folder / "cpu"), _total(folder / "io"))


def _total(path: Path) -> float:
    try:
        first = path.read_text("ascii").partition("\n")[0]
    except OSError:
        return 0.0
    microseconds = first.rpartition("total=")[2]
    return int(microseconds) / 1e6 if microseconds.isdecimal() else 0.0


class Yielding:
    """Holds uploads back while models answer. `stalls()` tells what the kernel counts."""

    def __init__(
        self,
        pressure: Pressure,
        paces: Paces,
        sent: Meter,
        stalls: Callable[[], Stalls] = read_stalls,
    ) -> None:
        self._pressure, self._paces, self._sent, self._stalls = pressure, paces, sent, stalls
        self._freely = 0.0
        """Bytes a second that were sent before anything was held back."""
        self.held_to = 0
        """Bytes a second that uploads are held back to; 0: they are not."""

    async def run(self) -> None:
        """Look twice a second, for ever."""
        before = self._stalls()
        while True:
            await trio.sleep(STEP)
            now = self._stalls()
            self._adjust(now, before)
            before = now

    def _adjust(self, now: Stalls, before: Stalls) -> None:
        held = self.held_to
        sending = self._sent.rate()
        if not self._pressure.under_way:
            held = 0
        elif self._is_pressed(now, before):
            if not held:
                self._freely = sending
            held = slower(held or sending) if sending else held
        elif held:
            held = faster(held, self._freely)
        self._pressure.learning = not held and not sending
        if held != self.held_to:
            self.held_to = held
            self._paces.hold_up_to(held)

    def _is_pressed(self, now: Stalls, before: Stalls) -> bool:
        waited = max(now.processor - before.processor, now.disk - before.disk)
        alone = self._pressure.alone()
        slowed = bool(alone) and self._pressure.latest() > SLOWED * alone
        return waited > STALLED * STEP or slowed


def slower(rate: float) -> int:
    """The next rate under pressure."""
    return max(int(rate / 2), LEAST)


def faster(rate: int, usual: float) -> int:
    """The next rate without pressure; 0: held back no more."""
    return 2 * rate if 2 * rate < usual else 0
