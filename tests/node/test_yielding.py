"""Uploads are slowed only where models answer and the machine is pressed, and freed at once."""

from contextlib import asynccontextmanager

import trio

from p2phub.config import SwarmSettings
from p2phub.node.pressure import QUIET, Pressure
from p2phub.node.rates import Paces
from p2phub.node.traffic import Meter
from p2phub.node.yielding import (
    LEAST,
    REMEMBERED,
    STEP,
    WHILE_LOADING,
    Stalls,
    Yielding,
    read_stalls,
)

RATE = 8 << 20


class Scene:
    """A node that sends `RATE` bytes a second; `stalled` is the share of time somebody waits."""

    def __init__(self, up: int = 0) -> None:
        self.pressure = Pressure(trio.current_time)
        self.paces = Paces(SwarmSettings(up=up))
        self.sent = Meter(trio.current_time)
        self.stalled = 0.0
        self._waited = 0.0
        self._looked = trio.current_time()
        self.yielding = Yielding(self.pressure, self.paces, self.sent, self.stalls)

    def stalls(self) -> Stalls:
        now = trio.current_time()
        self._waited += self.stalled * (now - self._looked)
        self._looked = now
        return Stalls(disk=self._waited)

    async def send(self):
        while True:
            self.sent.add(min(self.paces.up.rate or RATE, RATE))
            await trio.sleep(1)


@asynccontextmanager
async def running():
    """One that has sent for a while."""
    scene = Scene()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.yielding.run)
        nursery.start_soon(scene.send)
        await trio.sleep(6 + STEP / 2)
        yield scene
        nursery.cancel_scope.cancel()


async def test_nothing_is_slowed_while_no_model_answers(autojump_clock):
    async with running() as scene:
        scene.stalled = 1.0
        await trio.sleep(10)
        assert scene.paces.up.rate == 0


async def test_nothing_is_slowed_where_nobody_waits(autojump_clock):
    async with running() as scene:
        with scene.pressure.answering():
            await trio.sleep(10)
            assert scene.paces.up.rate == 0


async def test_a_pressed_machine_sends_less_and_less_but_never_nothing(autojump_clock):
    async with running() as scene:
        scene.stalled = 0.5
        with scene.pressure.answering():
            await trio.sleep(STEP)
            assert 0 < scene.paces.up.rate <= RATE // 2
            await trio.sleep(60)
            assert scene.paces.up.rate == LEAST


async def test_the_rate_is_back_within_five_seconds_after_the_last_answer(autojump_clock):
    async with running() as scene:
        scene.stalled = 0.5
        with scene.pressure.answering():
            await trio.sleep(30)
            assert scene.paces.up.rate == LEAST
        await trio.sleep(5)
        assert scene.paces.up.rate == 0


async def test_the_first_second_under_pressure_is_enough(autojump_clock):
    async with running() as scene:
        scene.stalled = 0.5
        with scene.pressure.answering():
            await trio.sleep(1)
            assert scene.paces.up.rate <= RATE // 64


async def test_the_next_answer_need_not_find_out_again(autojump_clock):
    async with running() as scene:
        scene.stalled = 0.5
        with scene.pressure.answering():
            await trio.sleep(5)
        await trio.sleep(60)
        scene.stalled = 0.0
        with scene.pressure.answering():
            await trio.sleep(STEP + 0.01)
            assert scene.paces.up.rate <= 2 * LEAST
        await trio.sleep(REMEMBERED + 10)
        with scene.pressure.answering():
            await trio.sleep(5)
            assert scene.paces.up.rate == 0


async def test_what_was_too_much_is_come_back_to_slowly(autojump_clock):
    async with running() as scene:
        scene.stalled = 0.5
        with scene.pressure.answering():
            await trio.sleep(5)
            scene.stalled = 0.0
            await trio.sleep(3)
            half = scene.paces.up.rate
            assert RATE / 4 < half < RATE
            await trio.sleep(1)
            assert half < scene.paces.up.rate < 1.3 * half


async def test_the_rate_comes_back_when_the_pressure_goes_and_the_answers_go_on(autojump_clock):
    async with running() as scene:
        scene.stalled = 0.5
        with scene.pressure.answering():
            await trio.sleep(30)
            scene.stalled = 0.0
            await trio.sleep(10)
            assert scene.paces.up.rate == 0


async def test_tokens_that_come_slower_than_alone_are_pressure(autojump_clock):
    async with running() as scene:
        scene.pressure.learning = True
        with scene.pressure.answering() as step:
            scene.paces.hold_up_to(0)
            for _ in range(20):
                scene.pressure.learning = True
                step()
                await trio.sleep(0.01)
            for _ in range(40):
                step()
                await trio.sleep(0.1)
            assert 0 < scene.paces.up.rate < RATE


async def test_a_limit_that_was_set_is_never_exceeded(autojump_clock):
    scene = Scene(up=1 << 20)
    scene.paces.hold_up_to(4 << 20)
    assert scene.paces.up.rate == 1 << 20
    scene.paces.hold_up_to(1 << 19)
    assert scene.paces.up.rate == 1 << 19
    scene.paces.hold_up_to(0)
    assert scene.paces.up.rate == 1 << 20


def test_the_kernel_is_read_and_may_have_nothing_to_say(tmp_path):
    assert read_stalls(tmp_path) == Stalls()
    (tmp_path / "cpu").write_text("some avg10=0.1 avg60=0 avg300=0 total=2500000\nfull total=9\n")
    (tmp_path / "io").write_text("nonsense")
    assert read_stalls(tmp_path) == Stalls(processor=2.5)
    (tmp_path / "memory").write_text("some avg10=0 avg60=0 avg300=0 total=500000\n")
    assert read_stalls(tmp_path) == Stalls(processor=2.5, memory=0.5)


async def test_a_load_leaves_uploads_a_share_and_what_waits_for_its_fetch_all(autojump_clock):
    async with running() as scene:
        scene.stalled = 1.0
        with scene.pressure.loading() as load:
            await trio.sleep(10)
            assert scene.paces.up.rate == int(WHILE_LOADING * RATE)
            assert not scene.pressure.learning
            with scene.pressure.answering():
                await trio.sleep(10)
                assert scene.paces.up.rate == LEAST
            await trio.sleep(STEP)
            assert scene.paces.up.rate == int(WHILE_LOADING * RATE)
            load.wait_for_fetch()
            await trio.sleep(QUIET + 2 * STEP)
            assert scene.paces.up.rate == 0
