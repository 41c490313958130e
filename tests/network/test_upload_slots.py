"""Upload slots: turns between peers, and what those who hold on to one can do."""

import threading
import time
from collections import Counter

import pytest
import trio

from p2phub.network.upload_slots import QUANTUM, STALL, Turn, UploadSlots
from p2phub.network.waiting import TaskBell


class Crowd:
    """Threads that send for ever in parts of 20 ms, each with a turn of its own."""

    def __init__(self, slots):
        self.slots, self.sent, self.most = slots, Counter(), 0
        self.stop = threading.Event()
        self.threads = []

    def add(self, peer, part=0.02):
        thread = threading.Thread(target=self._send, args=(peer, part))
        self.threads.append(thread)
        thread.start()

    def _send(self, peer, part):
        turn = Turn(peer)
        may = self.slots.take(turn, 30)
        while may and not self.stop.is_set():
            may = self.slots.go_on(turn, 30)
            self.most = max(self.most, self.slots.held)
            time.sleep(part)
            self.sent[peer] += 1
        self.slots.leave(turn)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.slots.close()
        for thread in self.threads:
            thread.join()


def test_a_peer_with_twenty_connections_gets_no_more_than_one_with_two():
    with Crowd(UploadSlots(2)) as crowd:
        for _ in range(20):
            crowd.add("greedy")
        for _ in range(2):
            crowd.add("modest")
        time.sleep(8 * QUANTUM)
        sent, most = Counter(crowd.sent), crowd.most
    assert most <= 2
    assert sent["greedy"] <= 1.35 * sent["modest"]
    assert sent["modest"] <= 1.35 * sent["greedy"]


def test_more_peers_than_slots_all_get_their_turn():
    with Crowd(UploadSlots(1)) as crowd:
        for number in range(5):
            crowd.add(f"peer {number}")
        time.sleep(7 * QUANTUM)
        assert len(crowd.sent) == 5


def test_a_holder_that_can_send_nothing_loses_its_slot():
    slots, stuck, other = UploadSlots(1), Turn("stuck"), Turn("other")
    assert slots.take(stuck, 0)
    began = time.monotonic()
    assert slots.take(other, 10)
    assert STALL * 0.9 <= time.monotonic() - began < STALL + 1
    assert not slots.go_on(stuck, 0.05)  # it has to wait like everybody else
    slots.leave(other)
    assert slots.go_on(stuck, 0)


def test_a_wait_has_an_end_and_leaves_no_trace():
    slots, first, second = UploadSlots(1), Turn("a"), Turn("b")
    assert slots.take(first, 0)
    assert not slots.take(second, 0.1)
    assert (slots.held, slots.waiting) == (1, 0)
    slots.leave(first)
    assert (slots.held, slots.waiting) == (0, 0)


def test_a_slot_stays_while_nobody_waits():
    slots, turn = UploadSlots(1, clock=iter(range(100)).__next__), Turn("a")
    assert slots.take(turn, 50)
    held = turn.since
    assert all(slots.go_on(turn, 50) for _ in range(20))
    assert turn.since == held


@pytest.mark.parametrize("count", [1, 3])
def test_closing_ends_every_wait(count):
    slots = UploadSlots(count)
    for _ in range(count):
        assert slots.take(Turn("a"), 0)
    answers = []
    thread = threading.Thread(target=lambda: answers.append(slots.take(Turn("b"), 60)))
    thread.start()
    slots.close()
    thread.join(5)
    assert answers == [True]
    assert slots.take(Turn("c"), 0)


def test_who_wakes_too_late_for_its_slot_waits_on():
    now = [0.0]
    slots, first, late = UploadSlots(1, clock=lambda: now[0]), Turn("first"), Turn("late")
    assert slots.take(first, 0)
    assert slots._left(late, 10) > 0
    slots.leave(first)
    assert late.is_held  # and its thread does not run
    now[0] = STALL
    other = Turn("other")
    assert slots.take(other, 0)
    assert not late.is_held
    assert slots._left(late, 10) > 0
    assert not late.bell.is_set()
    slots.leave(other)
    assert slots._left(late, 10) == 0


async def test_a_task_and_a_thread_take_from_the_same_slots():
    slots, thread, task = UploadSlots(1), Turn("thread"), Turn("task", TaskBell())
    assert slots.take(thread, 0)
    assert not await slots.take_async(task, 0.05)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, lambda: slots.leave(thread))
        assert await slots.take_async(task, 10)
    assert not slots.take(thread, 0)
    assert await slots.go_on_async(task, 0)
    slots.leave(task)


async def test_a_task_that_is_cancelled_while_it_waits_leaves_no_trace():
    slots, held, task = UploadSlots(1), Turn("a"), Turn("b", TaskBell())
    assert slots.take(held, 0)
    with trio.move_on_after(0.01):
        await slots.take_async(task, 10)
    slots.leave(held)
    assert (slots.held, slots.waiting) == (0, 0)
