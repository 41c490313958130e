"""Clients take turns at an engine, in virtual time."""

import pytest
import trio
import trio.testing

from p2phub.errors import EngineError
from p2phub.inference.requests import Embed, Generate
from p2phub.inference.turns import TurnEngine, Turns, places_of
from p2phub.testing.engines import FakeEngine


async def hold(turns, client, seconds, order):
    async with turns.taken(client):
        order.append(client)
        await trio.sleep(seconds + len(order) / 1000)  # no two places are free at one moment


async def asked(turns, requests, seconds=1.0):
    """The order in which clients got a place that asked in this order, at one moment."""
    order = []
    async with trio.open_nursery() as nursery:
        for client in requests:
            nursery.start_soon(hold, turns, client, seconds, order)
            await trio.testing.wait_all_tasks_blocked()
    return order


class TestTurns:
    async def test_one_who_asks_a_hundred_times_does_not_hold_up_another(self, autojump_clock):
        turns = Turns(4)
        order = await asked(turns, ["many"] * 100 + ["few"])
        assert order.index("few") == places_of(4)

    async def test_clients_get_as_many_places_whatever_they_ask_for(self, autojump_clock):
        order = await asked(Turns(1), ["a"] * 30 + ["b"] * 20 + ["c"] * 10)
        taken = order[places_of(1) :][:30]
        assert {taken.count(each) for each in "abc"} <= {9, 10, 11}

    async def test_a_client_alone_has_every_place(self, autojump_clock):
        start = trio.current_time()
        await asked(Turns(8), ["a"] * places_of(8))
        assert trio.current_time() - start < 2.1

    async def test_who_holds_the_places_gives_them_up_until_all_have_as_many(self, autojump_clock):
        turns, order = Turns(7), []
        async with trio.open_nursery() as nursery:
            for number in range(places_of(7)):
                nursery.start_soon(hold, turns, "first", 10.0 + number, order)
            await trio.testing.wait_all_tasks_blocked()
            for client in ["first"] * 20 + ["second"] * 20:
                nursery.start_soon(hold, turns, client, 100.0, order)
            await trio.sleep(10.0 + places_of(7) - 0.5)
            assert order[places_of(7) :].count("second") == places_of(7) // 2

    async def test_requests_of_one_client_keep_their_order(self, autojump_clock):
        turns, order = Turns(1), []

        async def one(number):
            async with turns.taken("a"):
                order.append(number)
                await trio.sleep(1 + number / 1000)

        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(one, number)
                await trio.testing.wait_all_tasks_blocked()
        assert order == list(range(20))

    async def test_who_leaves_while_it_waits_has_taken_nothing(self, autojump_clock):
        turns, order = Turns(1), []
        async with trio.open_nursery() as nursery:
            for _ in range(places_of(1)):
                nursery.start_soon(hold, turns, "a", 10.0, order)
            await trio.testing.wait_all_tasks_blocked()
            with trio.move_on_after(5):
                await hold(turns, "b", 1.0, order)
            assert turns.waiting == 0
        await asked(turns, ["c"] * places_of(1))
        assert order == ["a"] * places_of(1)
        assert turns._free == places_of(1)

    async def test_who_leaves_at_the_moment_of_its_turn_passes_it_on(self, autojump_clock):
        turns, order = Turns(1), []
        leaving = trio.CancelScope()

        async def leave():
            with leaving:
                await hold(turns, "b", 1.0, order)

        async with trio.open_nursery() as nursery, turns.taken("a"), turns.taken("a"):
            nursery.start_soon(leave)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(hold, turns, "c", 1.0, order)
            await trio.testing.wait_all_tasks_blocked()
            leaving.cancel()  # and before "b" runs, it is given a place
        assert order == ["c"]
        assert turns._free == places_of(1)

    async def test_an_error_gives_the_place_back(self, autojump_clock):
        turns = Turns(1)
        for _ in range(10):
            with pytest.raises(EngineError):
                async with turns.taken("a"):
                    raise EngineError("it broke")
        assert turns._free == places_of(1)
        assert not turns._taken

    async def test_an_engine_that_does_not_tell_its_slots_is_given_all(self, autojump_clock):
        start = trio.current_time()
        await asked(Turns(0), ["a"] * 1000)
        assert trio.current_time() - start < 2.1

    async def test_time_spent_waiting_is_not_the_time_of_a_request(self, autojump_clock):
        turns = Turns(1)
        await asked(turns, ["a"] * 100, seconds=3.0)
        assert turns.mean_seconds == pytest.approx(3.0, rel=0.1)


class TestTurnEngine:
    async def test_a_reader_that_stops_in_the_middle_frees_its_place(self, autojump_clock):
        engine, turns = FakeEngine(slots=1), Turns(1)
        for _ in range(5):
            answer = TurnEngine(engine, turns, "a").generate(Generate("one two three"))
            assert (await anext(answer)).text == "one"
            await answer.aclose()
        assert (turns._free, engine.under_way) == (places_of(1), 0)

    async def test_those_who_wait_for_an_engine_that_is_lost_are_told_at_once(self, autojump_clock):
        engine, turns, told = FakeEngine(slots=1), Turns(1), []

        async def ask(client):
            with pytest.raises(EngineError):
                async for _ in TurnEngine(engine, turns, client).generate(Generate("a " * 1000)):
                    pass
            told.append(client)

        with trio.fail_after(0.15):
            async with trio.open_nursery() as nursery:
                for client in "aaabbb":
                    nursery.start_soon(ask, client)
                await trio.sleep(0.05)
                engine.crash()
        assert sorted(told) == list("aaabbb")

    async def test_counting_tokens_waits_for_nobody(self, autojump_clock):
        turns = Turns(1)
        mine = TurnEngine(FakeEngine(slots=1), turns, "a")
        async with turns.taken("b"), turns.taken("b"):
            assert await mine.count(Generate("one two")) == 2
            with trio.move_on_after(5) as scope:
                await mine.embed(Embed(("x",)))
            assert scope.cancelled_caught
