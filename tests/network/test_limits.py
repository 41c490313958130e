"""Rate limits, in a time that the test makes."""

import threading

import pytest

from p2phub.network.limits import Bandwidth


class Clock:
    def __init__(self):
        self.now = 0.0

    def wait(self, seconds):
        self.now += seconds


def test_no_limit_never_waits():
    limit = Bandwidth(0, clock=pytest.fail, wait=pytest.fail)
    limit.take(1 << 40)


def test_bytes_flow_at_the_rate_and_idle_time_is_not_saved_up():
    clock = Clock()
    limit = Bandwidth(100, clock=lambda: clock.now, wait=clock.wait)
    for _ in range(11):
        limit.take(50)
    assert clock.now == pytest.approx(5.0)
    clock.now += 1000
    for _ in range(11):
        limit.take(50)
    assert clock.now == pytest.approx(1010.0)


def test_threads_share_one_line():
    waited = []
    limit = Bandwidth(1000, clock=lambda: 0.0, wait=waited.append)
    threads = [threading.Thread(target=limit.take, args=(100,)) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(waited) == pytest.approx([n / 10 for n in range(1, 10)])
