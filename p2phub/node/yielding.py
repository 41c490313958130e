"""Seeding yields to inference: uploads are slowed while models are busy and the machine is pressed.

Models are busy while they answer and while one is loaded (`Pressure.busy`). Pressure is measured,
never supposed: the share of the time in which some task of this machine waited for the processor,
for the disk or for memory (`/proc/pressure`), and how much slower pieces of answers come than they
did when nothing else went on. That is also how a GPU is measured that something else uses. Without
inference nothing is slowed, and without pressure nothing is either.

Rules it keeps:
 * under pressure the rate of all uploads is quartered every `STEP` seconds, down to `LEAST`: one
   token in twenty may come late, so it must not take a second;
 * without it grows, fast up to half of what was last too much and slowly from there, until it is
   not held back any more;
 * within `STEP` seconds after the last answer the rate is what node.toml says;
 * the next answer begins with the rate that the last one had in the end, for `REMEMBERED` seconds:
   what was measured need not be found out again at the cost of its first tokens;
 * while models are only loaded, uploads keep `WHILE_LOADING` of their rate: a load presses the disk
   by itself, may last as long as its fetch does, and peers that are sent nothing send nothing;
 * hashing in the background waits for idle moments, a piece at a time (`Pressure.wait_a_moment`).

>>> slower(8 << 20), faster(LEAST, 1 << 20, 1 << 20) == 1.5 * LEAST
(2097152, True)
>>> faster(100_000, 1 << 20, 100_000), faster(1 << 20, 1 << 20, 1 << 20)
(105000, 0)
"""

from collections.abc import Callable
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Final

import trio

from p2phub.node.pressure import Pressure
from p2phub.node.rates import Paces
from p2phub.node.traffic import Meter

STEP: Final = 0.25  # seconds
REMEMBERED: Final = 600.0
"""Seconds without an answer after which it is forgotten what was too much."""
LEAST: Final = 64 * 1024
"""Bytes a second that all peers together are sent whatever the pressure: nobody gives us up."""
WHILE_LOADING: Final = 0.25
"""The share of what was sent freely that is sent while models are loaded and none answers."""
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
    memory: float = 0.0


def read_stalls(folder: Path = _FOLDER) -> Stalls:
    """What the kernel counts; zeros where it does not."""
    return Stalls(_total(folder / "cpu"), _total(folder / "io"), _total(folder / "memory"))


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
        self._too_much = 0.0
        """The rate at which pressure began the last time; 0: it is not known."""
        self._last = 0
        """What the last answer was left with; 0: nothing was held back."""
        self._quiet = 0.0
        """Seconds since the last answer."""
        self._pressed = False
        self.held_to = 0
        """Bytes a second that uploads are held back to; 0: they are not."""

    async def run(self) -> None:
        """Look every `STEP` seconds, for ever."""
        before = self._stalls()
        while True:
            await trio.sleep(STEP)
            now = self._stalls()
            self._adjust(now, before)
            before = now

    def _adjust(self, now: Stalls, before: Stalls) -> None:
        sending = self._sent.rate()
        if self._pressure.busy:
            held = self._while_answering(self._is_pressed(now, before), sending)
        else:
            held = self._while_idle()
        self._pressure.learning = not held and not sending and not self._pressure.loads
        if held != self.held_to:
            self.held_to = held
            self._paces.hold_up_to(held)

    def _while_idle(self) -> int:
        self._last = self.held_to or self._last
        self._quiet += STEP
        self._pressed = False
        if self._quiet > REMEMBERED:
            self._last, self._too_much = 0, 0.0
        return 0

    def _while_answering(self, pressed: bool, sending: float) -> int:
        """What uploads are held to from now on."""
        held, began = self.held_to, pressed and not self._pressed
        self._pressed, self._quiet = pressed, 0.0
        if not sending:
            return held
        if not held:
            self._freely = sending
        if not held and self._last:
            held, self._last = self._last, 0
        if pressed:
            self._too_much = held or sending if began else self._too_much
            return max(slower(held or sending), self._least())
        return faster(held, self._freely, self._too_much) if held else 0

    def _least(self) -> int:
        """What uploads keep under pressure."""
        return LEAST if self._pressure.under_way else int(WHILE_LOADING * self._freely)

    def _is_pressed(self, now: Stalls, before: Stalls) -> bool:
        kinds = zip(astuple(now), astuple(before), strict=True)
        waited = max(after - earlier for after, earlier in kinds)
        slowed = self._pressure.slowdown() > SLOWED
        return waited > STALLED * STEP or slowed


def slower(rate: float) -> int:
    """The next rate under pressure."""
    return max(int(rate / 4), LEAST)


def faster(rate: int, usual: float, too_much: float) -> int:
    """The next rate without pressure; 0: held back no more."""
    wanted = int(rate * (1.5 if 1.5 * rate < too_much / 2 else 1.05))
    return wanted if wanted < usual else 0
