"""What every gossip promises, over real loopback sockets and over the one in memory."""

from contextlib import asynccontextmanager, suppress
from itertools import pairwise

import pytest
import trio
import trio.testing

from p2phub.errors import MalformedError, RemoteError
from p2phub.formats.limits import MAX_GOSSIP
from tests.network.loopback import (
    address_of,
    running,
    until,
)


class Listener:
    """A network whose judge notes what it hears, and lets everything pass but lies."""

    def __init__(self, place, name: str) -> None:
        self.heard: list[bytes] = []
        self.tellers: set[str] = set()
        self.network = place.network(name)
        self.network.listen(self.judge)

    async def judge(self, peer: str, message: bytes) -> bool:
        self.heard.append(message)
        self.tellers.add(peer)
        if message.startswith(b"bug"):
            raise RemoteError("the judge is ill")
        return not message.startswith(b"lie")

    async def until_heard(self, *messages: bytes) -> None:
        await until(lambda: set(messages) <= set(self.heard))


@asynccontextmanager
async def row(place, count: int = 3):
    """Listeners, each of which knows its neighbours only; gossip goes from one end to the other."""
    some = [Listener(place, f"node-{number}") for number in range(count)]
    async with running(*(each.network for each in some)):
        for one, two in pairwise(some):
            await two.network.connect(address_of(one.network))
        await until_it_flows(some)
        yield some


async def until_it_flows(some) -> None:
    """Say something from everybody until all the others have heard it."""
    for number in range(100):
        words = [b"warm-up %d of %d" % (number, at) for at in range(len(some))]
        for word, each in zip(words, some, strict=True):
            with suppress(RemoteError):  # gossip begins a moment after the host
                await each.network.spread(word)
        with trio.move_on_after(1):
            for own, each in zip(words, some, strict=True):
                await each.until_heard(*(word for word in words if word != own))
            break
    for each in some:
        each.heard.clear()


async def test_a_message_goes_from_one_end_to_the_other(place, clock):
    async with row(place, 4) as (one, two, three, four):
        await one.network.spread(b"hello")
        for each in (two, three, four):
            await each.until_heard(b"hello")
        assert b"hello" not in one.heard
        assert four.tellers == {three.network.peer_id}


async def test_a_message_that_is_refused_goes_no_further(place, clock):
    async with row(place) as (one, two, three):
        await one.network.spread(b"lie")
        await two.until_heard(b"lie")
        await one.network.spread(b"truth")
        await three.until_heard(b"truth")
        assert b"lie" not in three.heard


async def test_a_judge_that_fails_lets_nothing_pass(place, clock):
    async with row(place) as (one, two, three):
        await one.network.spread(b"bug")
        await two.until_heard(b"bug")
        await one.network.spread(b"truth")
        await three.until_heard(b"truth")
        assert b"bug" not in three.heard


async def test_everybody_hears_a_message_once(place, clock):
    async with row(place) as (one, two, three):
        await three.network.connect(address_of(one.network))
        for number in range(5):
            await one.network.spread(b"message %d" % number)
        wanted = [b"message %d" % number for number in range(5)]
        await two.until_heard(*wanted)
        await three.until_heard(*wanted)
        await trio.sleep(0.2)
        for each in (two, three):
            assert sorted(each.heard) == wanted


async def test_the_same_words_said_again_are_another_message(place, clock):
    async with row(place, 2) as (one, two):
        await one.network.spread(b"hello")
        await one.network.spread(b"hello")
        await until(lambda: two.heard == [b"hello", b"hello"])


async def test_a_message_at_the_limit_arrives_and_one_beyond_is_refused(place, clock):
    async with row(place, 2) as (one, two):
        largest = b"x" * MAX_GOSSIP
        await one.network.spread(largest)
        await two.until_heard(largest)
        with pytest.raises(MalformedError):
            await one.network.spread(largest + b"x")
        with pytest.raises(MalformedError):
            await one.network.spread(b"")


async def test_gossip_survives_a_death_of_the_host(place, clock):
    async with row(place, 2) as (one, two):
        place.kill(one.network)
        await until(lambda: one.network.restarts == 1 and one.network.state == "running")
        await until(lambda: not two.network.peers())
        await two.network.connect(address_of(one.network))
        await until_it_flows([one, two])
        await two.network.spread(b"welcome back")
        await one.until_heard(b"welcome back")


async def test_who_does_not_listen_cannot_speak(place, clock):
    deaf = place.network("deaf")
    with pytest.raises(RemoteError):
        await deaf.spread(b"hello")
    async with running(deaf):
        with pytest.raises(RemoteError):
            await deaf.spread(b"hello")


async def test_a_neighbour_that_does_not_listen_is_no_fault(place, clock):
    one, deaf = Listener(place, "one"), place.network("deaf")
    async with running(one.network, deaf):
        await deaf.connect(address_of(one.network))
        with trio.fail_after(20):
            while True:
                with suppress(RemoteError):  # it begins a moment after the host
                    await one.network.spread(b"is anybody there?")
                    break
                await trio.sleep(0.05)
        assert one.network.peers()
