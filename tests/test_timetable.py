"""Times at which rates hold: what is read, what is refused, and the edges of hours and days."""

from datetime import datetime

import pytest

from p2phub.config import load
from p2phub.errors import ConfigError
from p2phub.timetable import Rates, Window, rates_at

MONDAY = 23  # of November 2026


def at(day, hour, minute=0):
    return datetime(2026, 11, day, hour, minute)


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("mon-fri 08:00-18:00 up=1MB", (MONDAY, 8), (MONDAY, 7, 59)),
        ("mon-fri 08:00-18:00 up=1MB", (MONDAY + 4, 17, 59), (MONDAY, 18)),
        ("mon-fri 08:00-18:00 up=1MB", (MONDAY + 1, 12), (MONDAY + 5, 12)),
        ("fri-mon 08:00-18:00 up=1MB", (MONDAY, 12), (MONDAY + 1, 12)),
        ("sat 22:00-06:00 up=1MB", (MONDAY + 6, 5, 59), (MONDAY + 5, 5)),
        ("sat 22:00-06:00 up=1MB", (MONDAY + 5, 23), (MONDAY + 6, 23)),
        ("sun 22:00-06:00 up=1MB", (MONDAY, 0), (MONDAY + 1, 0)),
        ("daily 00:00-24:00 up=1MB", (MONDAY, 23, 59), None),
        (" Mon  08:00-09:00   UP=64KiB ", (MONDAY, 8), (MONDAY, 9)),
    ],
)
def test_hours_and_days(text, inside, outside):
    window = Window.parse(text)
    assert window.holds(at(*inside))
    assert outside is None or not window.holds(at(*outside))


def test_the_first_that_fits_holds_and_what_it_does_not_name_stays():
    usual = Rates(up=5, down=6, up_per_peer=7, down_per_peer=8)
    schedule = (
        Window.parse("mon 08:00-10:00 up=1MB down_per_peer=2MB"),
        Window.parse("daily 09:00-12:00 up=0"),
    )
    assert rates_at(at(MONDAY, 9), usual, schedule) == Rates(1_000_000, 6, 7, 2_000_000)
    assert rates_at(at(MONDAY, 11), usual, schedule) == Rates(0, 6, 7, 8)
    assert rates_at(at(MONDAY, 12), usual, schedule) == usual


@pytest.mark.parametrize(
    "text",
    [
        "",
        "mon-fri up=1MB",
        "mon-fri 8-18 up=1MB",
        "mon-fri 08:00-18:00",
        "mon-fri 08:00-18:00 up",
        "mon-fri 08:00-18:00 up=fast",
        "mon-fri 08:00-18:00 up=1",
        "mon-fri 08:00-18:00 sideways=1MB",
        "mon-fri 08:00-18:00 up=1MB up=2MB",
        "mon-fri 08:00-25:00 up=1MB",
        "mon-fri 08:60-18:00 up=1MB",
        "24:00-08:00 up=1MB",
        "daily 24:00-08:00 up=1MB",
        "daily 08:00-08:00 up=1MB",
        "weekdays 08:00-18:00 up=1MB",
    ],
)
def test_a_mistake_in_the_schedule_shows_the_right_form(text):
    with pytest.raises(ConfigError, match=r'such as "mon-fri 08:00-18:00 up=1MB down=5MB"'):
        load(f"[swarm]\nschedule = ['{text}']", {})


@pytest.mark.parametrize("text", ["1", '"1K"', '"-5MB"', '"fast"', "-1", "true"])
def test_a_rate_that_would_end_every_transfer_is_a_mistake(text):
    with pytest.raises(ConfigError, match="at least 16K, or 0 for no limit"):
        load(f"[swarm]\nup = {text}", {})


def test_a_schedule_may_stand_in_the_environment():
    text = "mon-fri 08:00-18:00 up=1MB, daily 22:00-06:00 down=0"
    schedule = load("", {"P2PHUB_SWARM_SCHEDULE": text}).swarm.schedule
    assert [window.rates for window in schedule] == [(("up", 1_000_000),), (("down", 0),)]
