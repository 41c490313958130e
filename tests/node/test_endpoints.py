"""Servers of others: one that is away hides its own models only, and comes back."""

import pytest
import trio

from p2phub.errors import EngineError, NotFoundError, UsageError
from p2phub.node.endpoints import AGAIN, PATIENCE, SOON, Endpoints
from p2phub.testing.inference import text_engine

ONE, TWO = "http://127.0.0.1:1/v1", "http://127.0.0.1:2/v1"


class Servers:
    def __init__(self, **models):
        self.models = {ONE: ["a", "b"], TWO: ["b", "c"]} | models
        self.away, self.asked, self.attached = set(), [], []

    async def list(self, url):
        await trio.lowlevel.checkpoint()
        self.asked.append(url)
        if url in self.away:
            raise EngineError("nobody answers")
        if self.models[url] is None:
            await trio.sleep_forever()
        return self.models[url]

    async def attach(self, url, model):
        await trio.lowlevel.checkpoint()
        if url in self.away:
            raise EngineError("nobody answers")
        self.attached.append((url, model))
        return text_engine()

    def endpoints(self):
        return Endpoints([ONE, TWO], self.list, self.attach)


async def test_the_first_server_that_has_a_model_answers_for_it():
    endpoints = Servers().endpoints()
    assert [await endpoints.find(name) for name in "abcd"] == [ONE, ONE, TWO, None]
    assert [row.id for row in await endpoints.rows()] == ["a", "b", "c"]


async def test_a_server_that_is_away_hides_its_own_models_and_comes_back(autojump_clock):
    servers = Servers()
    endpoints = servers.endpoints()
    servers.away.add(ONE)
    assert [await endpoints.find(name) for name in "ab"] == [None, TWO]
    servers.away.clear()
    assert await endpoints.find("a") is None
    await trio.sleep(SOON)
    assert await endpoints.find("a") == ONE


async def test_a_server_that_hangs_is_not_waited_for(autojump_clock):
    endpoints = Servers(**{ONE: None}).endpoints()
    began = trio.current_time()
    assert await endpoints.find("c") == TWO
    assert trio.current_time() - began <= PATIENCE


async def test_a_server_is_asked_once_in_a_while(autojump_clock):
    servers = Servers()
    endpoints = servers.endpoints()
    for _ in range(5):
        await endpoints.find("c")
    assert servers.asked == [ONE, TWO]


async def test_a_model_is_attached_once_and_again_when_it_was_lost():
    servers = Servers()
    endpoints = servers.endpoints()
    for _ in range(2):
        async with endpoints.engine(ONE, "a") as engine:
            pass
    engine.lost.set()
    async with endpoints.engine(ONE, "a") as another:
        assert another is not engine
    assert len(servers.attached) == 2
    await endpoints.close()
    assert another.lost.is_set()


async def test_a_server_that_went_away_is_said_so():
    servers = Servers()
    endpoints = servers.endpoints()
    assert await endpoints.find("a") == ONE
    servers.away.add(ONE)
    with pytest.raises(EngineError):
        async with endpoints.engine(ONE, "a"):
            pass
    assert await endpoints.find("a") is None


async def test_who_asks_for_what_nobody_has_is_told_which_servers_are_away(autojump_clock):
    servers = Servers(**{TWO: None})
    endpoints, error = servers.endpoints(), NotFoundError("there is no model x", remedy="look")
    servers.away.add(ONE)
    assert await endpoints.find("x") is None
    told = endpoints.unknown(error)
    assert "there is no model x" in told.message
    assert f"{ONE} ([inference] endpoints): nobody answers" in told.message
    assert f"{TWO} ([inference] endpoints): it did not list its models" in told.message
    with pytest.raises(NotFoundError, match="nobody answers"), endpoints.naming_those_away():
        raise UsageError("x names no publisher")
    with pytest.raises(EngineError, match=r"it broke$"), endpoints.naming_those_away():
        raise EngineError("it broke")
    servers.away.clear()
    servers.models[TWO] = []
    await trio.sleep(AGAIN)
    assert await endpoints.find("x") is None
    assert endpoints.unknown(error) is error


async def test_a_model_of_theirs_has_a_line_of_its_own():
    endpoints = Servers().endpoints()
    row = await endpoints.row("c")
    assert (row.id, row.device, row.verdict, row.release) == ("c", TWO, "unsigned", "")
    assert await endpoints.row("x") is None
