"""What models need of the machine is counted while they answer and forgotten after."""

import threading

from p2phub.node.pressure import Pressure


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def answer(pressure, clock, gaps):
    with pressure.answering() as step:
        step()
        for gap in gaps:
            clock.now += gap
            step()
        return pressure.latest(), pressure.alone()


def test_a_gap_is_compared_with_those_of_as_many_requests():
    clock = Clock()
    pressure = Pressure(clock)
    assert answer(pressure, clock, [0.1] * 5)[1] > 0
    with pressure.answering():
        latest, alone = answer(pressure, clock, [0.4] * 5)
        assert round(latest, 6) == round(alone, 6) == 0.4
    with pressure.answering():
        assert round(pressure.alone(), 6) == 0.1


def test_what_is_slow_under_pressure_is_not_learnt_as_normal():
    clock = Clock()
    pressure = Pressure(clock)
    answer(pressure, clock, [0.1] * 5)
    pressure.learning = False
    latest, alone = answer(pressure, clock, [9.0] * 50)
    assert (round(latest, 6), round(alone, 6)) == (9.0, 0.1)


def test_an_answer_that_broke_off_is_not_counted_for_ever():
    pressure = Pressure(Clock())
    try:
        with pressure.answering():
            raise ValueError
    except ValueError:
        pass
    assert pressure.under_way == 0
    assert pressure.latest() == 0.0


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
