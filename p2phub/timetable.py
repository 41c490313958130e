"""Rates and when they hold: "mon-fri 08:00-18:00 up=1MB down=5MB", read and looked up.

Pure: times are those of the clock on the wall, and `now` is passed in.

>>> office = Window.parse("mon-fri 08:00-18:00 up=1MB down=5MB")
>>> usual = Rates(up=0, down=0, up_per_peer=50_000)
>>> rates_at(datetime(2026, 11, 23, 9, 30), usual, (office,))
Rates(up=1000000, down=5000000, up_per_peer=50000, down_per_peer=0)
>>> rates_at(datetime(2026, 11, 22, 9, 30), usual, (office,)) == usual
True
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from p2phub.kinds import RATE, Kind, read_rate

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
NAMES = ("up", "down", "up_per_peer", "down_per_peer")
_DAY = "|".join(DAYS)
_FORM = re.compile(
    rf"(?:daily|({_DAY})(?:-({_DAY}))?) ([0-9]{{2}}):([0-5][0-9])-([0-9]{{2}}):([0-5][0-9])"
    rf"((?: (?:{'|'.join(NAMES)})=[^\s=]+)+)"
)


@dataclass(frozen=True, slots=True)
class Rates:
    """Bytes a second, 0 for no limit: of this node, and of each of its peers."""

    up: int = 0
    down: int = 0
    up_per_peer: int = 0
    down_per_peer: int = 0


@dataclass(frozen=True, slots=True)
class Window:
    """Certain hours of certain days, and the rates that hold then.

    `days`: 0 is Monday. `start` and `stop`: minutes after midnight; if `stop` is not after `start`,
    it is of the next day. `rates`: names of `Rates`, each once.
    """

    days: frozenset[int]
    start: int
    stop: int
    rates: tuple[tuple[str, int], ...]

    @classmethod
    def parse(cls, text: str) -> "Window":
        """Read "sat-sun 22:00-06:00 up=1MB". Raises `ValueError`."""
        found = _FORM.fullmatch(" ".join(text.lower().split()))
        if found is None:
            raise ValueError(text)
        first, last, *times, named = found.groups()
        start, stop = (int(times[i]) * 60 + int(times[i + 1]) for i in (0, 2))
        pairs = [each.partition("=") for each in named.split()]
        rates = {name: read_rate(value.upper().replace("IB", "iB")) for name, _, value in pairs}
        if start >= 1440 or stop > 1440 or start == stop or len(rates) != len(pairs):
            raise ValueError(text)
        return cls(_days(first, last), start, stop, tuple(rates.items()))

    def holds(self, now: datetime) -> bool:
        """Whether `now` is within it."""
        minute, yesterday = now.hour * 60 + now.minute, (now - timedelta(days=1)).weekday()
        if self.start < self.stop:
            return now.weekday() in self.days and self.start <= minute < self.stop
        if minute >= self.start:
            return now.weekday() in self.days
        return minute < self.stop and yesterday in self.days


def rates_at(now: datetime, usual: Rates, schedule: Sequence[Window]) -> Rates:
    """What holds at `now`: the first window that fits; what it does not name stays as usual."""
    for window in schedule:
        if window.holds(now):
            return replace(usual, **dict(window.rates))
    return usual


def _days(first: str | None, last: str | None) -> frozenset[int]:
    """Whole weeks, one day, or from one day to another, over Sunday if need be."""
    if first is None:
        return frozenset(range(7))
    start = DAYS.index(first)
    count = 1 if last is None else (DAYS.index(last) - start) % 7 + 1
    return frozenset((start + day) % 7 for day in range(count))


def _schedule(value: object) -> tuple[Window, ...]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise ValueError(value)
    return tuple(Window.parse(each) for each in value)


SCHEDULE = Kind(
    'a list of times such as "mon-fri 08:00-18:00 up=1MB down=5MB" or "daily 22:00-06:00 up=0";'
    f" the rates are {', '.join(NAMES)}, each {RATE.expected}",
    _schedule,
)
