"""A shared throttle: threads and tasks keep to it together, and nobody hangs on it."""

import threading
import time
from collections import Counter

import pytest
import trio

from p2phub.network.throttle import Throttle

MB = 1_000_000


class Clock:
    """Virtual time for one thread: waiting is what moves it."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def wait(self, bell, seconds):
        assert seconds is not None, "would wait for ever"
        self.now += seconds


def minute(throttle, clock, *peers):
    """How much goes in a minute, each peer in turn."""
    went, start = Counter(), clock.now
    while clock.now < start + 60:
        for peer in peers:
            throttle.take(throttle.portion, peer)
            went[peer] += throttle.portion
    return went


@pytest.mark.parametrize("rate", [20_000, MB, 60 * MB])
def test_a_minute_of_a_node(rate):
    clock = Clock()
    went = minute(Throttle(rate, clock=clock, wait=clock.wait), clock, "a", "b")
    assert went.total() == pytest.approx(60 * rate, rel=0.02)


def test_a_minute_of_each_peer_and_of_all_together():
    clock = Clock()
    throttle = Throttle(3 * MB, MB, clock=clock, wait=clock.wait)
    assert minute(throttle, clock, "a").total() == pytest.approx(60 * MB, rel=0.02)
    clock = Clock()
    throttle = Throttle(0, MB, clock=clock, wait=clock.wait)
    assert minute(throttle, clock, "a").total() == pytest.approx(60 * MB, rel=0.02)


def test_without_a_limit_no_clock_is_asked_and_nobody_waits():
    throttle = Throttle(clock=pytest.fail, wait=pytest.fail)
    throttle.take(1 << 40, "a")


async def test_tasks_keep_to_it_for_a_minute(autojump_clock):
    throttle = Throttle(MB, clock=trio.current_time)
    went = Counter()

    async def send(peer):
        while True:
            await throttle.take_async(throttle.portion, peer)
            went[peer] += throttle.portion

    async with trio.open_nursery() as nursery:
        for _ in range(9):
            nursery.start_soon(send, "greedy")
        nursery.start_soon(send, "modest")
        await trio.sleep(60)
        nursery.cancel_scope.cancel()
    assert went.total() == pytest.approx(60 * MB, rel=0.02)
    assert went["modest"] == pytest.approx(went["greedy"], rel=0.02)


async def test_a_task_that_is_cancelled_leaves_its_place_to_the_next(autojump_clock):
    throttle = Throttle(20_000, clock=trio.current_time)
    await throttle.take_async(20_000, "first")
    with trio.move_on_after(0.1):
        await throttle.take_async(200_000, "second")
    with trio.fail_after(5):
        await throttle.take_async(1000, "third")


async def test_threads_and_tasks_share_one_rate():
    throttle, went, stop = Throttle(4 * MB), Counter(), threading.Event()

    def send(peer):
        while not stop.is_set():
            throttle.take(throttle.portion, peer)
            went[peer] += throttle.portion

    async def send_async(peer):
        while not stop.is_set():
            await throttle.take_async(throttle.portion, peer)
            went[peer] += throttle.portion

    threads = [threading.Thread(target=send, args=("thread",)) for _ in range(8)]
    began = time.monotonic()
    async with trio.open_nursery() as nursery:
        for thread in threads:
            thread.start()
        nursery.start_soon(send_async, "task")
        await trio.sleep(1.5)
        stop.set()
        took, gone = time.monotonic() - began, Counter(went)
    await trio.to_thread.run_sync(lambda: [thread.join() for thread in threads])
    assert gone.total() == pytest.approx(4 * MB * took, rel=0.15)
    assert gone["task"] == pytest.approx(gone["thread"], rel=0.2)


@pytest.mark.parametrize("let_go", [Throttle.close, lambda throttle: throttle.set(0, 0)])
def test_whoever_waits_goes_at_once_when_the_limit_does(let_go):
    throttle = Throttle(20_000, 20_000)
    throttle.take(1 << 20, "a")
    threads = [threading.Thread(target=throttle.take, args=(1 << 20, peer)) for peer in "aab"]
    for thread in threads:
        thread.start()
    time.sleep(0.05)
    assert all(thread.is_alive() for thread in threads)
    let_go(throttle)
    for thread in threads:
        thread.join(5)
        assert not thread.is_alive()


def test_peers_that_came_once_are_forgotten():
    throttle = Throttle(0, MB)
    for number in range(5000):
        throttle.take(1, f"peer {number}")
    assert len(throttle._peers) <= 256
