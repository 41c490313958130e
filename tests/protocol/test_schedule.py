import pytest

from p2phub.protocol.schedule import BURST, EVERY, PACE, RETRY, AnnounceSchedule


def announced(schedule: AnnounceSchedule, now: float) -> list[bytes]:
    keys = []
    while (key := schedule.next(now)) is not None:
        schedule.done(key, now)
        keys.append(key)
    return keys


def test_more_announcements_than_a_receiver_takes_are_spread_over_time_and_none_is_lost():
    schedule = AnnounceSchedule()
    for number in range(30):
        schedule.want(bytes([number]), priority=number, now=0)
    first = announced(schedule, 0)
    assert first == [bytes([n]) for n in range(BURST)]
    in_ten_seconds = len(first) + sum(len(announced(schedule, t / 4)) for t in range(1, 8))
    assert in_ten_seconds <= 10
    later = [key for t in range(2, 60) for key in announced(schedule, t)]
    assert len(set(first) | set(later)) >= 29
    assert schedule.lag(now=100) == 0


def test_a_key_is_announced_again_before_its_record_dies():
    schedule = AnnounceSchedule()
    schedule.want(b"k", priority=1, now=0)
    assert announced(schedule, 0) == [b"k"]
    assert announced(schedule, EVERY - 1) == []
    assert schedule.wait(EVERY - 1) == 1
    assert announced(schedule, EVERY) == [b"k"]


def test_an_announcement_nobody_took_is_tried_again_soon_and_counts_as_late():
    schedule = AnnounceSchedule()
    schedule.want(b"k", priority=1, now=0)
    assert schedule.next(0) == b"k"
    schedule.failed(b"k", now=0)
    assert schedule.next(RETRY - 1) is None
    assert schedule.lag(RETRY + 5) == 5
    assert schedule.next(RETRY) == b"k"


def test_a_changed_head_goes_out_at_once_although_it_was_announced_a_minute_ago():
    schedule = AnnounceSchedule()
    schedule.want(b"k", priority=1, now=0)
    announced(schedule, 0)
    schedule.want(b"k", priority=1, now=60)
    assert announced(schedule, 60) == []
    schedule.renew(b"k", priority=1, now=60)
    assert schedule.is_new(b"k")
    assert announced(schedule, 60) == [b"k"]
    assert not schedule.is_new(b"k")


def test_refreshes_are_swept_in_key_order_and_go_on_where_they_stopped():
    schedule = AnnounceSchedule()
    for number in (5, 1, 9, 3):
        schedule.want(bytes([number]), priority=1, now=0)
    announced(schedule, 0)
    assert announced(schedule, EVERY) == [b"\x01", b"\x03", b"\x05", b"\x09"]


def test_a_forgotten_key_is_not_announced():
    schedule = AnnounceSchedule()
    schedule.want(b"k", priority=1, now=0)
    schedule.forget(b"k")
    assert announced(schedule, 0) == []
    schedule.done(b"k", 0)
    schedule.failed(b"k", 0)
    assert len(schedule) == 0


def test_an_empty_bucket_tells_how_long_to_wait():
    schedule = AnnounceSchedule()
    for number in range(BURST + 1):
        schedule.want(bytes([number]), priority=1, now=0)
    announced(schedule, 0)
    assert schedule.wait(0) == pytest.approx(PACE)
