"""What models need of the machine is counted while they answer and forgotten after."""

import contextlib
import threading
import time

from p2phub.node.pressure import MOMENT, QUIET, REMEMBERED, Pressure


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def answer(pressure, clock, gaps, model="lab/x"):
    with pressure.answering(model) as step:
        step()
        for gap in gaps:
            clock.now += gap
            step()
        return round(pressure.slowdown(), 6)


def test_a_gap_is_compared_with_those_of_as_many_requests():
    clock = Clock()
    pressure = Pressure(clock)
    assert answer(pressure, clock, [0.1] * 20) == 1
    with pressure.answering("lab/x"):
        assert answer(pressure, clock, [0.4] * 20) == 1
        pressure.learning = False
        assert answer(pressure, clock, [0.8] * 20) == 2
    assert answer(pressure, clock, [0.3] * 20) == 3


def test_a_slow_model_is_not_taken_for_a_fast_one_that_is_slowed():
    clock = Clock()
    pressure = Pressure(clock)
    answer(pressure, clock, [0.01] * 20, "lab/fast")
    assert answer(pressure, clock, [0.5] * 20, "lab/slow") == 1
    pressure.learning = False
    assert answer(pressure, clock, [0.5] * 20, "lab/slow") == 1
    assert answer(pressure, clock, [0.02] * 20, "lab/fast") == 2
    assert answer(pressure, clock, [0.5] * 20, "lab/never seen") == 0


def test_what_is_slow_under_pressure_is_not_learnt_as_normal():
    clock = Clock()
    pressure = Pressure(clock)
    answer(pressure, clock, [0.1] * 5)
    pressure.learning = False
    assert answer(pressure, clock, [9.0] * 50) == 90
    assert answer(pressure, clock, [0.1] * 50) == 1


def test_models_are_not_remembered_for_ever():
    clock = Clock()
    pressure = Pressure(clock)
    for number in range(REMEMBERED + 100):
        answer(pressure, clock, [0.1], f"lab/{number}")
    assert len(pressure._alone) == REMEMBERED


def test_an_answer_that_broke_off_is_not_counted_for_ever():
    pressure = Pressure(Clock())
    try:
        with pressure.answering():
            raise ValueError
    except ValueError:
        pass
    assert pressure.under_way == 0
    assert pressure.slowdown() == 0.0


def test_a_thread_waits_only_while_something_is_answered():
    pressure = Pressure(Clock())
    pressure.wait_a_moment()
    done = threading.Event()

    def hash_a_piece():
        pressure.wait_a_moment(1)
        done.set()

    with pressure.answering():
        thread = threading.Thread(target=hash_a_piece)
        thread.start()
        assert not done.wait(0.05)
    assert done.wait(5)
    thread.join()


class TestALoad:
    def test_is_pressure_until_it_ends_however_it_ends(self):
        pressure = Pressure(Clock())
        for error in (ValueError, KeyboardInterrupt):
            with contextlib.suppress(error), pressure.loading():
                assert pressure.busy
                raise error
            assert not pressure.busy
            assert pressure.under_way == 0

    def test_beside_another_or_an_answer_ends_alone(self):
        pressure = Pressure(Clock())
        with pressure.answering(), pressure.loading():
            with pressure.loading():
                pass
            assert pressure.loads
        with pressure.loading():
            with pressure.answering():
                pass
            assert pressure.busy
        assert not pressure.busy

    def test_that_waits_for_its_own_fetch_holds_nobody_up(self):
        clock = Clock()
        pressure = Pressure(clock)
        with pressure.loading() as load:
            load.wait_for_fetch()
            assert pressure.busy
            clock.now += QUIET + 0.1
            assert not pressure.busy
            assert seconds_of(pressure.wait_a_moment) < MOMENT / 2
            load.go_on()
            clock.now += 10 * QUIET
            assert pressure.busy

    def test_is_what_a_thread_that_hashes_waits_for(self):
        rested = threading.Event()
        pressure = Pressure(Clock())
        with pressure.loading():
            thread = threading.Thread(target=lambda: (pressure.wait_a_moment(), rested.set()))
            thread.start()
            assert not rested.wait(0.05)
        assert rested.wait(5)
        thread.join()


def seconds_of(work):
    started = time.monotonic()
    work()
    return time.monotonic() - started


class TestSharedWork:
    """What somebody waits for, such as `publish`."""

    def test_takes_half_of_the_time_while_models_are_busy(self):
        told = []
        shared = (pressure := Pressure(Clock())).shared(told.append)

        def work():
            for _ in range(4):
                time.sleep(0.05)
                shared(1)

        assert seconds_of(work) < 0.3
        with pressure.answering():
            assert 0.35 <= seconds_of(work) < 0.8
        assert told == [1] * 8

    def test_goes_on_at_once_when_the_answer_ends(self):
        pressure = Pressure(Clock())
        shared = pressure.shared(lambda count: None)
        shared(1)
        time.sleep(2 * MOMENT)
        with pressure.answering():
            thread = threading.Thread(target=shared, args=(1,))
            thread.start()
        thread.join(MOMENT / 2)
        assert not thread.is_alive()

    def test_rests_no_longer_than_a_moment_whatever_a_piece_took(self):
        pressure = Pressure(Clock())
        shared = pressure.shared(lambda count: None)
        shared(1)
        time.sleep(2 * MOMENT)
        with pressure.answering():
            assert seconds_of(lambda: shared(1)) < 2 * MOMENT

    def test_in_several_threads_rests_in_each_for_its_own_work(self):
        pressure = Pressure(Clock())
        shared, slow = pressure.shared(lambda count: None), []
        shared(1)
        time.sleep(MOMENT)
        with pressure.answering():
            thread = threading.Thread(target=lambda: slow.append(seconds_of(lambda: shared(1))))
            thread.start()  # its first piece: nothing is known of what that took
            thread.join()
        assert slow[0] < MOMENT / 2


def test_hashing_goes_on_while_nobody_takes_the_rest_of_an_answer():
    pressure = Pressure(Clock())
    with pressure.answering():
        assert seconds_of(pressure.wait_a_moment) < 2 * MOMENT
